//! The golden files: one example of every message, in both directions, as it goes over the wire. The SDK's tests read
//! the same files. `<direction>.<type>.json`, with a word before `.json` where a type has several shapes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use redred_signaling::codec;
use redred_signaling::envelope::Metadata;
use redred_signaling::message::{ClientMessage, ServerMessage};
use redred_signaling::time::parse_rfc3339;
use serde_json::Value;

const BYTES_MAX: usize = 64 * 1024;

/// Name and contents of every file of a direction.
fn golden(direction: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let files = std::fs::read_dir(folder).expect("the folder is there");
    let files = files.map(|file| file.expect("a file").path()).map(|path| {
        let name = path.file_name().expect("a name").to_string_lossy();
        let text = std::fs::read_to_string(&path).expect("text");
        (name.into_owned(), text)
    });
    files
        .filter(|(name, _)| name.split('.').next() == Some(direction))
        .collect()
}

/// The type in the name of a file.
fn named_type(name: &str) -> &str {
    name.split('.').nth(1).expect("<direction>.<type>.json")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn what_the_server_says_is_what_the_files_hold() {
    for (name, text) in golden("server") {
        let file = json(&text);
        let message: ServerMessage =
            serde_json::from_value(file.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(message.kind(), named_type(&name), "{name}");
        let at_ms = file["timestamp"].as_str().and_then(parse_rfc3339);
        let about = file.get("metadata").cloned().unwrap_or_else(|| json("{}"));
        let about: Metadata = serde_json::from_value(about).expect("metadata");
        let said = codec::encode(&message, at_ms.expect("a timestamp"), &about);
        let said: Value = serde_json::from_slice(&said).expect("JSON");
        assert_eq!(said, file, "{name}");
    }
}

#[test]
fn what_clients_say_is_understood_to_the_last_field() {
    for (name, text) in golden("client") {
        let incoming = codec::decode(text.as_bytes(), BYTES_MAX).expect("an envelope");
        assert_eq!(incoming.kind, named_type(&name), "{name}");
        let file = json(&text);
        assert_eq!(
            incoming.id.as_deref(),
            file["metadata"]["id"].as_str(),
            "{name}"
        );
        assert!(
            file.get("timestamp").is_none(),
            "{name}: only the server sets it"
        );
        let message = ClientMessage::decode(&incoming.kind, incoming.data)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let understood = serde_json::to_value(message).expect("JSON");
        assert_eq!(understood["type"], file["type"], "{name}");
        for (field, value) in file["data"].as_object().expect("an object") {
            assert_eq!(
                understood["data"].get(field),
                Some(value),
                "{name}: {field}"
            );
        }
    }
}

#[test]
fn every_message_has_a_file_and_every_file_a_message() {
    for (direction, types) in [
        ("client", ClientMessage::TYPES),
        ("server", ServerMessage::TYPES),
    ] {
        let files = golden(direction);
        let shown: BTreeSet<&str> = files.keys().map(|name| named_type(name)).collect();
        let types: BTreeSet<&str> = types.iter().copied().collect();
        assert_eq!(shown, types, "{direction}");
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let all = std::fs::read_dir(folder)
        .expect("the folder is there")
        .count();
    assert_eq!(all, golden("client").len() + golden("server").len());
}

#[test]
fn every_file_fits_its_schema() {
    let document = json(redred_signaling::ASYNCAPI);
    for (name, text) in golden("client").into_iter().chain(golden("server")) {
        let message = name.split('.').take(2).collect::<Vec<_>>().join(".");
        let payload = &document["components"]["messages"][&message]["payload"];
        assert!(payload.is_object(), "{message} is not documented");
        // References of the payload lead into the document.
        let mut schema = payload.clone();
        schema["components"] = document["components"].clone();
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let faults: Vec<String> = validator
            .iter_errors(&json(&text))
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{name}: {faults:#?}");
    }
}
