//! The control API of subscriptions: create, look, remove; and the way to their work (PROTOCOL.md section 17).

mod lease;
mod verifier;
mod worker;

pub use self::lease::Lease;
pub use self::verifier::WebhookVerifier;
pub use self::worker::Worker;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::exchange::{Core, Target};
use super::stream::DurableStream;
use crate::error::{Error, ErrorKind, Result};
use crate::proto::names;
use crate::proto::request::{Operation, Request};
use crate::proto::response::ResponseHead;
use crate::proto::subscription::{Claimed, Subscription, SubscriptionOptions, SubscriptionRefusal, Wake, request};
use crate::proto::url::{StreamUrl, encode_path, encode_segment};

/// The subscriptions of a server. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Subscriptions {
    core: Arc<Core>,
    /// The stream root, without trailing slash.
    root: Arc<str>,
}

impl Subscriptions {
    pub(super) fn new(core: Arc<Core>, root: &str) -> Result<Self> {
        let root: Arc<str> = core.join(root).trim_end_matches('/').into();
        StreamUrl::parse(&root)?;
        Ok(Self { core, root })
    }

    /// Creates a subscription, or confirms that it is there; the second value is whether it is new. What its streams
    /// hold already is not replayed (S-SUB-4).
    ///
    /// # Errors
    /// `CreateConflict` when the id has another configuration, `InvalidArgument` and `BadRequest` for options that
    /// cannot be used, `NotFound` from servers without subscriptions, and as all requests.
    pub async fn create(&self, id: &str, options: &SubscriptionOptions) -> Result<(Subscription, bool)> {
        let target = self.at(id, "")?;
        let (head, body) = call(&self.core, &target, request::create(options)?).await?;
        Ok((parse(&target, &body)?, head.status == 201))
    }

    /// A subscription, with the cursor of each of its streams.
    ///
    /// # Errors
    /// `NotFound`, `Parse`, and as all requests.
    pub async fn get(&self, id: &str) -> Result<Subscription> {
        let target = self.at(id, "")?;
        let (_, body) = call(&self.core, &target, request::look()?).await?;
        parse(&target, &body)
    }

    /// All subscriptions, without their streams, by id in bytewise order. An extension of our server (S-HTTP-19).
    ///
    /// # Errors
    /// `NotFound` from servers that cannot list them; `Parse`; and as all requests.
    pub async fn list(&self) -> Result<Vec<Subscription>> {
        #[derive(Deserialize)]
        struct Page {
            subscriptions: Vec<Subscription>,
            next: Option<String>,
        }
        let url = format!("{}/{}/{}", self.root, names::CONTROL_SEGMENT, names::SUBSCRIPTIONS_ROUTE);
        let target = Target { url: StreamUrl::parse(&url)?, extras: self.core.extras.clone() };
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let mut request = request::look()?;
            request.query.extend(after.map(|after| ("after", after)));
            let (_, body) = call(&self.core, &target, request).await?;
            let page: Page = parse(&target, &body)?;
            all.extend(page.subscriptions);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// Removes a subscription; one that is not there is no error (S-SUB-10). Its workers are told with their next call.
    ///
    /// # Errors
    /// As all requests.
    pub async fn delete(&self, id: &str) -> Result<()> {
        call(&self.core, &self.at(id, "")?, request::remove()?).await.map(drop)
    }

    /// Adds streams by path, from their tails on (S-SUB-11).
    ///
    /// # Errors
    /// `NotFound`, `BadRequest` for an empty path, and as all requests.
    pub async fn add_streams(&self, id: &str, paths: &[String]) -> Result<()> {
        call(&self.core, &self.at(id, "/streams")?, request::add_streams(paths)?).await.map(drop)
    }

    /// Removes a stream that was added by path; one that is not there is no error (S-SUB-6).
    ///
    /// # Errors
    /// `NotFound` when there is no such subscription, and as all requests.
    pub async fn remove_stream(&self, id: &str, path: &str) -> Result<()> {
        let target = self.at(id, &format!("/streams/{}", encode_path(path)))?;
        call(&self.core, &target, request::remove()?).await.map(drop)
    }

    /// Has the server sign webhooks with a new key, and gives its name. Keys before it are good for `overlap`, by default
    /// a day; none ends a key that has leaked at once. An extension of our server (S-HTTP-19).
    ///
    /// # Errors
    /// `NotFound` from servers that cannot, and as all requests.
    pub async fn rotate_key(&self, overlap: Option<Duration>) -> Result<String> {
        #[derive(Deserialize)]
        struct Rotated {
            kid: String,
        }
        let url = format!("{}/{}/keys/rotate", self.root, names::CONTROL_SEGMENT);
        let target = Target { url: StreamUrl::parse(&url)?, extras: self.core.extras.clone() };
        let (_, body) = call(&self.core, &target, request::rotate_key(overlap)?).await?;
        Ok(parse::<Rotated>(&target, &body)?.kid)
    }

    /// Takes the work of a pull-wake subscription, under a name for people to see; `None` when there is none, or another
    /// worker has it (C-HOOK-5). [`worker`](Self::worker) waits for it.
    ///
    /// # Errors
    /// `NotFound`, `BadRequest` for a webhook, and as all requests.
    ///
    /// # Cancel safety
    /// When the future is dropped, work that the server gives out all the same is given back at once.
    pub async fn claim(&self, id: &str, worker: &str) -> Result<Option<Lease>> {
        let (sender, receiver) = oneshot::channel();
        let (this, id, worker) = (self.clone(), id.to_owned(), worker.to_owned());
        // In a task of its own, since only the answer tells whether there is something to give back.
        tokio::spawn(async move {
            if let Err(Ok(Some(lease))) = sender.send(this.try_claim(&id, &worker).await)
                && let Err(error) = lease.release().await
            {
                tracing::debug!(subscription = %id, %error, "a lease could not be given back: it ends by itself");
            }
        });
        receiver.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Cancelled, "the runtime was shut down")))
    }

    async fn try_claim(&self, id: &str, worker: &str) -> Result<Option<Lease>> {
        let target = self.at(id, "/claim")?;
        let body = match call(&self.core, &target, request::claim(worker)?).await {
            Ok((_, body)) => body,
            Err(error) => {
                return match SubscriptionRefusal::of(&error) {
                    Some(SubscriptionRefusal::AlreadyClaimed | SubscriptionRefusal::NoPendingWork) => Ok(None),
                    _ => Err(error),
                };
            }
        };
        let claimed: Claimed = parse(&target, &body)?;
        Ok(Some(Lease::claimed(self, id, claimed, self.at(id, "/ack")?, self.at(id, "/release")?)))
    }

    /// A worker of a pull-wake subscription. `name` is for people to see.
    ///
    /// # Errors
    /// `NotFound` when the subscription or its wake stream is not there, `InvalidArgument` for a webhook, and as all
    /// requests.
    pub async fn worker(&self, id: &str, name: &str) -> Result<Worker> {
        Worker::open(self.clone(), id, name).await
    }

    /// The work of a webhook that was verified, to read, ack and finish it after it was answered with a 2xx that is not
    /// `{"done":true}` (C-HOOK-2). `lease` is the subscription's, which the webhook does not say: 30 s by default.
    ///
    /// # Errors
    /// `InvalidArgument` when the callback URL is not one.
    pub fn work_of(&self, wake: &Wake, lease: Duration) -> Result<Lease> {
        Lease::woken(self, wake, lease)
    }

    /// Checks webhooks of this server.
    ///
    /// # Errors
    /// `InvalidArgument` when the stream root is no URL.
    pub fn webhook_verifier(&self) -> Result<WebhookVerifier> {
        WebhookVerifier::new(self.core.clone(), &self.root)
    }

    /// A stream of this server, by its path below the stream root. Makes no request.
    ///
    /// # Errors
    /// `InvalidArgument` for a path that no URL can have.
    pub fn stream(&self, path: &str) -> Result<DurableStream> {
        DurableStream::new(self.core.clone(), &format!("{}/{}", self.root, encode_path(path)))
    }

    fn at(&self, id: &str, what: &str) -> Result<Target> {
        if id.is_empty() {
            return Err(Error::invalid_argument("a subscription must have an id"));
        }
        let (control, route) = (names::CONTROL_SEGMENT, names::SUBSCRIPTIONS_ROUTE);
        let url = format!("{}/{control}/{route}/{}{what}", self.root, encode_segment(id));
        Ok(Target { url: StreamUrl::parse(&url)?, extras: self.core.extras.clone() })
    }
}

async fn call(core: &Core, target: &Target, request: Request) -> Result<(ResponseHead, Bytes)> {
    core.call(target, request).await.map_err(SubscriptionRefusal::refine)
}

fn parse<T: DeserializeOwned>(target: &Target, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        Error::new(ErrorKind::Parse, format!("the answer is not what the protocol says: {error}"))
            .with_context(Operation::Control, target.url.shown())
            .with_source(error)
    })
}
