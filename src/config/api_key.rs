//! The entries of `auth.api_keys`: a key of another server and what it is for.

use std::collections::BTreeSet;

use toml::Value;

use super::value::{Bad, Secret, masked, text};

/// Shorter keys are refused.
const API_KEY_CHARACTERS_MIN: usize = 16;

/// A key of another server, which acts as an administrator on the part of `/api/v1` that its scopes name.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// What is presented as bearer.
    pub key: Secret,
    /// What it is for.
    pub scopes: BTreeSet<Scope>,
    /// Whose it is, for the messages it writes.
    pub name: Option<String>,
}

impl ApiKey {
    /// A key for everything.
    pub fn all(key: impl Into<String>) -> Self {
        Self {
            key: Secret::new(key),
            scopes: Scope::ALL.into(),
            name: None,
        }
    }
}

/// A part of `/api/v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Rooms and their members.
    Rooms,
    /// Messages of rooms.
    Messages,
    /// Notifications, and the followers they are made for.
    Notifications,
    /// Tokens of users.
    Tokens,
    /// Presence of users, and disconnecting them.
    Users,
    /// Messages to channels.
    Publish,
    /// Live streams and statistics.
    Streams,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 7] = [
        Self::Rooms,
        Self::Messages,
        Self::Notifications,
        Self::Tokens,
        Self::Users,
        Self::Publish,
        Self::Streams,
    ];

    /// The scope as the configuration names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rooms => "rooms",
            Self::Messages => "messages",
            Self::Notifications => "notifications",
            Self::Tokens => "tokens",
            Self::Users => "users",
            Self::Publish => "publish",
            Self::Streams => "streams",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// Reads the list: an array in TOML, whose elements are keys or tables; in a variable the same array as text, or keys
/// separated by commas.
pub(super) fn api_keys(value: &Value) -> Result<Vec<ApiKey>, Bad> {
    if let Value::Array(entries) = value {
        return entries.iter().map(api_key).collect();
    }
    if let Value::String(text) = value
        && text.trim_start().starts_with('[')
    {
        let document = format!("keys = {text}");
        let table: toml::Table = document.parse().map_err(|_| Bad)?;
        let entries = table.get("keys").and_then(Value::as_array).ok_or(Bad)?;
        return entries.iter().map(api_key).collect();
    }
    let keys = super::value::list(value)?;
    keys.into_iter().map(|key| plain(&key)).collect()
}

fn api_key(value: &Value) -> Result<ApiKey, Bad> {
    let Value::Table(table) = value else {
        return plain(&text(value)?);
    };
    let is_known = |name: &String| matches!(name.as_str(), "key" | "scopes" | "name");
    if !table.keys().all(is_known) {
        return Err(Bad);
    }
    let mut entry = plain(&text(table.get("key").ok_or(Bad)?)?)?;
    if let Some(scopes) = table.get("scopes") {
        let scopes = scopes.as_array().ok_or(Bad)?.iter();
        let scopes = scopes.map(|scope| Scope::parse(scope.as_str()?));
        entry.scopes = scopes.collect::<Option<_>>().ok_or(Bad)?;
        if entry.scopes.is_empty() {
            return Err(Bad);
        }
    }
    entry.name = table.get("name").map(text).transpose()?;
    let is_short = |name: &String| name.chars().count() <= 64;
    entry
        .name
        .as_ref()
        .is_none_or(is_short)
        .then_some(entry)
        .ok_or(Bad)
}

fn plain(key: &str) -> Result<ApiKey, Bad> {
    let is_long = key.chars().count() >= API_KEY_CHARACTERS_MIN;
    is_long.then(|| ApiKey::all(key)).ok_or(Bad)
}

/// The way back, without the keys.
pub(super) fn show_api_keys(keys: &[ApiKey]) -> Value {
    let show = |key: &ApiKey| {
        if key.scopes.len() == Scope::ALL.len() && key.name.is_none() {
            return masked();
        }
        let scopes = key.scopes.iter().map(|scope| scope.as_str().into());
        let mut table = toml::Table::new();
        table.insert("key".to_owned(), masked());
        table.insert("scopes".to_owned(), Value::Array(scopes.collect()));
        if let Some(name) = &key.name {
            table.insert("name".to_owned(), Value::String(name.clone()));
        }
        Value::Table(table)
    };
    Value::Array(keys.iter().map(show).collect())
}
