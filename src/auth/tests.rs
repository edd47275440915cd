//! Tokens that must pass and, more of them, tokens that must not.

use serde_json::{Value, json};

use super::*;
use crate::config::ApiKey;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_800_000_000;

fn verifier() -> Verifier {
    let mut config = Config::default();
    config.auth.secret = Some(Secret::new(SECRET));
    Verifier::new(&config).expect("a secret is enough")
}

fn encode(part: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(part)
}

/// A token with exactly this header and payload, signed by HMAC-SHA-256 with `secret`.
fn raw(header: &str, payload: &str, secret: &str) -> String {
    let message = format!("{}.{}", encode(header), encode(payload));
    let key = EncodingKey::from_secret(secret.as_bytes());
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("a key");
    format!("{message}.{signature}")
}

fn token(payload: &Value) -> String {
    raw(
        r#"{"alg":"HS256","typ":"JWT"}"#,
        &payload.to_string(),
        SECRET,
    )
}

fn verify(token: &str) -> Result<Caller, Rejection> {
    verifier().verify_at(token, NOW * 1000)
}

/// Good claims with some replaced; null removes one.
fn claims(changes: Value) -> Value {
    let mut claims = json!({"sub": "42", "name": "Ana", "exp": NOW + 60});
    let map = claims.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        map.insert(name.clone(), value.clone());
    }
    map.retain(|_, value| !value.is_null());
    claims
}

#[test]
fn a_good_token_names_its_bearer() {
    let grants = json!({"publish": ["ana"], "admin": false, "of_later_versions": 1});
    let caller = verify(&token(&claims(
        json!({"grants": grants, "nbf": NOW, "iat": NOW}),
    )))
    .expect("good");
    assert_eq!(caller.user.id.as_str(), "42");
    assert_eq!(caller.user.name, "Ana");
    assert_eq!(caller.expires_at_ms, (NOW + 60) * 1000);
    let stream = |name| redred_signaling::StreamName::new(name).expect("a name");
    assert!(caller.grants.may_publish(&stream("ana")));
    assert!(!caller.grants.may_publish(&stream("bo")));
    assert!(caller.grants.may_watch(&stream("bo")));
}

#[test]
fn shapes_at_their_limits_pass() {
    for changes in [
        json!({"name": null}),
        json!({"name": "ñ".repeat(64)}),
        json!({"sub": "a".repeat(64)}),
        json!({"exp": NOW as f64 + 0.5}),
        json!({"nbf": NOW + 5}),
        json!({"grants": {}}),
        json!({"grants": {"watch": [], "chat": ["*"]}}),
        json!({"aud": "somebody", "iss": "x", "jti": [1]}),
    ] {
        assert!(
            verify(&token(&claims(changes.clone()))).is_ok(),
            "{changes}"
        );
    }
}

#[test]
fn bad_claims_are_refused() {
    for changes in [
        json!({"exp": null}),
        json!({"exp": NOW}),
        json!({"exp": NOW - 1}),
        json!({"exp": 0}),
        json!({"exp": -1}),
        json!({"exp": (NOW + 60).to_string()}),
        json!({"exp": true}),
        json!({"nbf": NOW + 6}),
        json!({"nbf": "soon"}),
        json!({"iat": "now"}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": 42}),
        json!({"sub": "a".repeat(65)}),
        json!({"sub": "a b"}),
        json!({"sub": "ä"}),
        json!({"sub": "a/b"}),
        json!({"name": ""}),
        json!({"name": "   "}),
        json!({"name": "a\nb"}),
        json!({"name": 1}),
        json!({"name": "a".repeat(65)}),
        json!({"grants": []}),
        json!({"grants": "all"}),
        json!({"grants": {"publish": "ana"}}),
        json!({"grants": {"publish": [1]}}),
        json!({"grants": {"publish": ["a b"]}}),
        json!({"grants": {"watch": [""]}}),
        json!({"grants": {"admin": "true"}}),
        json!({"grants": {"admin": 1}}),
    ] {
        let verdict = verify(&token(&claims(changes.clone())));
        assert!(verdict.is_err(), "{changes}");
    }
}

#[test]
fn bad_headers_and_signatures_are_refused() {
    let payload = claims(json!({})).to_string();
    let good = raw(r#"{"alg":"HS256"}"#, &payload, SECRET);
    assert!(verify(&good).is_ok());
    let (unsigned, signature) = good.rsplit_once('.').expect("three parts");
    let none = format!("{}.{}", encode(r#"{"alg":"none"}"#), encode(&payload));

    let check = |token: &str| assert!(verify(token).is_err(), "{token}");
    check("");
    check(".");
    check("..");
    check("a.b.c");
    check(unsigned);
    check(&format!("{unsigned}."));
    check(&format!("{unsigned}.{}", &signature[1..]));
    check(&format!("{good}.x"));
    check(&format!("{good}="));
    check(&format!(" {good}"));
    check(&format!("{none}."));
    check(&format!("{none}.{signature}"));
    for header in [
        r#"{"alg":"HS384"}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"ES256"}"#,
        r#"{"typ":"JWT"}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"HS256","x":1,"x":1}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":true}"#,
        "[]",
        "HS256",
    ] {
        check(&raw(header, &payload, SECRET));
    }
    check(&raw(
        r#"{"alg":"HS256"}"#,
        &payload,
        "another secret, also of 32 bytes!",
    ));
    check(&raw(r#"{"alg":"HS256"}"#, &payload, ""));
}

#[test]
fn claims_given_twice_are_refused() {
    let exp = NOW + 60;
    for payload in [
        format!(r#"{{"sub":"1","sub":"2","exp":{exp}}}"#),
        format!(r#"{{"sub":"1","exp":1,"exp":{exp}}}"#),
        format!(r#"{{"sub":"1","exp":{exp},"x":1,"x":2}}"#),
        format!(r#"{{"sub":"1","exp":{exp},"grants":{{"admin":false,"admin":true}}}}"#),
        format!(r#"{{"sub":"1","exp":{exp}}} x"#),
        format!(r#"["1",{exp}]"#),
        "\u{0}".to_owned(),
    ] {
        let token = raw(r#"{"alg":"HS256"}"#, &payload, SECRET);
        assert!(verify(&token).is_err(), "{payload}");
    }
}

#[test]
fn long_tokens_are_refused_unread() {
    let token = token(&claims(json!({"x": "a".repeat(TOKEN_BYTES_MAX)})));
    assert_eq!(verify(&token), Err(Rejection::TooLong));
}

#[test]
fn what_the_server_signs_it_verifies() {
    let verifier = verifier();
    let user = claims::user("42".to_owned(), Some("Ana".to_owned())).expect("good");
    let grants = claims::grants(json!({"publish": ["ana"], "watch": []})).expect("good");
    let signed = verifier
        .sign(&user, &grants, Duration::from_secs(60))
        .expect("there is a secret");
    let caller = verifier.verify(&signed.token).expect("our own token");
    assert_eq!((caller.user, caller.grants), (user, grants));
    assert_eq!(caller.expires_at_ms, signed.expires_at_ms);
}

#[test]
fn dev_mode_has_a_secret_of_its_own() {
    let verifiers = [(); 2].map(|()| Verifier::new(&Config::default()).expect("dev mode"));
    let user = claims::user("42".to_owned(), None).expect("good");
    let signed = verifiers[0].sign(&user, &Grants::default(), Duration::from_secs(60));
    let token = signed.expect("a secret").token;
    assert!(verifiers[0].verify(&token).is_ok());
    assert!(verifiers[1].verify(&token).is_err());
}

#[test]
fn api_keys_are_compared_whole() {
    let mut config = Config::default();
    config.auth.secret = Some(Secret::new(SECRET));
    config.auth.api_keys = vec![
        ApiKey::all("key-one-16-chars"),
        ApiKey::all("key-two-16-chars"),
    ];
    let verifier = Verifier::new(&config).expect("good");
    assert!(
        verifier
            .verify_api_key("key-two-16-chars")
            .is_some_and(|holder| holder.caller.grants.admin)
    );
    for wrong in [
        "",
        "key-one-16-char",
        "key-one-16-charsx",
        "KEY-ONE-16-CHARS",
    ] {
        assert!(verifier.verify_api_key(wrong).is_none(), "{wrong}");
    }
}

#[test]
fn bearers_are_found_with_and_without_their_scheme() {
    let found = |value: &str| {
        let mut headers = axum::http::HeaderMap::new();
        headers.insert("authorization", value.parse().expect("a header value"));
        bearer(&headers).map(str::to_owned)
    };
    assert_eq!(found("Bearer abc").as_deref(), Some("abc"));
    assert_eq!(found("bearer  abc").as_deref(), Some("abc"));
    assert_eq!(found("abc").as_deref(), Some("abc"));
    assert_eq!(found("Basic abc"), None);
    assert_eq!(found(""), None);
}

mod key_sets {
    use super::*;

    // RFC 7515 appendix A.3 (ES256) and RFC 8037 appendix A (Ed25519).
    const EC: &str = r#"{"kty":"EC","crv":"P-256","kid":"ec","use":"sig",
        "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"ed","alg":"EdDSA",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    const ED_PRIVATE_DER: &str = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";

    fn set(keys: &[&str]) -> String {
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }

    fn verifier(keys: &[&str], secret: Option<&str>) -> anyhow::Result<Verifier> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), set(keys))?;
        let mut config = Config::default();
        config.auth.jwks_file = Some(file.path().to_owned());
        config.auth.secret = secret.map(Secret::new);
        Verifier::new(&config)
    }

    fn signed(kid: Option<&str>) -> String {
        use base64::Engine;
        let der = base64::engine::general_purpose::STANDARD.decode(ED_PRIVATE_DER);
        let key = EncodingKey::from_ed_der(&der.expect("base64"));
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = kid.map(str::to_owned);
        jsonwebtoken::encode(&header, &claims(json!({})), &key).expect("a key")
    }

    #[test]
    fn a_key_is_found_by_kid_or_as_the_only_one_of_its_algorithm() {
        let verifier = verifier(&[EC, ED], None).expect("good keys");
        let verify = |kid| verifier.verify_at(&signed(kid), NOW * 1000);
        assert!(verify(Some("ed")).is_ok());
        assert!(verify(None).is_ok());
        assert_eq!(verify(Some("ec")), Err(Rejection::UnknownKey));
        assert_eq!(verify(Some("other")), Err(Rejection::UnknownKey));
    }

    #[test]
    fn a_public_key_is_no_hmac_secret() {
        let verifier = verifier(&[EC, ED], Some(SECRET)).expect("good keys");
        let payload = claims(json!({})).to_string();
        for secret in [ED, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"] {
            let token = raw(r#"{"alg":"HS256","kid":"ed"}"#, &payload, secret);
            assert_eq!(
                verifier.verify_at(&token, NOW * 1000),
                Err(Rejection::BadSignature)
            );
        }
        let own = raw(r#"{"alg":"HS256"}"#, &payload, SECRET);
        assert!(verifier.verify_at(&own, NOW * 1000).is_ok());
    }

    #[test]
    fn sets_with_other_keys_are_refused() {
        let secret_key = r#"{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}"#;
        let wrong_alg = ED.replace("EdDSA", "RS256");
        for keys in [&[][..], &[secret_key], &[EC, EC], &[&wrong_alg]] {
            assert!(verifier(keys, None).is_err(), "{keys:?}");
        }
    }
}
