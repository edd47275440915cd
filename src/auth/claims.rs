//! The claims of a token, read strictly: no claim twice, each of its exact shape.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use redred_signaling::grants::{Caller, Grants, User};
use redred_signaling::id::UserId;
use serde::Deserialize;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Number, Value};

use super::{NOT_BEFORE_LEEWAY, Rejection};

/// Longest display name, in characters.
pub(crate) const NAME_CHARACTERS_MAX: usize = 64;

/// What a token may say. Claims of other purposes are passed over (RFC 7519 section 4).
#[derive(Deserialize)]
pub(super) struct Claims {
    sub: String,
    name: Option<String>,
    exp: Number,
    nbf: Option<Number>,
    iat: Option<Number>,
    grants: Option<GrantsClaim>,
}

/// As [`Grants`], but each id is checked.
#[derive(Deserialize)]
struct GrantsClaim {
    publish: Option<Vec<String>>,
    watch: Option<Vec<String>>,
    moderate: Option<Vec<String>>,
    chat: Option<Vec<String>>,
    #[serde(default)]
    admin: bool,
}

impl Claims {
    /// Checks the claims against the clock and the contract.
    pub(super) fn into_caller(self, now_ms: u64) -> Result<Caller, Rejection> {
        let expires_at_ms = millis("exp", &self.exp)?;
        if expires_at_ms <= now_ms {
            return Err(Rejection::Expired);
        }
        if let Some(nbf) = &self.nbf {
            let leeway = NOT_BEFORE_LEEWAY.as_millis() as u64;
            if millis("nbf", nbf)? > now_ms.saturating_add(leeway) {
                return Err(Rejection::NotYetValid);
            }
        }
        if let Some(iat) = &self.iat {
            millis("iat", iat)?;
        }
        let user = user(self.sub, self.name).map_err(Rejection::BadClaim)?;
        let grants = self
            .grants
            .map_or_else(|| Ok(Grants::default()), GrantsClaim::into_grants);
        Ok(Caller {
            user,
            grants: grants.map_err(Rejection::BadClaim)?,
            expires_at_ms,
        })
    }
}

impl GrantsClaim {
    fn into_grants(self) -> Result<Grants, String> {
        // Ids of streams and of rooms have the same alphabet as user ids.
        let is_id = |id: &String| id == "*" || UserId::new(id.as_str()).is_ok();
        let lists = [&self.publish, &self.watch, &self.moderate, &self.chat];
        if !lists.into_iter().flatten().flatten().all(is_id) {
            return Err("grants: expected lists of ids or \"*\"".to_owned());
        }
        let absent = Grants::default();
        Ok(Grants {
            publish: self.publish.map_or(absent.publish, Into::into),
            watch: self.watch.map_or(absent.watch, Into::into),
            moderate: self.moderate.map_or(absent.moderate, Into::into),
            chat: self.chat.map_or(absent.chat, Into::into),
            admin: self.admin,
        })
    }
}

/// Checks `grants` as somebody asked for them, outside a token.
pub(crate) fn grants(value: Value) -> Result<Grants, String> {
    let claim: GrantsClaim =
        serde_json::from_value(value).map_err(|error| format!("grants: {error}"))?;
    claim.into_grants()
}

/// Checks a `sub` and a `name`; without a name the id stands for it.
pub(crate) fn user(sub: String, name: Option<String>) -> Result<User, String> {
    let id =
        UserId::new(sub).map_err(|_| "sub: expected 1 to 64 of A-Z a-z 0-9 _ . -".to_owned())?;
    let name = name.unwrap_or_else(|| id.to_string());
    let characters = name.chars().count();
    let is_name = (1..=NAME_CHARACTERS_MAX).contains(&characters)
        && !name.trim().is_empty()
        && !name.chars().any(char::is_control);
    if !is_name {
        return Err("name: expected 1 to 64 printable characters".to_owned());
    }
    Ok(User { id, name })
}

/// A NumericDate (RFC 7519 section 2) in milliseconds: seconds, perhaps with a fraction.
fn millis(claim: &str, date: &Number) -> Result<u64, Rejection> {
    let seconds = date.as_f64().filter(|s| s.is_finite() && *s >= 0.0);
    let seconds = seconds
        .ok_or_else(|| Rejection::BadClaim(format!("{claim}: expected seconds since 1970")))?;
    // `as` saturates, which for a date in the far future is what is wanted.
    Ok((seconds * 1000.0) as u64)
}

/// Refuses a header that names anything twice: parsers disagree on which one counts.
pub(super) fn check_header(token: &str) -> Result<(), Rejection> {
    let (header, _) = token.split_once('.').ok_or(Rejection::Malformed)?;
    let header = URL_SAFE_NO_PAD
        .decode(header)
        .map_err(|_| Rejection::Malformed)?;
    let header: Result<Strict<Map<String, Value>>, _> = serde_json::from_slice(&header);
    header.map(|_| ()).map_err(|_| Rejection::Malformed)
}

/// A `T` read from JSON in which no object, at any depth, names a field twice.
pub(super) struct Strict<T>(pub(super) T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Strict<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = NoDuplicates(PhantomData).deserialize(deserializer)?;
        T::deserialize(value).map(Strict).map_err(D::Error::custom)
    }
}

#[derive(Clone, Copy)]
struct NoDuplicates(PhantomData<()>);

impl<'de> DeserializeSeed<'de> for NoDuplicates {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NoDuplicates {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated fields")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let value = fields.next_value_seed(self)?;
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("a field is given twice"));
            }
        }
        Ok(Value::Object(map))
    }
}
