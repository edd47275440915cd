//! Tokens for the sessions: signed here with the server's secret, or asked of a server in dev mode.

use anyhow::Context;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

/// Where tokens come from.
#[derive(Clone)]
pub(crate) enum Tokens {
    /// Signed here.
    Secret(std::sync::Arc<EncodingKey>),
    /// From `POST /api/v1/dev/token`.
    Dev(reqwest::Client, String),
}

impl Tokens {
    pub(crate) fn new(base: &str, secret: Option<&str>) -> Self {
        match secret {
            Some(secret) => Self::Secret(EncodingKey::from_secret(secret.as_bytes()).into()),
            None => Self::Dev(reqwest::Client::new(), format!("{base}/api/v1/dev/token")),
        }
    }

    /// A token of a user, good for a day.
    pub(crate) async fn get(&self, sub: &str, grants: Value) -> anyhow::Result<String> {
        match self {
            Self::Secret(key) => {
                let now = std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .context("the clock")?
                    .as_secs();
                let claims =
                    json!({"sub": sub, "name": sub, "exp": now + 86_400, "grants": grants});
                jsonwebtoken::encode(&Header::default(), &claims, key).context("signing a token")
            }
            Self::Dev(client, url) => {
                let body = json!({"sub": sub, "name": sub, "grants": grants});
                let response = client.post(url).json(&body).send().await;
                let response = response.with_context(|| format!("asking {url} for a token"))?;
                let status = response.status();
                let answer: Value = response.json().await.context("reading a token")?;
                let token = answer["token"].as_str().map(str::to_owned);
                token.with_context(|| {
                    format!(
                        "{url} answered {status}: give --secret when the server is not in dev mode"
                    )
                })
            }
        }
    }
}
