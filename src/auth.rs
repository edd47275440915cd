//! Verifies tokens and API keys, and signs the tokens that this server hands out.
//!
//! A key has one algorithm: the secret is HS256, a key of the key set what its type says. The header of a token
//! chooses among keys but never an algorithm for a key, so that a public key cannot be used as an HMAC secret.

mod api_key;
pub(crate) mod claims;
mod jwks;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rand::RngCore;
use redred_signaling::grants::{Caller, Grants, User};
use redred_signaling::id::UserId;

use crate::config::{Config, Secret};
use crate::metrics::Outcomes;
use api_key::ApiKeys;
pub use api_key::{Holder, USER as API_USER};
use claims::{Claims, Strict};
use jwks::remote::Remote;

/// Longer tokens are refused unread. A token of a moderator of a hundred streams has about 3 KiB.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The longest life of a token that this server signs. Longer ones would outlive every change of their user's rights.
pub const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// How far the clock of another issuer may run ahead of ours before its fresh tokens are refused.
const NOT_BEFORE_LEEWAY: Duration = Duration::from_secs(5);

/// Why a token was refused; the text is for whoever issues tokens, and holds nothing of the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// Nothing was presented.
    #[error(
        "a token is needed: Authorization: Bearer, the subprotocol redred.token.<jwt>, or ?token="
    )]
    Missing,
    /// Over [`TOKEN_BYTES_MAX`].
    #[error("the token is longer than 8 KiB")]
    TooLong,
    /// Not a JWT, or one that breaks a rule of RFC 7515 or RFC 7519.
    #[error("the token is not a well-formed JWT")]
    Malformed,
    /// No key fits its `alg` and `kid`.
    #[error("no key of this server fits the token's alg and kid")]
    UnknownKey,
    /// The signature does not verify.
    #[error("the token's signature does not verify")]
    BadSignature,
    /// A claim is missing or has the wrong shape.
    #[error("claim {0}")]
    BadClaim(String),
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
}

/// A key with the one algorithm it is used with.
struct VerifyingKey {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Verifies tokens and API keys.
pub struct Verifier {
    /// Of the configuration.
    keys: Vec<Arc<VerifyingKey>>,
    /// Of `auth.jwks_url`.
    remote: Option<Remote>,
    signer: Option<EncodingKey>,
    api_keys: ApiKeys,
    is_dev: bool,
}

/// A signed token.
pub struct Signed {
    /// The JWT.
    pub token: String,
    /// When it ends, unix milliseconds.
    pub expires_at_ms: u64,
}

impl Verifier {
    /// Loads the keys of a configuration, but for those of `auth.jwks_url`: see [`Verifier::fetch_keys`]. In dev mode the
    /// secret is random and lives as long as the process.
    ///
    /// # Errors
    ///
    /// When the key set cannot be read or holds a key that cannot be used.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        Self::counting(config, Outcomes::default())
    }

    /// As [`Verifier::new`]; fetches of keys are counted in `fetches`.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn counting(config: &Config, fetches: Outcomes) -> anyhow::Result<Self> {
        let is_dev = config.is_dev();
        let secret = match &config.auth.secret {
            Some(secret) => Some(secret.clone()),
            None if is_dev => Some(random_secret()),
            None => None,
        };
        let mut keys = Vec::new();
        if let Some(secret) = &secret {
            keys.push(Arc::new(VerifyingKey {
                id: None,
                algorithm: Algorithm::HS256,
                key: DecodingKey::from_secret(secret.expose().as_bytes()),
            }));
        }
        if let Some(path) = &config.auth.jwks_file {
            let found = std::fs::read(path)
                .with_context(|| format!("auth.jwks_file: reading {}", path.display()))?;
            let found = jwks::parse(&found)
                .with_context(|| format!("auth.jwks_file: {}", path.display()))?;
            keys.extend(found.into_iter().map(Arc::new));
        }
        let remote = match &config.auth.jwks_url {
            Some(url) => {
                let url = url.as_str().parse().context("auth.jwks_url")?;
                let interval = config.auth.jwks_refresh_interval;
                Some(Remote::new(url, interval, fetches)?)
            }
            None => None,
        };
        Ok(Self {
            keys,
            remote,
            signer: secret.map(|secret| EncodingKey::from_secret(secret.expose().as_bytes())),
            api_keys: ApiKeys::new(&config.auth.api_keys),
            is_dev,
        })
    }

    /// Fetches the keys of `auth.jwks_url`. Returns whether that is set.
    ///
    /// # Errors
    ///
    /// When they cannot be had. Those fetched before stay.
    pub async fn fetch_keys(&self) -> anyhow::Result<bool> {
        match &self.remote {
            Some(remote) => remote.refresh().await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Fetches the keys of `auth.jwks_url` again and again, for good; returns at once when that is not set.
    pub async fn keep_keys_fresh(&self) {
        if let Some(remote) = &self.remote {
            remote.keep_fresh().await;
        }
    }

    /// When a token names a key that is not known, asks `auth.jwks_url` whether it is there by now, at most once a
    /// minute.
    pub async fn learn_key_of(&self, token: &str) {
        let Some(remote) = &self.remote else {
            return;
        };
        if token.len() > TOKEN_BYTES_MAX {
            return;
        }
        let Ok(header) = jsonwebtoken::decode_header(token) else {
            return;
        };
        if self.key(header.alg, header.kid.as_deref()).is_err() {
            remote.refresh_for_unknown().await;
        }
    }

    /// Tells whether tokens are open to everybody.
    pub fn is_dev(&self) -> bool {
        self.is_dev
    }

    /// Verifies a token and says who presents it.
    ///
    /// # Errors
    ///
    /// When anything about it is wrong.
    pub fn verify(&self, token: &str) -> Result<Caller, Rejection> {
        self.verify_at(token, now_ms())
    }

    /// As [`Verifier::verify`], once an unknown key of the token was asked for.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn verify_learning(&self, token: &str) -> Result<Caller, Rejection> {
        self.learn_key_of(token).await;
        self.verify(token)
    }

    fn verify_at(&self, token: &str, now_ms: u64) -> Result<Caller, Rejection> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Rejection::TooLong);
        }
        claims::check_header(token)?;
        let header = jsonwebtoken::decode_header(token).map_err(|_| Rejection::Malformed)?;
        // An extension that the issuer calls critical and that is not understood forbids acceptance (RFC 7515
        // section 4.1.11); none is understood here.
        if header.crit.is_some() {
            return Err(Rejection::Malformed);
        }
        let key = self.key(header.alg, header.kid.as_deref())?;
        let claims = jsonwebtoken::decode::<Strict<Claims>>(token, &key.key, &validation(&key))
            .map_err(|error| rejection(error.kind()))?;
        claims.claims.0.into_caller(now_ms)
    }

    /// Verifies an API key.
    pub fn verify_api_key(&self, presented: &str) -> Option<Holder> {
        self.api_keys.holder(presented)
    }

    /// Signs a token with `auth.secret`, or with the secret of dev mode.
    ///
    /// # Errors
    ///
    /// When there is no secret to sign with.
    pub fn sign(&self, user: &User, grants: &Grants, ttl: Duration) -> Result<Signed, NoSecret> {
        let signer = self.signer.as_ref().ok_or(NoSecret)?;
        let issued_at_ms = now_ms();
        let expires_at = issued_at_ms / 1000 + ttl.min(TTL_MAX).as_secs().max(1);
        let claims = serde_json::json!({
            "sub": user.id, "name": user.name, "grants": grants,
            "iat": issued_at_ms / 1000, "exp": expires_at,
        });
        let header = Header::new(Algorithm::HS256);
        let token = jsonwebtoken::encode(&header, &claims, signer).map_err(|_| NoSecret)?;
        Ok(Signed {
            token,
            expires_at_ms: expires_at * 1000,
        })
    }

    /// The key for a token's header. Without `kid` there must be exactly one of the algorithm.
    fn key(&self, algorithm: Algorithm, id: Option<&str>) -> Result<Arc<VerifyingKey>, Rejection> {
        let remote = self.remote.as_ref().map(Remote::keys).unwrap_or_default();
        let mut fits = self.keys.iter().chain(remote.iter()).filter(|key| {
            key.algorithm == algorithm
                && (key.id.is_none() || id.is_none() || key.id.as_deref() == id)
        });
        match (fits.next(), fits.next()) {
            (Some(key), None) => Ok(Arc::clone(key)),
            (Some(_) | None, _) => Err(Rejection::UnknownKey),
        }
    }
}

/// There is no secret to sign with.
#[derive(Debug, thiserror::Error)]
#[error(
    "this server can only verify tokens: signing them needs auth.secret, and a key set (auth.jwks_file, auth.jwks_url) \
     holds public keys; ask the issuer whose keys those are"
)]
pub struct NoSecret;

/// The token in a header such as `Authorization: Bearer …`. One WHIP player leaves the scheme out.
pub fn bearer(headers: &axum::http::HeaderMap) -> Option<&str> {
    let value = headers.get(axum::http::header::AUTHORIZATION)?;
    let value = value.to_str().ok()?.trim();
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim()),
        Some(_) => None,
        None => (!value.is_empty()).then_some(value),
    }
}

/// Somebody without a token, with the rights that a token has by default.
pub fn anonymous() -> Caller {
    Caller {
        user: User {
            id: UserId::new("anonymous").expect("a name of the right shape"),
            name: "Anonymous".to_owned(),
        },
        grants: Grants::default(),
        expires_at_ms: u64::MAX,
    }
}

/// Unix time in milliseconds.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

fn rejection(error: &ErrorKind) -> Rejection {
    if let ErrorKind::Json(error) = error {
        return Rejection::BadClaim(error.to_string());
    }
    if matches!(error, ErrorKind::InvalidSignature) {
        return Rejection::BadSignature;
    }
    Rejection::Malformed
}

/// Times and required claims are checked in [`Claims::into_caller`]; the library's defaults would let `nbf` pass.
fn validation(key: &VerifyingKey) -> Validation {
    let mut validation = Validation::new(key.algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

fn random_secret() -> Secret {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    Secret::new(bytes.map(|byte| format!("{byte:02x}")).concat())
}

#[cfg(test)]
mod tests;
