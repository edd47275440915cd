//! `openapi.json` says what the code does.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde_json::Value;

use super::{TestServer, check};

fn document() -> Value {
    serde_json::from_str(redred::http::OPENAPI).expect("JSON")
}

/// Panics unless a response of this status, media type and form is documented for the operation.
pub(super) fn check_documented(
    route: &str,
    method: &str,
    status: StatusCode,
    mime: Option<&str>,
    body: &str,
) {
    let document = document();
    let responses = &document["paths"][route][method]["responses"];
    let response = &responses[status.as_str()];
    assert!(
        !response.is_null(),
        "{method} {route} {status} is not documented"
    );
    let response = resolve(&document, response);
    let Some(mime) = mime else {
        let has_body = response["content"].is_object();
        return assert!(!has_body, "{method} {route} {status} has no body");
    };
    let content = &response["content"][mime];
    assert!(
        content.is_object(),
        "{method} {route} {status} with {mime} is not documented"
    );
    if !mime.ends_with("json") || content["schema"].is_null() {
        return;
    }
    // References of the schema lead into the document.
    let mut schema = content["schema"].clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let body: Value = serde_json::from_str(body).expect("JSON");
    let faults: Vec<String> = validator
        .iter_errors(&body)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert!(
        faults.is_empty(),
        "{method} {route} {status}: {faults:#?}\n{body}"
    );
}

fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(path) => document
            .pointer(path.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("{path} leads nowhere")),
        None => value,
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match value.as_str().filter(|_| name == "$ref") {
                    Some(path) => drop(found.insert(path.to_owned())),
                    None => references(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_route_is_documented_and_every_documented_route_is_there() {
    let document = document();
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("an item").keys() {
            if method != "parameters" {
                documented.insert(format!("{method} {path}"));
            }
        }
    }
    let routes: BTreeSet<String> = redred::http::documented()
        .into_iter()
        .flat_map(|(path, methods)| methods.iter().map(move |method| format!("{method} {path}")))
        .collect();
    assert_eq!(documented, routes);
}

#[test]
fn references_lead_somewhere_and_operations_have_names_of_their_own() {
    let document = document();
    assert!(
        document["openapi"]
            .as_str()
            .is_some_and(|version| version.starts_with("3.1"))
    );
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for path in found {
        let target = document.pointer(path.trim_start_matches('#'));
        assert!(target.is_some(), "{path}");
    }
    let mut names = BTreeSet::new();
    for item in document["paths"].as_object().expect("paths").values() {
        for operation in item.as_object().expect("an item").values() {
            if let Some(name) = operation["operationId"].as_str() {
                assert!(names.insert(name.to_owned()), "{name} twice");
            }
        }
    }
}

/// The types on the wire have one schema each, generated for the AsyncAPI document. After a change of it:
/// `UPDATE=1 cargo test --test http documents`.
#[test]
fn schemas_of_wire_types_are_those_of_the_asyncapi_document() {
    let generated: Value = serde_json::from_str(redred_signaling::ASYNCAPI).expect("JSON");
    let mut updated = document();
    let schemas = updated["components"]["schemas"].as_object_mut();
    for (name, schema) in schemas.expect("schemas") {
        if let Some(generated) = generated["components"]["schemas"].get(name) {
            *schema = generated.clone();
        }
    }
    if std::env::var_os("UPDATE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/openapi.json");
        let text = serde_json::to_string_pretty(&updated).expect("JSON");
        return std::fs::write(path, text + "\n").expect("can be written");
    }
    assert!(
        document() == updated,
        "openapi.json is stale: run this test with UPDATE=1"
    );
}

#[tokio::test]
async fn the_documents_are_served() {
    let server = TestServer::dev().await;
    for (path, expected) in [
        ("/openapi.json", redred::http::OPENAPI),
        ("/asyncapi.json", redred_signaling::ASYNCAPI),
    ] {
        let served = check(path, server.get(path), StatusCode::OK, None).await;
        assert_eq!(served.text().await.expect("a body"), expected);
    }
}
