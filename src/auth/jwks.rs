//! Reads a JSON Web Key Set (RFC 7517).

use anyhow::{Context, bail, ensure};
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};

use super::VerifyingKey;

/// More keys than any rotation needs.
const KEYS_MAX: usize = 32;

/// The keys of a set that can verify signatures.
///
/// # Errors
///
/// When it is no key set, or holds a signing key of another kind than RS256, ES256 and EdDSA (Ed25519). A set with a
/// key that is silently skipped would refuse tokens nobody can explain.
pub(super) fn parse(bytes: &[u8]) -> anyhow::Result<Vec<VerifyingKey>> {
    let set: JwkSet = serde_json::from_slice(bytes).context("expected a JSON Web Key Set")?;
    ensure!(
        set.keys.len() <= KEYS_MAX,
        "expected at most {KEYS_MAX} keys"
    );
    let signing = set.keys.iter().filter(|key| {
        let usage = key.common.public_key_use.as_ref();
        usage.is_none_or(|usage| *usage == PublicKeyUse::Signature)
    });
    let mut keys: Vec<VerifyingKey> = Vec::new();
    for (index, jwk) in signing.enumerate() {
        let key = verifying_key(jwk).with_context(|| format!("key {index}"))?;
        let is_repeated = keys.iter().any(|known| {
            known.id.is_some() && known.id == key.id && known.algorithm == key.algorithm
        });
        ensure!(!is_repeated, "key {index}: expected a kid of its own");
        keys.push(key);
    }
    ensure!(!keys.is_empty(), "expected at least one signing key");
    Ok(keys)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "key types of later versions of the library are refused as well"
)]
fn verifying_key(jwk: &Jwk) -> anyhow::Result<VerifyingKey> {
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => {
            bail!("expected kty RSA, EC with crv P-256, or OKP with crv Ed25519")
        }
    };
    if let Some(alg) = jwk.common.key_algorithm
        && alg != named
    {
        bail!("expected alg {named} for a key of this type");
    }
    Ok(VerifyingKey {
        id: jwk.common.key_id.clone(),
        algorithm,
        key: DecodingKey::from_jwk(jwk).context("expected base64url key parameters")?,
    })
}
