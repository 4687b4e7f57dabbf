//! Who may do what: pure decisions, without IO and without a clock of their own.
//!
//! A request carries [`Credentials`]; a [`Policy`] turns them into a [`Caller`], and a caller [`may`](Caller::may) do
//! an [`Operation`] on a [`Resource`] or not. What no grant allows is refused. Names of streams come in as the router
//! found them, decoded once and checked (`http::path`), so that no spelling of a URL gets around a pattern; access is
//! decided before the stream is looked up, so that nobody learns which streams exist by asking.
//!
//! Tokens are kept as SHA-256 digests. A slow hash such as argon2 protects secrets that can be guessed; these are made
//! by the machine with 256 bits of randomness ([`NewToken`]), which no number of guesses reaches, and a slow hash would
//! make every request slow.

mod caller;
mod config;
mod grants;
mod jwt;
mod policy;
mod proxy;
mod ring_provider;
mod signed_url;
mod token;

pub use self::caller::{Caller, Certificate, Credentials, Refusal, Resource};
pub use self::config::{
    AccessConfig, AccessMode, CertificateConfig, GrantConfig, JwtConfig, ProxyConfig, TokenConfig, UrlKeyConfig,
};
pub use self::grants::Operation;
pub use self::policy::{Policy, PolicyError};
pub(crate) use self::signed_url::QUERY_SIGNATURE;
pub use self::signed_url::{Signature, SignedUrl, UrlKey};
pub use self::token::{NewToken, TokenDigest};
