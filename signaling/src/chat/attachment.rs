//! Attachments: links to files elsewhere, checked for their shape and never opened.

use crate::error::Error;
use crate::store::chat::Attachment;

const URL_BYTES_MAX: usize = 2048;
const TYPE_BYTES_MAX: usize = 127;
const NAME_CHARACTERS_MAX: usize = 255;
/// Numbers that JavaScript holds exactly.
const SIZE_MAX: u64 = (1 << 53) - 1;

/// Checks the attachments of a message.
///
/// # Errors
/// `invalid_field`, naming the field and what was expected.
pub(crate) fn check(attachments: &[Attachment]) -> Result<(), Error> {
    for (index, attachment) in attachments.iter().enumerate() {
        let refuse = |field: &str, expected: &str| {
            let field = format!("data.attachments[{index}].{field}");
            Err(Error::invalid_field(&field, expected))
        };
        if !is_url(&attachment.url) {
            return refuse("url", "expected an http or https URL of up to 2048 bytes");
        }
        if !is_media_type(&attachment.media_type) {
            return refuse("type", "expected a media type such as image/png");
        }
        if attachment.size > SIZE_MAX {
            return refuse("size", "expected at most 2^53 - 1 bytes");
        }
        if let Some(name) = &attachment.name {
            let is_name = (1..=NAME_CHARACTERS_MAX).contains(&name.chars().count())
                && !name.chars().any(char::is_control);
            if !is_name {
                return refuse("name", "expected 1 to 255 characters, none of them control");
            }
        }
    }
    Ok(())
}

/// Whether it is an absolute `http` or `https` URL (RFC 3986) with a host and without user information: `https://bank@evil`
/// is how people are misled.
fn is_url(url: &str) -> bool {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let Some(rest) = rest else {
        return false;
    };
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&byte);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    url.len() <= URL_BYTES_MAX
        && url.bytes().all(is_allowed)
        && !host.contains('@')
        && !host.starts_with(':')
        && !host.is_empty()
}

/// `type/subtype` with restricted names (RFC 6838 section 4.2), without parameters.
fn is_media_type(text: &str) -> bool {
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        bytes
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    text.len() <= TYPE_BYTES_MAX
        && text
            .split_once('/')
            .is_some_and(|(kind, subtype)| is_name(kind) && is_name(subtype))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment() -> Attachment {
        Attachment {
            url: "https://cdn.example/a.png?x=1#top".to_owned(),
            media_type: "image/png".to_owned(),
            size: 7,
            name: Some("a picture.png".to_owned()),
        }
    }

    #[test]
    fn only_links_that_a_browser_may_open_pass() {
        assert_eq!(check(&[attachment()]), Ok(()));
        let too_long = format!("https://cdn.example/{}", "a".repeat(2048));
        for url in [
            "",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "HTTPS",
            "https://",
            "https:///a",
            "https://:80/a",
            "https://bank.example@evil.example/",
            "https://a b",
            "https://a/\u{202e}gnp.exe",
            "https://a/<script>",
            "//cdn.example/a",
            too_long.as_str(),
        ] {
            let bad = Attachment {
                url: url.to_owned(),
                ..attachment()
            };
            let error = check(&[attachment(), bad]).expect_err(url);
            assert!(
                error.message.starts_with("data.attachments[1].url"),
                "{url}"
            );
        }
    }

    #[test]
    fn types_sizes_and_names_have_their_shape() {
        for media_type in [
            "",
            "png",
            "image/",
            "/png",
            "image/p ng",
            "a/b/c",
            "text/html; x",
        ] {
            let bad = Attachment {
                media_type: media_type.to_owned(),
                ..attachment()
            };
            assert!(check(&[bad]).is_err(), "{media_type}");
        }
        for name in ["", "a\nb", &"n".repeat(256)] {
            let bad = Attachment {
                name: Some(name.to_owned()),
                ..attachment()
            };
            assert!(check(&[bad]).is_err(), "{name}");
        }
        let bad = Attachment {
            size: u64::MAX,
            ..attachment()
        };
        assert!(check(&[bad]).is_err());
    }
}
