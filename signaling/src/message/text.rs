//! Text that people write, checked where it comes in.

use serde::{Deserialize, Deserializer, Serialize};

/// Text of `MIN` to `MAX` characters, without control characters other than line breaks and tabs, and not only space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Text<const MIN: usize, const MAX: usize>(String);

impl<const MIN: usize, const MAX: usize> Text<MIN, MAX> {
    /// Checks and takes a text; space around it is removed.
    ///
    /// # Errors
    /// What was expected.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        // A character is at least one byte, so what is longer in bytes need not be counted further than that.
        if text.len() > MAX * 4 || !(MIN..=MAX).contains(&text.chars().count()) {
            return Err(format!("expected {MIN} to {MAX} characters"));
        }
        if text
            .chars()
            .any(|c| c.is_control() && c != '\n' && c != '\t')
        {
            return Err("expected text without control characters".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, taken.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Text<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_counted_in_characters_and_trimmed() {
        assert_eq!(
            Text::<1, 5>::new("  héllo ").map(Text::into_string),
            Ok("héllo".to_owned())
        );
        assert!(Text::<1, 5>::new("hello!").is_err());
        assert!(Text::<1, 5>::new("   ").is_err());
        assert!(Text::<1, 5>::new("a\0b").is_err());
        assert!(Text::<1, 5>::new("a\nb").is_ok());
    }
}
