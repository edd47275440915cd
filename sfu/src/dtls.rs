//! DTLS for all peers of a process, from one configuration.
//!
//! dimpl tests all of its cryptography each time it builds a configuration, which takes longer than everything else about
//! a join. str0m's provider builds one for each connection; this one builds it once and shares it.
//!
//! It also tells the keys for SRTP to whoever made the connection, see [`with_keys`]: packets to viewers are sealed by us.

use std::cell::Cell;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
};
use str0m::crypto::{CryptoError, CryptoProvider};

use crate::egress::{Keying, Keys};

/// str0m's cryptography with this provider of DTLS.
pub(crate) fn crypto_provider() -> CryptoProvider {
    static PROVIDER: Provider = Provider {
        config: OnceLock::new(),
    };
    CryptoProvider {
        dtls_provider: &PROVIDER,
        ..str0m::crypto::from_feature_flags()
    }
}

thread_local! {
    /// Of the connection that this thread made last: str0m passes nothing through by which it could be told.
    static NEWEST: Cell<Option<Keys>> = const { Cell::new(None) };
}

/// Makes a connection and tells where its keys will be. They are set before str0m reports the connection, and they are
/// worth nothing before that, because the certificate may not have been verified.
pub(crate) fn with_keys<T>(make: impl FnOnce() -> T) -> (T, Keys) {
    NEWEST.set(None);
    let made = make();
    (made, NEWEST.take().unwrap_or_default())
}

#[derive(Debug)]
struct Provider {
    /// Of the first connection; all of a process have the same MTU.
    config: OnceLock<Arc<dimpl::Config>>,
}

impl Provider {
    fn config(&self, mtu: Option<usize>) -> Result<Arc<dimpl::Config>, CryptoError> {
        let known = self.config.get();
        if let Some(config) = known.filter(|config| mtu.is_none_or(|mtu| config.mtu() == mtu)) {
            return Ok(config.clone());
        }
        // ICE has verified the way back when DTLS begins, so cookies would verify it twice.
        let mut builder = dimpl::Config::builder().use_server_cookie(false);
        if let Some(mtu) = mtu {
            builder = builder.mtu(mtu);
        }
        let config = builder
            .build()
            .map_err(|error| CryptoError::Other(format!("DTLS configuration: {error}")))?;
        let config = Arc::new(config);
        // Where one is known already, this is for another MTU, and is not kept.
        let _ = self.config.set(config.clone());
        Ok(config)
    }
}

impl DtlsProvider for Provider {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        let generated = dimpl::certificate::generate_self_signed_certificate();
        generated.ok()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let (config, cert) = (self.config(mtu)?, cert.clone());
        let dtls = match version {
            DtlsVersion::Dtls12 => dimpl::Dtls::new_12(config, cert, now),
            DtlsVersion::Dtls13 => dimpl::Dtls::new_13(config, cert, now),
            DtlsVersion::Auto => dimpl::Dtls::new_auto(config, cert, now),
            _ => return Err(CryptoError::Other(format!("no DTLS {version}"))),
        };
        let keys = Keys::default();
        NEWEST.set(Some(keys.clone()));
        Ok(Box::new(Instance { dtls, keys }))
    }
}

struct Instance {
    dtls: dimpl::Dtls,
    keys: Keys,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Instance")
    }
}

impl DtlsInstance for Instance {
    fn set_active(&mut self, active: bool) {
        self.dtls.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.dtls.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let output = self.dtls.poll_output(buf);
        if let DtlsOutput::KeyingMaterial(material, profile) = &output {
            // There is one handshake in the life of a connection, so these are the first.
            let _ = self.keys.set(Keying {
                profile: *profile,
                material: material.to_vec(),
                is_client: self.dtls.is_active(),
            });
        }
        output
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.dtls.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.dtls.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.dtls.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.dtls.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.dtls.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.dtls.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.dtls.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_share_a_configuration_unless_their_mtu_differs() {
        let provider = Provider {
            config: OnceLock::new(),
        };
        let config = |mtu| provider.config(Some(mtu)).expect("a good MTU");
        let first = config(1_200);
        assert!(Arc::ptr_eq(&first, &config(1_200)));
        assert_eq!(config(1_000).mtu(), 1_000);
        assert!(Arc::ptr_eq(&first, &config(1_200)), "the first is kept");
        assert!(!first.use_server_cookie());
        assert!(provider.config(Some(1)).is_err());
    }
}
