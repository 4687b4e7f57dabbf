#![allow(clippy::unwrap_used)]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::json;

use super::super::{Operation, Resource};
use super::*;

/// A key of tests that signs.
enum Signer {
    Ed(Ed25519KeyPair),
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Signer {
    fn ed() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    fn ec() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random);
        Self::Ec(pair.unwrap())
    }

    fn rsa() -> Self {
        let text: String = include_str!("testdata/rsa-2048.pkcs8.b64").split_whitespace().collect();
        Self::Rsa(RsaKeyPair::from_pkcs8(&STANDARD.decode(text).unwrap()).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed(_) => "EdDSA",
            Self::Ec(_) => "ES256",
            Self::Rsa(_) => "RS256",
        }
    }

    fn jwk(&self, kid: &str) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": kid, "x": encode(pair.public_key().as_ref())})
            }
            Self::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": encode(&point[1..33]), "y": encode(&point[33..])})
            }
            Self::Rsa(pair) => {
                let key: ring::rsa::PublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({"kty": "RSA", "alg": "RS256", "kid": kid, "n": encode(&key.n), "e": encode(&key.e)})
            }
        }
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(serde_json::to_vec(part).unwrap())).join(".");
        let random = SystemRandom::new();
        let signature = match self {
            Self::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
            Self::Ec(pair) => pair.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn token(&self, claims: &Value) -> String {
        self.sign(&json!({"alg": self.algorithm(), "kid": "k", "typ": "JWT"}), claims)
    }
}

fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

fn claims() -> Value {
    json!({"iss": "https://id.example", "aud": ["other", "everstream"], "sub": "ann", "exp": now() + 600})
}

fn with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn config(grants: &[(&str, Operation)]) -> JwtConfig {
    JwtConfig {
        jwks: "unused".into(),
        issuers: vec!["https://id.example".into()],
        audiences: vec!["everstream".into()],
        leeway_seconds: 60,
        grants: grants
            .iter()
            .map(|(pattern, operation)| GrantConfig { streams: vec![(*pattern).into()], allow: vec![*operation] })
            .collect(),
        grants_claim: Some("streams".into()),
    }
}

fn verifier(signers: &[(&str, &Signer)], grants: &[(&str, Operation)]) -> JwtVerifier {
    let keys: Vec<Value> = signers.iter().map(|(kid, signer)| signer.jwk(kid)).collect();
    JwtVerifier::new(&config(grants), &json!({ "keys": keys }).to_string()).unwrap()
}

fn refusal(result: Result<Caller, Refusal>) -> &'static str {
    match result {
        Err(Refusal::Invalid(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn tokens_of_each_algorithm_are_accepted_and_changed_ones_are_not() {
    for signer in [Signer::ed(), Signer::ec(), Signer::rsa()] {
        let verifier = verifier(&[("k", &signer)], &[("users/{sub}/**", Operation::Read)]);
        let token = signer.token(&claims());
        let caller = verifier.identify(&token).unwrap();
        assert_eq!(caller.name(), Some("ann"));
        assert_eq!(caller.may(Operation::Read, Resource::Stream("users/ann/x")), Ok(()));
        assert_eq!(caller.may(Operation::Read, Resource::Stream("users/bob/x")), Err(Refusal::Forbidden));

        let mut parts: Vec<&str> = token.split('.').collect();
        let forged = URL_SAFE_NO_PAD.encode(with(json!({"sub": "bob"})).to_string());
        parts[1] = &forged;
        assert_eq!(refusal(verifier.identify(&parts.join("."))), "the signature is wrong");
        assert!(verifier.identify(&token[..token.len() - 8]).is_err());
    }
}

#[test]
fn the_algorithm_is_that_of_the_key_whatever_the_token_says() {
    let signer = Signer::ed();
    let verifier = verifier(&[("k", &signer)], &[]);
    for algorithm in ["none", "None", "HS256", "RS256", "ES256"] {
        let token = signer.sign(&json!({"alg": algorithm, "kid": "k"}), &claims());
        assert!(verifier.identify(&token).is_err(), "{algorithm}");
        // The public key as the secret of an HMAC is the oldest of the tricks; and no signature at all.
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert!(verifier.identify(&unsigned).is_err(), "{algorithm}");
    }
}

#[test]
fn time_issuer_and_audience_must_be_there_and_right() {
    let signer = Signer::ec();
    let verifier = verifier(&[("k", &signer)], &[]);
    for (changes, why) in [
        (json!({"exp": now() - 61}), "the token has expired"),
        (json!({"nbf": now() + 120}), "the token is not valid yet"),
        (json!({"iss": "https://evil.example"}), "the token is of another issuer"),
        (json!({"aud": "else"}), "the token is for another audience"),
        (json!({"exp": null}), "the token lacks exp, iss or aud"),
        (json!({"iss": null}), "the token lacks exp, iss or aud"),
        (json!({"aud": null}), "the token lacks exp, iss or aud"),
        (json!({"exp": "never"}), "the token lacks exp, iss or aud"),
        (json!({"nbf": "never"}), "malformed token"),
    ] {
        assert_eq!(refusal(verifier.identify(&signer.token(&with(changes.clone())))), why, "{changes}");
    }
    for fine in [json!({"exp": now() - 30}), json!({"nbf": now() + 30}), json!({"aud": "everstream"})] {
        assert!(verifier.identify(&signer.token(&with(fine.clone()))).is_ok(), "{fine}");
    }
}

#[test]
fn keys_are_found_by_id_and_can_be_replaced() {
    let (old, new) = (Signer::ed(), Signer::ec());
    let verifier = verifier(&[("old", &old)], &[]);
    let by = |signer: &Signer, kid: &str| signer.sign(&json!({"alg": signer.algorithm(), "kid": kid}), &claims());
    assert!(verifier.identify(&by(&old, "old")).is_ok());
    assert_eq!(refusal(verifier.identify(&by(&new, "new"))), "signed with an unknown key");
    assert!(verifier.identify(&old.sign(&json!({"alg": "EdDSA"}), &claims())).is_ok(), "there is one key only");

    assert!(verifier.replace_keys("{}").is_err());
    assert!(verifier.identify(&by(&old, "old")).is_ok(), "a bad set changes nothing");
    verifier.replace_keys(&json!({"keys": [new.jwk("new")]}).to_string()).unwrap();
    assert!(verifier.identify(&by(&new, "new")).is_ok());
    assert_eq!(refusal(verifier.identify(&by(&old, "old"))), "signed with an unknown key");
}

#[test]
fn only_keys_that_verify_signatures_are_taken() {
    let ed = Signer::ed();
    let set = |keys: Value| KeySet::parse(&json!({ "keys": keys }).to_string());
    let mut for_encryption = ed.jwk("a");
    for_encryption["use"] = "enc".into();
    let mut for_another_algorithm = ed.jwk("b");
    for_another_algorithm["alg"] = "ES256".into();
    let symmetric = json!({"kty": "oct", "kid": "c", "k": "c2VjcmV0"});
    let unheard_of = json!({"kty": "XYZ", "kid": "d"});
    let unusable = json!([for_encryption, for_another_algorithm, symmetric, unheard_of, 7]);
    assert!(set(unusable.clone()).is_err());
    let mut with_one = unusable.as_array().unwrap().clone();
    with_one.push(ed.jwk("e"));
    let keys = set(with_one.into()).unwrap();
    assert_eq!(keys.by_id.keys().collect::<Vec<_>>(), ["e"]);
    assert!(set(json!([ed.jwk("e"), ed.jwk("e")])).is_err(), "one id, two keys");
}

#[test]
fn a_claim_fills_one_segment_and_can_be_nothing_else() {
    let signer = Signer::ed();
    let verifier = verifier(&[("k", &signer)], &[("t/{org}-{sub}/*", Operation::Append), ("all/**", Operation::Read)]);
    let may = |claims: Value, name: &str| {
        let caller = verifier.identify(&signer.token(&claims)).unwrap();
        caller.may(Operation::Append, Resource::Stream(name)).is_ok()
    };
    assert!(may(with(json!({"org": "acme"})), "t/acme-ann/x"));
    assert!(!may(with(json!({"org": "acme"})), "t/acme-bob/x"));
    assert!(!may(claims(), "t/{org}-ann/x"), "the claim is missing");
    for org in [json!(""), json!("a/b"), json!(["acme"]), json!(7), json!(null)] {
        assert!(!may(with(json!({"org": org})), "t/acme-ann/x"), "{org}");
    }
    // Stars in a claim are letters.
    assert!(!may(with(json!({"sub": "**", "org": "*"})), "t/acme-ann/x"));
    assert!(may(with(json!({"sub": "**", "org": "*"})), "t/*-**/x"));
}

#[test]
fn grants_in_a_token_add_to_those_of_the_configuration() {
    let signer = Signer::ed();
    let verifier = verifier(&[("k", &signer)], &[("a", Operation::Read)]);
    let caller = |streams: Value| verifier.identify(&signer.token(&with(json!({ "streams": streams })))).unwrap();
    let both = caller(json!([{"streams": ["b/*"], "allow": ["append"]}]));
    assert!(both.may(Operation::Append, Resource::Stream("b/x")).is_ok());
    assert!(both.may(Operation::Read, Resource::Stream("a")).is_ok());
    assert!(both.may(Operation::Read, Resource::Stream("b/x")).is_err());
    for odd in [
        json!("**"),
        json!([{"streams": ["**"], "allow": ["everything"]}]),
        json!([{"streams": ["/"], "allow": ["read"]}]),
    ] {
        let odd = caller(odd);
        assert!(odd.may(Operation::Read, Resource::Stream("a")).is_ok());
        assert!(odd.may(Operation::Read, Resource::Stream("b")).is_err());
    }
}

#[test]
fn a_configuration_without_issuer_or_audience_is_refused() {
    let jwks = json!({"keys": [Signer::ed().jwk("k")]}).to_string();
    for change in [|config: &mut JwtConfig| config.issuers.clear(), |config: &mut JwtConfig| config.audiences.clear()] {
        let mut config = config(&[]);
        change(&mut config);
        assert!(JwtVerifier::new(&config, &jwks).is_err());
    }
}

#[test]
fn an_accepted_token_is_known_until_it_expires_and_with_its_keys_only() {
    let signer = Signer::ec();
    let verifier = verifier(&[("k", &signer)], &[("a", Operation::Read)]);
    let token = signer.token(&claims());
    for _ in 0..2 {
        let caller = verifier.identify(&token).unwrap();
        assert_eq!(caller.may(Operation::Read, Resource::Stream("a")), Ok(()));
    }
    let keys = verifier.keys.load_full();
    let digest = TokenDigest::of(&token);
    assert!(keys.verified.find(&digest, now()).is_some());
    assert!(keys.verified.find(&digest, now() + 600 + 60 + 5).is_none());
    assert!(keys.verified.find(&TokenDigest::of(&format!("{token}x")), now()).is_none());
    verifier.replace_keys(&json!({"keys": [Signer::ec().jwk("k")]}).to_string()).unwrap();
    assert!(verifier.identify(&token).is_err());
}

mod never_panics {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_is_sent(token in "[A-Za-z0-9_.=-]{0,80}") {
            let signer = Signer::ed();
            let verifier = verifier(&[("k", &signer)], &[]);
            prop_assert!(verifier.identify(&token).is_err());
        }
    }
}
