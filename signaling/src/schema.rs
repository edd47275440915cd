//! Schemas of the types that write and read themselves in their own way.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::id::{Channel, RoomId, StreamName, UserId};
use crate::message::text::Text;
use crate::time::{wire, wire_option};

macro_rules! schema {
    ($kind:ty, $name:literal, $schema:tt) => {
        impl JsonSchema for $kind {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

schema!(UserId, "UserId", { "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$" });
schema!(StreamName, "StreamName", { "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$" });
schema!(RoomId, "RoomId", { "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$" });
schema!(Channel, "Channel", {
    "description": "`live:<stream>`, `chat:<room>`, `streams`, `chats` or `notifications`.",
    "type": "string",
    "pattern": "^((live|chat):[A-Za-z0-9_.-]{1,64}|streams|chats|notifications)$",
});
schema!(wire, "Moment", {
    "description": "UTC with milliseconds: `2026-11-24T12:00:00.000Z`.",
    "type": "string",
    "format": "date-time",
});
schema!(wire_option, "MomentOrNone", { "type": ["string", "null"], "format": "date-time" });

impl<const MIN: usize, const MAX: usize> JsonSchema for Text<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Text_{MIN}_to_{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": MIN, "maxLength": MAX })
    }
}
