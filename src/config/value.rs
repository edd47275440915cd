//! Readers of single values: what a key accepts, from TOML or from the text of a variable or flag.

use std::str::FromStr;
use std::time::Duration;

use toml::Value;
use url::Url;

/// Text that never reaches a log: it has neither `Debug` nor `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for whoever computes with it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// What a reader says of a value that it does not take; what was expected stands in the key table.
#[derive(Debug)]
pub(super) struct Bad;

/// Text that is not empty.
pub(super) fn text(value: &Value) -> Result<String, Bad> {
    match value.as_str().map(str::trim) {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        Some(_) | None => Err(Bad),
    }
}

/// Anything that has a `FromStr`: addresses, paths, numbers as text.
pub(super) fn parsed<T: FromStr>(value: &Value) -> Result<T, Bad> {
    text(value)?.parse().map_err(|_| Bad)
}

pub(super) fn boolean(value: &Value) -> Result<bool, Bad> {
    value.as_bool().map_or_else(|| parsed(value), Ok)
}

/// A whole number from `min` to `max`.
pub(super) fn integer(value: &Value, min: u64, max: u64) -> Result<u64, Bad> {
    let number = match value.as_integer() {
        Some(number) => u64::try_from(number).map_err(|_| Bad)?,
        None => parsed(value)?,
    };
    (min..=max).contains(&number).then_some(number).ok_or(Bad)
}

/// A number and its unit, as in `"2s"` or `"1m 30s"`, from `min` to `max` seconds.
pub(super) fn duration(value: &Value, min: u64, max: u64) -> Result<Duration, Bad> {
    let duration = humantime::parse_duration(&text(value)?).map_err(|_| Bad)?;
    let range = Duration::from_secs(min)..=Duration::from_secs(max);
    range.contains(&duration).then_some(duration).ok_or(Bad)
}

/// A number of bytes with its unit, as in `"64kib"`.
pub(super) fn size(value: &Value, min: usize, max: usize) -> Result<usize, Bad> {
    let text = text(value)?.to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "b" => 1,
        "kib" => 1024,
        "mib" => 1024 * 1024,
        _ => return Err(Bad),
    };
    let count: usize = digits.trim_end().parse().map_err(|_| Bad)?;
    let bytes = count.checked_mul(unit).ok_or(Bad)?;
    (min..=max).contains(&bytes).then_some(bytes).ok_or(Bad)
}

/// A list: an array in TOML, comma-separated in a variable or flag. Elements are never empty.
pub(super) fn list(value: &Value) -> Result<Vec<String>, Bad> {
    if let Some(values) = value.as_array() {
        return values.iter().map(text).collect();
    }
    match value.as_str() {
        Some(joined) if joined.trim().is_empty() => Ok(Vec::new()),
        Some(joined) => joined
            .split(',')
            .map(|part| text(&Value::String(part.to_owned())))
            .collect(),
        None => Err(Bad),
    }
}

/// One of a closed set of words.
pub(super) fn word<T: Copy>(value: &Value, words: &[(&str, T)]) -> Result<T, Bad> {
    let text = text(value)?;
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, meaning)| *meaning).ok_or(Bad)
}

/// The way back of [`size`].
pub(super) fn show_size(bytes: usize) -> Value {
    let text = match bytes {
        bytes if bytes % (1024 * 1024) == 0 => format!("{}mib", bytes / (1024 * 1024)),
        bytes if bytes % 1024 == 0 => format!("{}kib", bytes / 1024),
        bytes => format!("{bytes}b"),
    };
    Value::String(text)
}

/// The way back of [`duration`].
pub(super) fn show_duration(duration: Duration) -> Value {
    const DAY: u64 = 24 * 3600;
    // Days stay days: months and years have no fixed length.
    let is_days = duration.subsec_nanos() == 0 && duration.as_secs().is_multiple_of(DAY);
    Value::String(if is_days && !duration.is_zero() {
        format!("{}d", duration.as_secs() / DAY)
    } else {
        humantime::format_duration(duration).to_string()
    })
}

/// The way back of [`integer`].
pub(super) fn show_integer(number: impl TryInto<i64>) -> Value {
    Value::Integer(number.try_into().unwrap_or(i64::MAX))
}

/// The way back of [`list`].
pub(super) fn show_list<T: ToString>(values: &[T]) -> Value {
    let texts = values.iter().map(|value| Value::String(value.to_string()));
    Value::Array(texts.collect())
}

const MASK: &str = "********";

/// Stands for a secret that is set.
pub(super) fn masked() -> Value {
    Value::String(MASK.to_owned())
}

/// A URL without its password, which may stand before the host or among the parameters.
pub(super) fn show_url(text: &str) -> Value {
    let Ok(mut url) = Url::parse(text) else {
        return Value::String(text.to_owned());
    };
    if url.password().is_some() {
        // Refused for URLs without a host only, and those have no password.
        let _ = url.set_password(Some(MASK));
    }
    if url.query_pairs().any(|(key, _)| key == "password") {
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let mut query = url.query_pairs_mut();
        query.clear();
        for (key, value) in &pairs {
            query.append_pair(key, if key == "password" { MASK } else { value });
        }
    }
    Value::String(if url.as_str().contains(MASK) {
        url.into()
    } else {
        text.to_owned()
    })
}
