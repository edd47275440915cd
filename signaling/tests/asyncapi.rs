//! `asyncapi.json` is generated from the types here, so that it cannot drift. After a change of a message:
//! `UPDATE=1 cargo test -p redred-signaling --test asyncapi`.

use std::collections::BTreeSet;

use redred_signaling::envelope::Metadata;
use redred_signaling::message::{ClientMessage, ServerMessage};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

const SCHEMAS: &str = "#/components/schemas/";

/// Where a message belongs. Connections are all the same; the path only decides the default channel.
struct Channel {
    name: &'static str,
    address: &'static str,
    title: &'static str,
    about: &'static str,
    parameter: Option<(&'static str, &'static str)>,
}

const CHANNELS: [Channel; 6] = [
    Channel {
        name: "connection",
        address: "/ws",
        title: "The connection itself",
        about: "One connection carries every channel; clients subscribe to those they want.",
        parameter: None,
    },
    Channel {
        name: "streams",
        address: "/ws",
        title: "Channel streams",
        about: "Who is live.",
        parameter: None,
    },
    Channel {
        name: "live",
        address: "/ws/live/{stream}/",
        title: "Channel live:<stream>",
        about: "A live stream: its life, WebRTC, viewers, comments and moderation.",
        parameter: Some(("stream", "Name of the stream.")),
    },
    Channel {
        name: "chat",
        address: "/ws/chat/{room}/",
        title: "Channel chat:<room>",
        about: "A chat room, for its members.",
        parameter: Some(("room", "Id of the room.")),
    },
    Channel {
        name: "chats",
        address: "/ws",
        title: "Channel chats",
        about: "The list of one's own rooms.",
        parameter: None,
    },
    Channel {
        name: "notifications",
        address: "/ws/notifications/",
        title: "Channel notifications",
        about: "One's own notifications.",
        parameter: None,
    },
];

fn generator(is_client: bool) -> SchemaGenerator {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = SCHEMAS.trim_start_matches('#').trim_end_matches('/').into();
    settings.meta_schema = None;
    if is_client {
        settings.for_deserialize().into_generator()
    } else {
        settings.for_serialize().into_generator()
    }
}

/// The messages of an enum, one for each variant: type, description, schema of `data`.
fn variants(schema: &Value) -> Vec<(String, Value, Value)> {
    let variants = schema["oneOf"].as_array().expect("an enum");
    let variant = |variant: &Value| {
        let kind = variant["properties"]["type"]["const"].as_str();
        let data = &variant["properties"]["data"];
        let kind = kind.expect("a type").to_owned();
        (kind, variant["description"].clone(), data.clone())
    };
    variants.iter().map(variant).collect()
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("{SCHEMAS}{name}") })
}

fn document() -> Value {
    let mut client = generator(true);
    let mut server = generator(false);
    let said = client.root_schema_for::<ClientMessage>().to_value();
    let told = server.root_schema_for::<ServerMessage>().to_value();
    let metadata = server.subschema_for::<Metadata>();
    assert_eq!(metadata.to_value(), reference("Metadata"));
    let mut schemas = Map::new();
    for definitions in [
        server.take_definitions(false),
        client.take_definitions(false),
    ] {
        for (name, schema) in definitions {
            let known = schemas.insert(name.clone(), schema.clone());
            assert!(
                known.is_none_or(|known| known == schema),
                "two types are called {name}"
            );
        }
    }
    schemas.remove("ClientMessage");
    schemas.remove("ServerMessage");
    schemas.insert(
        "ClientMetadata".to_owned(),
        json!({
            "description": "`metadata` of what clients send.",
            "type": "object",
            "properties": {
                "id": { "type": "string", "minLength": 1, "maxLength": 64,
                    "description": "Makes the message a request, answered by one `ack` or `error`." },
                "channel": { "type": "string",
                    "description": "The channel it is about; without it, that of the path." },
            },
        }),
    );

    let mut messages = Map::new();
    for (direction, variants) in [("client", variants(&said)), ("server", variants(&told))] {
        for (kind, about, data) in variants {
            let mut properties = json!({ "type": { "const": kind }, "data": data });
            let mut required = vec!["type", "data"];
            if direction == "server" {
                properties["timestamp"] = reference("Moment");
                properties["metadata"] = reference("Metadata");
                required.push("timestamp");
            } else {
                properties["metadata"] = reference("ClientMetadata");
            }
            let message = json!({
                "name": kind,
                "summary": about,
                "contentType": "application/json",
                "payload": { "type": "object", "properties": properties, "required": required },
            });
            messages.insert(format!("{direction}.{kind}"), message);
        }
    }

    let mut channels = Map::new();
    let mut operations = Map::new();
    for channel in &CHANNELS {
        let mut of_channel = Map::new();
        for (direction, action, kinds) in [
            ("client", "receive", ClientMessage::BY_CHANNEL),
            ("server", "send", ServerMessage::BY_CHANNEL),
        ] {
            let kinds = kinds.iter().filter(|(name, _)| *name == channel.name);
            for kind in kinds.flat_map(|(_, kinds)| *kinds) {
                let name = format!("{direction}.{kind}");
                let path = format!("#/components/messages/{name}");
                of_channel.insert(name.clone(), json!({ "$ref": path }));
                let here = format!("#/channels/{}", channel.name);
                let operation = json!({
                    "action": action,
                    "channel": { "$ref": here },
                    "messages": [{ "$ref": format!("{here}/messages/{name}") }],
                });
                assert!(operations.insert(name, operation).is_none(), "{kind} twice");
            }
        }
        let mut described = json!({
            "address": channel.address,
            "title": channel.title,
            "description": channel.about,
            "messages": of_channel,
        });
        if let Some((name, about)) = channel.parameter {
            described["parameters"] = json!({ name: { "description": about } });
        }
        channels.insert(channel.name.to_owned(), described);
    }

    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "redred",
            "version": "1",
            "description": "Everything said over a WebSocket. `receive` is what the server takes from clients, `send` what \
                it sends them. The subprotocol is `redred.v1`; docs/protocol.md has the rules.",
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": { "host": "localhost:8080", "protocol": "ws", "security": [
                { "$ref": "#/components/securitySchemes/token" },
            ] },
        },
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": schemas,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "Or the subprotocol `redred.token.<jwt>`, or `?token=`." },
            },
        },
    })
}

#[test]
fn the_document_is_what_the_types_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/asyncapi.json");
    let generated = document();
    if std::env::var_os("UPDATE").is_some() {
        let text = serde_json::to_string_pretty(&generated).expect("JSON");
        return std::fs::write(path, text + "\n").expect("can be written");
    }
    let written: Value = serde_json::from_str(redred_signaling::ASYNCAPI).expect("JSON");
    assert!(
        written == generated,
        "{path} is stale: run this test with UPDATE=1"
    );
}

#[test]
fn every_message_is_of_a_channel_that_is_described() {
    let described: BTreeSet<&str> = CHANNELS.iter().map(|channel| channel.name).collect();
    for (table, types) in [
        (ClientMessage::BY_CHANNEL, ClientMessage::TYPES),
        (ServerMessage::BY_CHANNEL, ServerMessage::TYPES),
    ] {
        for (channel, _) in table {
            assert!(described.contains(channel), "{channel}");
        }
        let once: BTreeSet<&str> = types.iter().copied().collect();
        assert_eq!(once.len(), types.len());
    }
}
