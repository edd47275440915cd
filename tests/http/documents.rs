//! `openapi.json` says what the code does.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde_json::Value;

use super::{TestServer, check};

fn document() -> Value {
    serde_json::from_str(redred::http::OPENAPI).expect("JSON")
}

/// Panics unless a response of this status and media type is documented for the operation.
pub(super) fn check_documented(route: &str, method: &str, status: StatusCode, mime: Option<&str>) {
    let document = document();
    let responses = &document["paths"][route][method]["responses"];
    let response = &responses[status.as_str()];
    assert!(
        !response.is_null(),
        "{method} {route} {status} is not documented"
    );
    let response = resolve(&document, response);
    let documented: Vec<&String> = response["content"]
        .as_object()
        .map(|content| content.keys().collect())
        .unwrap_or_default();
    match mime {
        Some(mime) => assert!(
            documented.iter().any(|known| *known == mime),
            "{method} {route} {status} with {mime} is not documented"
        ),
        None => assert!(
            documented.is_empty(),
            "{method} {route} {status} has no body"
        ),
    }
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

#[tokio::test]
async fn the_document_is_served() {
    let server = TestServer::dev().await;
    let served = check(
        "/openapi.json",
        server.get("/openapi.json"),
        StatusCode::OK,
        None,
    )
    .await;
    assert_eq!(served.json::<Value>().await.expect("JSON"), document());
}
