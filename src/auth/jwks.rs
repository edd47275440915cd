//! Reads a JSON Web Key Set (RFC 7517).

pub(super) mod remote;

use anyhow::{Context, bail, ensure};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

use super::VerifyingKey;

/// More keys than any rotation needs.
const KEYS_MAX: usize = 32;

/// The members of a set, each to be read on its own.
#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

/// The keys of a set that can verify signatures.
///
/// # Errors
///
/// When it is no key set, or holds a signing key of another kind than RS256, ES256 and EdDSA (Ed25519). A set with a
/// key that is silently skipped would refuse tokens nobody can explain.
pub(super) fn parse(bytes: &[u8]) -> anyhow::Result<Vec<VerifyingKey>> {
    let (keys, passed_over) = parse_known(bytes)?;
    match passed_over.into_iter().next() {
        Some(reason) => bail!(reason),
        None => Ok(keys),
    }
}

/// The keys of a set that can verify signatures, and why others cannot: a set that an issuer makes for many may hold
/// keys that are not meant for us.
///
/// # Errors
///
/// When it is no key set, or holds no signing key that can be used.
fn parse_known(bytes: &[u8]) -> anyhow::Result<(Vec<VerifyingKey>, Vec<String>)> {
    let set: Set = serde_json::from_slice(bytes).context("expected a JSON Web Key Set")?;
    ensure!(
        set.keys.len() <= KEYS_MAX,
        "expected at most {KEYS_MAX} keys"
    );
    let mut keys: Vec<VerifyingKey> = Vec::new();
    let mut passed_over = Vec::new();
    for (index, value) in set.keys.into_iter().enumerate() {
        match signing_key(value) {
            Ok(Some(key)) => {
                let is_repeated = keys.iter().any(|known| {
                    known.id.is_some() && known.id == key.id && known.algorithm == key.algorithm
                });
                ensure!(!is_repeated, "key {index}: expected a kid of its own");
                keys.push(key);
            }
            Ok(None) => {}
            Err(error) => passed_over.push(format!("key {index}: {error:#}")),
        }
    }
    if keys.is_empty() {
        match passed_over.into_iter().next() {
            Some(reason) => bail!(reason),
            None => bail!("expected at least one signing key"),
        }
    }
    Ok((keys, passed_over))
}

/// A key of the set; none when it is not for signatures.
fn signing_key(value: serde_json::Value) -> anyhow::Result<Option<VerifyingKey>> {
    let jwk: Jwk = serde_json::from_value(value).context("expected a JSON Web Key")?;
    let usage = jwk.common.public_key_use.as_ref();
    if usage.is_some_and(|usage| *usage != PublicKeyUse::Signature) {
        return Ok(None);
    }
    verifying_key(&jwk).map(Some)
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
