//! A key set behind a URL: fetched at the start, again at intervals, and when a token names a key that is not there.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use axum::http::header::{ACCEPT, HeaderValue};
use axum::http::{Request, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::{VerifyingKey, parse_known};
use crate::metrics::Outcomes;

/// A set of 32 RSA keys with their certificate chains fits.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// How long one fetch may take, with connecting.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// How often unknown keys may make us ask: strangers can name as many as they like.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(60);

/// The keys behind a URL, as last fetched.
pub(in crate::auth) struct Remote {
    url: Uri,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    keys: RwLock<Arc<Vec<Arc<VerifyingKey>>>>,
    interval: Duration,
    unknown_pause: Duration,
    /// When an unknown key last made us ask; held while it does.
    unknown_asked: Mutex<Option<Instant>>,
    outcomes: Outcomes,
}

impl Remote {
    /// A key set that has not been fetched yet.
    ///
    /// # Errors
    ///
    /// When the machine's certificates of authorities cannot be used.
    pub(in crate::auth) fn new(
        url: Uri,
        interval: Duration,
        outcomes: Outcomes,
    ) -> anyhow::Result<Self> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        // That HTTPS is used, and plain HTTP only towards this machine, is a rule of the configuration.
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_platform_verifier(provider)
            .context("auth.jwks_url: loading the certificates of authorities")?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            url,
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build(connector),
            keys: RwLock::default(),
            interval,
            unknown_pause: UNKNOWN_PAUSE,
            unknown_asked: Mutex::new(None),
            outcomes,
        })
    }

    /// The keys as last fetched.
    pub(in crate::auth) fn keys(&self) -> Arc<Vec<Arc<VerifyingKey>>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&keys)
    }

    /// Fetches the keys. When that comes to nothing, those of before stay.
    ///
    /// # Errors
    ///
    /// When the answer does not come in time or is no set with a key that can be used.
    pub(in crate::auth) async fn refresh(&self) -> anyhow::Result<()> {
        let fetched = match timeout(FETCH_TIMEOUT, self.fetch()).await {
            Ok(fetched) => fetched,
            Err(_) => Err(anyhow::anyhow!("no whole answer in {FETCH_TIMEOUT:?}")),
        };
        match fetched {
            Ok(keys) => {
                self.outcomes.done.increment();
                tracing::debug!(keys = keys.len(), "the keys were fetched");
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
                Ok(())
            }
            Err(error) => {
                self.outcomes.failed.increment();
                Err(error.context(format!("auth.jwks_url: {}", self.url)))
            }
        }
    }

    /// Fetches the keys because a token names one that is not there, unless that was done a short while ago.
    pub(in crate::auth) async fn refresh_for_unknown(&self) {
        // Whoever waits here finds the keys that the one before fetched.
        let mut asked = self.unknown_asked.lock().await;
        if asked.is_none_or(|asked| asked.elapsed() >= self.unknown_pause) {
            *asked = Some(Instant::now());
            self.tell(self.refresh().await);
        }
    }

    /// Fetches the keys again and again.
    pub(in crate::auth) async fn keep_fresh(&self) {
        loop {
            sleep(self.interval).await;
            self.tell(self.refresh().await);
        }
    }

    fn tell(&self, result: anyhow::Result<()>) {
        if let Err(error) = result {
            tracing::warn!(
                error = format!("{error:#}"),
                "the keys cannot be fetched; those of before stay"
            );
        }
    }

    async fn fetch(&self) -> anyhow::Result<Vec<Arc<VerifyingKey>>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.url.clone();
        let json = HeaderValue::from_static("application/jwk-set+json, application/json");
        request.headers_mut().insert(ACCEPT, json);
        let response = self.client.request(request).await.context("connecting")?;
        // A redirection is an answer like any other: keys come from where the operator said.
        ensure!(
            response.status().is_success(),
            "expected 200, got {}",
            response.status()
        );
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect();
        let body = match body.await {
            Ok(body) => body.to_bytes(),
            Err(error) => bail!("expected a whole body of at most {BODY_BYTES_MAX} bytes: {error}"),
        };
        let (keys, passed_over) = parse_known(&body)?;
        for reason in passed_over {
            tracing::warn!(reason, "a key of auth.jwks_url cannot be used");
        }
        Ok(keys.into_iter().map(Arc::new).collect())
    }
}

#[cfg(test)]
mod tests;
