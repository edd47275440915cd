//! TLS of the HTTP listener. Certificates are renewed while the server runs: the files are looked at again and again and
//! when somebody asks, and files that cannot be used change nothing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;

use crate::metrics::Outcomes;

/// A certificate chain and its key in files, and what connections are served with.
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    config: RwLock<Arc<ServerConfig>>,
    /// Of the contents that were last looked at, good or bad: the same fault is told once.
    seen: Mutex<Contents>,
}

/// The digests of both files; the key itself is not kept.
#[derive(PartialEq)]
struct Contents([Vec<u8>; 2]);

impl Tls {
    /// Loads a certificate chain and its key.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, is no PEM, or the two do not belong together.
    pub fn load(cert: &Path, key: &Path) -> anyhow::Result<Self> {
        let (chain, secret) = read(cert, key)?;
        Ok(Self {
            cert: cert.to_owned(),
            key: key.to_owned(),
            config: RwLock::new(Arc::new(config(cert, &chain, key, &secret)?)),
            seen: Mutex::new(Contents::of(&chain, &secret)),
        })
    }

    /// Accepts connections with the certificate of now.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }

    /// Takes up what stands in the files. Returns whether it is new.
    ///
    /// # Errors
    ///
    /// As [`Tls::load`]. Then connections go on with what was loaded before.
    fn reload(&self) -> anyhow::Result<bool> {
        // Held from the reading on: of two who look at once, the later has the newer contents.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (chain, secret) = read(&self.cert, &self.key)?;
        let contents = Contents::of(&chain, &secret);
        if *seen == contents {
            return Ok(false);
        }
        *seen = contents;
        // A whole new configuration: sessions that were begun under the old certificate are not resumed.
        let config = Arc::new(config(&self.cert, &chain, &self.key, &secret)?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(true)
    }

    /// Looks at the files every `period`, for good. Contents are compared, not times of change: that also sees a symbolic
    /// link that was turned, and files written twice in a second.
    pub async fn keep_fresh(self: Arc<Self>, period: Duration, outcomes: Outcomes) {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.refresh(&outcomes).await;
        }
    }

    /// Looks at the files now, and says in the log what came of it. Returns whether they are as before.
    pub async fn refresh(self: &Arc<Self>, outcomes: &Outcomes) -> bool {
        let tls = Arc::clone(self);
        let reloaded = tokio::task::spawn_blocking(move || tls.reload()).await;
        match reloaded.map_err(anyhow::Error::from).flatten() {
            Ok(true) => {
                outcomes.done.increment();
                tracing::info!(cert = %self.cert.display(), "a new certificate is in use");
            }
            Ok(false) => return true,
            Err(error) => {
                outcomes.failed.increment();
                tracing::error!(
                    error = format!("{error:#}"),
                    "the certificate on disk cannot be used; the one loaded before stays in use"
                );
            }
        }
        false
    }
}

impl Contents {
    fn of(chain: &[u8], secret: &[u8]) -> Self {
        let bytes = |digest: Digest| digest.as_ref().to_vec();
        Self([
            bytes(digest(&SHA256, chain)),
            bytes(digest(&SHA256, secret)),
        ])
    }
}

fn read(cert: &Path, key: &Path) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let chain = std::fs::read(cert)
        .with_context(|| format!("http.tls.cert: reading {}", cert.display()))?;
    let secret =
        std::fs::read(key).with_context(|| format!("http.tls.key: reading {}", key.display()))?;
    Ok((chain, secret))
}

fn config(cert: &Path, chain: &[u8], key: &Path, secret: &[u8]) -> anyhow::Result<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| {
            format!(
                "http.tls.cert: expected a PEM certificate chain in {}",
                cert.display()
            )
        })?;
    anyhow::ensure!(
        !chain.is_empty(),
        "http.tls.cert: expected at least one certificate in {}",
        cert.display()
    );
    let secret = PrivateKeyDer::from_pem_slice(secret).with_context(|| {
        format!(
            "http.tls.key: expected a PEM private key in {}",
            key.display()
        )
    })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("choosing TLS versions")?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .context("http.tls: expected a certificate and the key it was made for")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
        let made = made.expect("a certificate");
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        (cert, key)
    }

    fn current(tls: &Tls) -> Arc<ServerConfig> {
        Arc::clone(tls.acceptor().config())
    }

    #[test]
    fn new_files_are_taken_up_and_bad_ones_leave_the_old_certificate() {
        let folder = tempfile::tempdir().expect("a folder");
        let (cert, key) = write(folder.path());
        let tls = Tls::load(&cert, &key).expect("loads");
        let first = current(&tls);
        assert!(!tls.reload().expect("readable"), "nothing has changed");
        assert!(Arc::ptr_eq(&first, &current(&tls)));

        write(folder.path());
        assert!(tls.reload().expect("readable"));
        let second = current(&tls);
        assert!(!Arc::ptr_eq(&first, &second));

        // Half a renewal: the certificate is new and the key is not yet.
        let other = tempfile::tempdir().expect("a folder");
        let (new_cert, new_key) = write(other.path());
        std::fs::copy(&new_cert, &cert).expect("copied");
        let error = tls.reload().expect_err("they do not belong together");
        assert!(error.to_string().contains("http.tls"), "{error:#}");
        assert!(Arc::ptr_eq(&second, &current(&tls)));
        assert!(
            !tls.reload().expect("told once"),
            "the same bad files again"
        );
        std::fs::copy(&new_key, &key).expect("copied");
        assert!(tls.reload().expect("whole again"));
        assert!(!Arc::ptr_eq(&second, &current(&tls)));

        std::fs::remove_file(&key).expect("removed");
        let third = current(&tls);
        tls.reload().expect_err("not readable");
        assert!(Arc::ptr_eq(&third, &current(&tls)));
    }
}
