//! Who asks, what for, and why not.

use std::sync::Arc;

use super::grants::{Grants, Operation};

/// What a request carries to say who asks.
#[derive(Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The token of `Authorization: Bearer`.
    pub bearer: Option<&'a str>,
    /// The name that a trusted proxy gives the caller.
    pub user: Option<&'a str>,
    /// The client certificate, if TLS has verified one.
    pub certificate: Option<Certificate<'a>>,
    /// The signature in the query, and what it has to cover.
    pub signed_url: Option<super::signed_url::Signature<'a>>,
}

/// What a client certificate says about who has it.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'a> {
    /// The subject as a whole, such as `CN=shop-1, O=Example`.
    pub subject: &'a str,
    /// DNS names, URIs and mail addresses that it is for.
    pub names: &'a [String],
}

/// What something is to be done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// A stream, by its normalised name.
    Stream(&'a str),
    /// The list of the streams whose names begin with this.
    Listing {
        /// What the names begin with.
        prefix: &'a str,
    },
    /// A subscription, by its id.
    Subscription(&'a str),
    /// What concerns all streams: metrics, subscriptions as a whole, fault injection.
    Server,
}

/// Someone known, or anyone.
#[derive(Clone, Debug)]
pub struct Caller {
    name: Option<Arc<str>>,
    grants: Option<Grants>,
}

impl Caller {
    /// A caller who may do everything: access is off.
    pub fn unchecked() -> Self {
        Self { name: None, grants: None }
    }

    pub(super) fn anyone(grants: Grants) -> Self {
        Self { name: None, grants: Some(grants) }
    }

    pub(super) fn known(name: Arc<str>, grants: Grants) -> Self {
        Self { name: Some(name), grants: Some(grants) }
    }

    /// The name for logs: that of the token in the configuration, the subject of a JWT or certificate. `None` for anyone.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether answers to this caller may depend on who asks, and must not be kept by shared caches (S-HTTP-18).
    pub fn is_private(&self) -> bool {
        self.name.is_some()
    }

    /// Checks one operation.
    ///
    /// # Errors
    /// [`Refusal::Forbidden`] for someone known, [`Refusal::Unauthenticated`] for anyone.
    pub fn may(&self, operation: Operation, resource: Resource<'_>) -> Result<(), Refusal> {
        match &self.grants {
            None => Ok(()),
            Some(grants) if grants.allow(operation, resource) => Ok(()),
            Some(_) if self.name.is_some() => Err(Refusal::Forbidden),
            Some(_) => Err(Refusal::Unauthenticated),
        }
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It needs credentials and has none.
    Unauthenticated,
    /// Its credentials are not good; says why, without a word of them.
    Invalid(&'static str),
    /// It is known who asks, and no grant allows it.
    Forbidden,
}
