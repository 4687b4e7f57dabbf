#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::super::{Certificate, NewToken, Resource, SignedUrl, TokenConfig, TokenDigest, UrlKeyConfig};
use super::*;

const SECRET: &str = "es_0123456789012345678901234567890";

fn grant(pattern: &str, allow: &[Operation]) -> GrantConfig {
    GrantConfig { streams: vec![pattern.to_owned()], allow: allow.to_vec() }
}

fn token(name: &str, secret: &str, grants: Vec<GrantConfig>) -> TokenConfig {
    TokenConfig { name: name.to_owned(), sha256: TokenDigest::of(secret), grants }
}

fn policy() -> Policy {
    let config = AccessConfig {
        anyone: vec![grant("public/**", &[Operation::Read])],
        tokens: vec![token("writer", "w", vec![grant("orders/*", &[Operation::Append])])],
        url_keys: vec![UrlKeyConfig { id: "k".into(), secret: SECRET.into(), streams: vec!["orders/**".into()] }],
        ..AccessConfig::default()
    };
    Policy::new(&config, None).unwrap()
}

fn bearer(token: &str) -> Credentials<'_> {
    Credentials { bearer: Some(token), ..Credentials::default() }
}

#[test]
fn anyone_may_do_what_anyone_may_and_is_asked_for_credentials_for_the_rest() {
    let anyone = policy().identify(Credentials::default(), 0).unwrap();
    assert_eq!(anyone.name(), None);
    assert!(!anyone.is_private());
    assert_eq!(anyone.may(Operation::Read, Resource::Stream("public/x")), Ok(()));
    assert_eq!(anyone.may(Operation::Read, Resource::Stream("orders/x")), Err(Refusal::Unauthenticated));
    assert_eq!(anyone.may(Operation::Append, Resource::Stream("public/x")), Err(Refusal::Unauthenticated));
}

#[test]
fn a_token_has_its_own_grants_only() {
    let writer = policy().identify(bearer("w"), 0).unwrap();
    assert_eq!(writer.name(), Some("writer"));
    assert_eq!(writer.may(Operation::Append, Resource::Stream("orders/x")), Ok(()));
    assert_eq!(writer.may(Operation::Read, Resource::Stream("orders/x")), Err(Refusal::Forbidden));
    assert_eq!(writer.may(Operation::Read, Resource::Stream("public/x")), Err(Refusal::Forbidden));
}

#[test]
fn a_wrong_token_is_refused_even_where_anyone_may_come_in() {
    for wrong in ["", "W", "w ", "a.b.c"] {
        assert!(matches!(policy().identify(bearer(wrong), 0), Err(Refusal::Invalid(_))), "{wrong}");
    }
}

#[test]
fn a_signed_url_reads_its_stream_and_no_other_and_only_where_the_key_may_sign() {
    let key = UrlKey::new("k", SECRET).unwrap();
    let policy = policy();
    let value = key.sign(SignedUrl { stream: "orders/x", expires: 100 });
    let by_url =
        |stream| Credentials { signed_url: Some(Signature { value: &value, stream }), ..Credentials::default() };
    let reader = policy.identify(by_url("orders/x"), 50).unwrap();
    assert!(reader.is_private());
    assert_eq!(reader.may(Operation::Read, Resource::Stream("orders/x")), Ok(()));
    assert_eq!(reader.may(Operation::Read, Resource::Stream("orders/y")), Err(Refusal::Forbidden));
    assert_eq!(reader.may(Operation::Append, Resource::Stream("orders/x")), Err(Refusal::Forbidden));
    assert!(policy.identify(by_url("orders/x"), 100).is_err());
    assert!(policy.identify(by_url("orders/y"), 50).is_err());
    let value = key.sign(SignedUrl { stream: "other", expires: 100 });
    let foreign =
        Credentials { signed_url: Some(Signature { value: &value, stream: "other" }), ..Credentials::default() };
    assert_eq!(policy.identify(foreign, 50).err(), Some(Refusal::Forbidden));
}

#[test]
fn a_certificate_is_known_by_any_of_its_names() {
    let config = AccessConfig {
        certificates: vec![super::super::CertificateConfig {
            name: "svc.example".into(),
            grants: vec![grant("**", &[Operation::Read])],
        }],
        ..AccessConfig::default()
    };
    let policy = Policy::new(&config, None).unwrap();
    let by = |subject: &str, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = Some(Certificate { subject, names: &names });
        let credentials = Credentials { certificate, ..Credentials::default() };
        policy.identify(credentials, 0).unwrap().may(Operation::Read, Resource::Stream("x"))
    };
    assert_eq!(by("CN=other", &["first.example", "svc.example"]), Ok(()));
    assert_eq!(by("svc.example", &[]), Ok(()));
    assert_eq!(by("CN=svc.example", &["svc.example.evil"]), Err(Refusal::Unauthenticated));
}

#[test]
fn mistakes_in_the_configuration_are_named() {
    let error = |config: AccessConfig| Policy::new(&config, None).unwrap_err().to_string();
    let twice = vec![token("a", "same", vec![]), token("b", "same", vec![])];
    assert!(error(AccessConfig { tokens: twice, ..AccessConfig::default() }).contains("token `b`"));
    let empty = vec![token("a", "x", vec![grant("/", &[])])];
    assert!(error(AccessConfig { tokens: empty, ..AccessConfig::default() }).contains("pattern `/`"));
    let weak = vec![UrlKeyConfig { id: "k".into(), secret: "short".into(), streams: vec![] }];
    let shown = error(AccessConfig { url_keys: weak, ..AccessConfig::default() });
    assert!(shown.contains("URL key `k`") && !shown.contains("short"), "{shown}");
}

#[test]
fn secrets_are_not_shown() {
    let secret = NewToken::generate().unwrap().secret;
    let config = AccessConfig {
        tokens: vec![token("a", &secret, vec![])],
        url_keys: vec![UrlKeyConfig { id: "k".into(), secret: secret.clone(), streams: vec![] }],
        ..AccessConfig::default()
    };
    for shown in [format!("{config:?}"), serde_json::to_string(&config).unwrap()] {
        assert!(!shown.contains(&secret), "{shown}");
    }
}

#[test]
fn without_rules_only_loopback_is_served_unless_someone_says_so() {
    let (loopback, any) = ("127.0.0.1".parse().unwrap(), "0.0.0.0".parse().unwrap());
    let mut config = AccessConfig::default();
    assert_eq!(config.is_on(loopback), Ok(false));
    assert_eq!(config.is_on("::1".parse().unwrap()), Ok(false));
    assert!(config.is_on(any).unwrap_err().contains("--auth off"));
    config.mode = super::super::AccessMode::Off;
    assert_eq!(config.is_on(any), Ok(false));
    config = AccessConfig { anyone: vec![grant("**", &[Operation::Read])], ..AccessConfig::default() };
    assert_eq!((config.is_on(any), config.is_on(loopback)), (Ok(true), Ok(true)));
}

proptest! {
    /// Default deny: whoever has no grant for the very operation on a pattern of the very name is refused.
    #[test]
    fn nothing_is_allowed_that_no_grant_says(
        granted in "[a-c](/[a-c]){0,2}(/\\*\\*)?",
        asked in "[a-c](/[a-c]){0,3}",
    ) {
        let config = AccessConfig {
            tokens: vec![token("t", "t", vec![grant(&granted, &[Operation::Read])])],
            ..AccessConfig::default()
        };
        let caller = Policy::new(&config, None).unwrap().identify(bearer("t"), 0).unwrap();
        let expected = granted.parse::<Glob>().unwrap().matches(&asked);
        prop_assert_eq!(caller.may(Operation::Read, Resource::Stream(&asked)).is_ok(), expected);
        for other in [Operation::Append, Operation::Create, Operation::Delete, Operation::Admin] {
            prop_assert!(caller.may(other, Resource::Stream(&asked)).is_err());
        }
    }
}
