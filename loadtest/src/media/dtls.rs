//! DTLS for all peers from one configuration and one certificate.
//!
//! dimpl tests all of its cryptography each time it builds a configuration, and str0m builds one for each peer: a generator
//! that joins a hundred viewers a second would be busy with that alone.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::Context;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
};
use str0m::crypto::{CryptoError, CryptoProvider};

/// What all peers of a run share.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) crypto: Arc<CryptoProvider>,
    pub(super) certificate: DtlsCert,
}

impl Identity {
    pub(super) fn new() -> anyhow::Result<Self> {
        static PROVIDER: Provider = Provider {
            config: OnceLock::new(),
        };
        let certificate = PROVIDER.generate_certificate();
        Ok(Self {
            crypto: Arc::new(CryptoProvider {
                dtls_provider: &PROVIDER,
                ..str0m::crypto::from_feature_flags()
            }),
            certificate: certificate.context("making a certificate")?,
        })
    }
}

#[derive(Debug)]
struct Provider {
    config: OnceLock<Arc<dimpl::Config>>,
}

impl DtlsProvider for Provider {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        dimpl::certificate::generate_self_signed_certificate().ok()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let config = match self.config.get() {
            Some(config) => config.clone(),
            None => {
                let mut builder = dimpl::Config::builder();
                if let Some(mtu) = mtu {
                    builder = builder.mtu(mtu);
                }
                let built = builder
                    .build()
                    .map_err(|error| CryptoError::Other(format!("DTLS configuration: {error}")))?;
                // All peers have the same MTU, so whichever thread was first, the configurations are equal.
                self.config.get_or_init(|| Arc::new(built)).clone()
            }
        };
        let dtls = match version {
            DtlsVersion::Dtls12 => dimpl::Dtls::new_12(config, cert.clone(), now),
            DtlsVersion::Dtls13 => dimpl::Dtls::new_13(config, cert.clone(), now),
            DtlsVersion::Auto => dimpl::Dtls::new_auto(config, cert.clone(), now),
            _ => return Err(CryptoError::Other(format!("no DTLS {version}"))),
        };
        Ok(Box::new(Instance(dtls)))
    }
}

struct Instance(dimpl::Dtls);

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Instance")
    }
}

impl DtlsInstance for Instance {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        self.0.poll_output(buf)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.0.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.0.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.0.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.0.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.0.close()
    }
}
