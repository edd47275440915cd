//! The envelope around every message: `{type, data, timestamp, metadata}` (protocol section 4.1).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, ErrorCode};

/// Longest `metadata.id`, in characters.
pub const ID_CHARACTERS_MAX: usize = 64;

/// An envelope as a session sent it, with its `data` still to be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    /// Wire type.
    pub kind: String,
    /// The fields of the message.
    pub data: Value,
    /// Makes the message a request.
    pub id: Option<String>,
    /// The channel it is about; without it, the default channel of the path.
    pub channel: Option<String>,
}

/// An envelope that could not be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Malformed {
    /// What was wrong.
    pub error: Error,
    /// The id, when it was readable: the error still answers the request.
    pub id: Option<String>,
}

impl From<Error> for Malformed {
    fn from(error: Error) -> Self {
        Self { error, id: None }
    }
}

/// `metadata` of what the server sends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Metadata {
    /// The channel the message belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Position of a persistent message within the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The life of the channel in which `seq` counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// The id of the request that this answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
}

impl Metadata {
    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Takes an envelope apart.
///
/// # Errors
/// `bad_message` when it is no envelope, `invalid_field` when a field of it is not what it should be.
pub fn open(value: Value) -> Result<Incoming, Malformed> {
    let bad = |message: &str| Error::new(ErrorCode::BadMessage, message);
    let Value::Object(mut object) = value else {
        return Err(bad("expected a JSON object").into());
    };
    let (id, channel) = match object.remove("metadata") {
        None | Some(Value::Null) => (None, None),
        Some(Value::Object(mut metadata)) => {
            let id = optional_text(metadata.remove("id"), "metadata.id")?;
            if let Some(id) = &id
                && !(1..=ID_CHARACTERS_MAX).contains(&id.chars().count())
            {
                return Err(
                    Error::invalid_field("metadata.id", "expected 1 to 64 characters").into(),
                );
            }
            match optional_text(metadata.remove("channel"), "metadata.channel") {
                Ok(channel) => (id, channel),
                Err(error) => return Err(Malformed { error, id }),
            }
        }
        Some(_) => return Err(Error::invalid_field("metadata", "expected an object").into()),
    };
    let kind = match object.remove("type") {
        Some(Value::String(kind)) => kind,
        Some(_) => {
            let error = Error::invalid_field("type", "expected a string");
            return Err(Malformed { error, id });
        }
        None => {
            return Err(Malformed {
                error: bad("type: missing"),
                id,
            });
        }
    };
    let data = match object.remove("data") {
        Some(data @ Value::Object(_)) => data,
        Some(_) => {
            let error = Error::invalid_field("data", "expected an object");
            return Err(Malformed { error, id });
        }
        None => {
            return Err(Malformed {
                error: bad("data: missing"),
                id,
            });
        }
    };
    Ok(Incoming {
        kind,
        data,
        id,
        channel,
    })
}

fn optional_text(value: Option<Value>, field: &str) -> Result<Option<String>, Error> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Error::invalid_field(field, "expected a string")),
    }
}
