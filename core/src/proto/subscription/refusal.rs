//! Refusals of the control API (T-SUBERR). Here the body decides, since status alone means too many things.

use serde::Deserialize;

use crate::error::{Error, ErrorKind};

/// The codes that a client does something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscriptionRefusal {
    /// Another worker has the lease.
    AlreadyClaimed,
    /// The wake is over, or another worker has it.
    Fenced,
    /// An ack before the cursor, beyond the tail, or of a stream that does not belong here.
    InvalidOffset,
    /// No stream has anything new.
    NoPendingWork,
    /// The id is taken by another configuration.
    SubscriptionExists,
    /// No subscription of this id.
    SubscriptionNotFound,
    /// A webhook may not go to this URL.
    WebhookUrlRejected,
}

impl SubscriptionRefusal {
    /// What a refusal says, if it is one of these.
    pub fn of(error: &Error) -> Option<Self> {
        #[derive(Deserialize)]
        struct Body {
            error: Code,
        }
        #[derive(Deserialize)]
        struct Code {
            code: String,
        }
        let body: Body = serde_json::from_str(error.response()?.body.as_deref()?).ok()?;
        Some(match body.error.code.as_str() {
            "ALREADY_CLAIMED" => Self::AlreadyClaimed,
            "FENCED" => Self::Fenced,
            "INVALID_OFFSET" => Self::InvalidOffset,
            "NO_PENDING_WORK" => Self::NoPendingWork,
            "SUBSCRIPTION_ALREADY_EXISTS" => Self::SubscriptionExists,
            "SUBSCRIPTION_NOT_FOUND" => Self::SubscriptionNotFound,
            "WEBHOOK_URL_REJECTED" => Self::WebhookUrlRejected,
            _ => return None,
        })
    }

    /// The error of a request of the control API, with its kind told by the code.
    pub fn refine(error: Error) -> Error {
        let Some(refusal) = Self::of(&error) else { return error };
        let (kind, message) = match refusal {
            Self::AlreadyClaimed => (ErrorKind::LeaseLost, "another worker has the lease"),
            Self::Fenced => (ErrorKind::LeaseLost, "the wake is over, or another worker has it; stop working on it"),
            Self::InvalidOffset => (
                ErrorKind::InvalidOffset,
                "an ack is before the cursor, beyond the tail, or of a stream that is not the subscription's",
            ),
            Self::NoPendingWork => (ErrorKind::NotFound, "no stream has anything new"),
            Self::SubscriptionExists => {
                (ErrorKind::CreateConflict, "a subscription of this id has another configuration; delete it first")
            }
            Self::SubscriptionNotFound => (ErrorKind::NotFound, "no such subscription"),
            Self::WebhookUrlRejected => (ErrorKind::BadRequest, "the server sends no webhooks to this URL"),
        };
        error.reclassified(kind, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorResponse;

    fn refused(status: u16, body: &str) -> Error {
        let response = ErrorResponse { status, headers: http::HeaderMap::new(), body: Some(body.to_owned()) };
        Error::new(ErrorKind::UnexpectedStatus, "").with_response(response)
    }

    #[test]
    fn the_code_in_the_body_tells_what_a_409_means() {
        for (code, kind) in [
            ("FENCED", ErrorKind::LeaseLost),
            ("INVALID_OFFSET", ErrorKind::InvalidOffset),
            ("SUBSCRIPTION_ALREADY_EXISTS", ErrorKind::CreateConflict),
        ] {
            let error = refused(409, &format!(r#"{{"error":{{"code":"{code}","message":"m"}}}}"#));
            let error = SubscriptionRefusal::refine(error);
            assert_eq!((error.kind(), error.status()), (&kind, Some(409)), "{code}");
        }
    }

    #[test]
    fn what_is_no_refusal_of_the_control_api_stays_what_it_is() {
        for body in ["", "conflict", r#"{"error":"FENCED"}"#, r#"{"error":{"code":"NEW"}}"#] {
            assert_eq!(SubscriptionRefusal::of(&refused(409, body)), None, "{body}");
            assert_eq!(SubscriptionRefusal::refine(refused(409, body)).code(), "UNEXPECTED_STATUS");
        }
    }
}
