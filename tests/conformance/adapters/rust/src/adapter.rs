//! One method for each command, and what is remembered between `init` and the next.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use everstream::{
    AppendOptions, Appended, Backoff, Client, CreateOptions, DurableStream, Extras, Fork, Offset, Producer, RetryPolicy,
};
use futures_util::future::join_all;
use serde_json::{Map, Value, json};

use crate::commands::{
    Append, Appends, Close, Create, Init, Plain, RetryOptions, SetDynamic, Target, Validate, fields, message, unsigned,
};
use crate::hooks::Hooks;
use crate::producing::options_of;
use crate::protocol::{Failure, Outcome, described, result};

/// An answer after the runner's limit would be taken for that of the next command.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const TRY_LIMIT: Duration = Duration::from_secs(8);
const TOTAL_LIMIT: Duration = Duration::from_secs(10);

const DEFAULT_CONTENT_TYPE: &str = "application/octet-stream";

/// Carries out commands.
pub(crate) struct Adapter {
    pub(crate) client: Option<Client>,
    pub(crate) session: Session,
}

/// What is remembered between `init` and the next.
#[derive(Default)]
pub(crate) struct Session {
    pub(crate) server_url: String,
    /// By path. Saves the library its HEAD, which would take a fault that is meant for the request after it.
    content_types: HashMap<String, String>,
    /// By path, id and epoch.
    pub(crate) producers: HashMap<(String, String, u64), Producer>,
    dynamic_headers: BTreeMap<String, Dynamic>,
    dynamic_params: BTreeMap<String, Dynamic>,
    pub(crate) hooks: Hooks,
}

/// A header or parameter with a value of its own for each command, or for each request.
enum Dynamic {
    Counter(u64),
    Timestamp,
    Token(String),
    /// Beyond the official protocol: a function of the library's, asked for each request.
    PerRequest(Arc<AtomicU64>),
    /// Beyond: a function that fails.
    Failing,
}

/// Headers and parameters of one command.
pub(crate) struct Sent {
    pub(crate) extras: Extras,
    headers: Map<String, Value>,
    params: Map<String, Value>,
}

impl Sent {
    /// The dynamic ones, as results tell of them.
    pub(crate) fn report(&self, result: &mut Value) {
        if !self.headers.is_empty() {
            result["headersSent"] = self.headers.clone().into();
        }
        if !self.params.is_empty() {
            result["paramsSent"] = self.params.clone().into();
        }
    }
}

impl Adapter {
    pub(crate) fn new() -> Self {
        Self { client: None, session: Session::default() }
    }

    /// The result of a command. Its `id` is echoed.
    pub(crate) async fn answer(&mut self, command: Value) -> Value {
        let kind = command["type"].as_str().unwrap_or_default().to_owned();
        let id = command.get("id").cloned();
        let mut result = result(&kind, self.carry_out(&kind, command).await);
        if let Some(id) = id {
            result["id"] = id;
        }
        result
    }

    async fn carry_out(&mut self, kind: &str, command: Value) -> Outcome {
        match kind {
            "init" => self.init(fields(command)?).await,
            "create" => self.create(fields(command)?).await,
            "connect" => self.connect(fields(command)?).await,
            "append" => self.append(fields(command)?).await,
            "appends" => self.appends(fields(command)?).await,
            "close" => self.close(fields(command)?).await,
            "head" => self.head(fields(command)?).await,
            "delete" => self.delete(fields(command)?).await,
            "read" => self.read(fields(command)?).await,
            "idempotent-append" => self.idempotent_append(fields(command)?).await,
            "idempotent-append-batch" => self.idempotent_append_batch(fields(command)?).await,
            "idempotent-close" => self.idempotent_close(fields(command)?).await,
            "idempotent-detach" => self.idempotent_detach(fields(command)?).await,
            "producer" => self.run_producer(fields(command)?).await,
            "set-dynamic-header" => {
                let (name, value) = dynamic(fields(command)?)?;
                self.session.dynamic_headers.insert(name, value);
                Ok(Value::Null)
            }
            "set-dynamic-param" => {
                let (name, value) = dynamic(fields(command)?)?;
                self.session.dynamic_params.insert(name, value);
                Ok(Value::Null)
            }
            "clear-dynamic" => {
                self.session.dynamic_headers.clear();
                self.session.dynamic_params.clear();
                Ok(Value::Null)
            }
            "subscribe" => self.subscribe(fields(command)?).await,
            "verify-webhook" => self.verify_webhook(fields(command)?).await,
            "work-of" => self.work_of(fields(command)?),
            "worker" => self.open_worker(fields(command)?).await,
            "next-lease" => self.next_lease(fields(command)?).await,
            "lease-read" => self.lease_read(fields(command)?).await,
            "lease-ack" => self.lease_ack(fields(command)?).await,
            "lease-finish" => self.lease_finish(fields(command)?).await,
            "lease-release" => self.lease_release().await,
            "lease-hold" => self.lease_hold(fields(command)?).await,
            "validate" => self.validate(fields(command)?),
            "benchmark" => self.benchmark(fields(command)?).await,
            "shutdown" => {
                self.release_producers().await;
                Ok(Value::Null)
            }
            other => Err(Failure::NotSupported(format!("unknown command: {other}"))),
        }
    }

    async fn init(&mut self, init: Init) -> Outcome {
        self.release_producers().await;
        self.session = Session { server_url: init.server_url, ..Session::default() };
        let retry = RetryPolicy { max_elapsed: Some(TOTAL_LIMIT), ..RetryPolicy::default() };
        let client = Client::builder().connect_timeout(CONNECT_LIMIT).request_timeout(TRY_LIMIT).retry(retry);
        self.client = Some(client.ignore_environment().build()?);
        Ok(json!({
            "clientName": "everstream-rust",
            "clientVersion": env!("CARGO_PKG_VERSION"),
            "features": {
                "auto": true, "batching": true, "batchItems": true, "dynamicHeaders": true, "longPoll": true,
                "retryOptions": true, "sse": true, "streaming": true, "strictZeroValidation": true,
                "subscriptions": true,
            },
        }))
    }

    async fn release_producers(&mut self) {
        for (_, producer) in self.session.producers.drain() {
            // What was not stored was told to the command that flushed.
            let _ = producer.detach().await;
        }
    }

    pub(crate) fn client(&self) -> Result<&Client, Failure> {
        self.client.as_ref().ok_or_else(|| Failure::InvalidArgument("`init` comes first".to_owned()))
    }

    /// The client with other retries, over the same connections.
    pub(crate) fn client_with(&self, retry: Option<&RetryOptions>) -> Result<Client, Failure> {
        let client = self.client()?;
        match retry {
            None => Ok(client.clone()),
            Some(options) => {
                let policy = RetryPolicy { max_elapsed: Some(TOTAL_LIMIT), ..policy_of(options)? };
                Ok(client.to_builder().retry(policy).build()?)
            }
        }
    }

    pub(crate) fn handle_of(&self, client: &Client, path: &str, extras: &Extras) -> Result<DurableStream, Failure> {
        let handle = client.stream(&format!("{}{path}", self.session.server_url))?.with(extras);
        Ok(match self.session.content_types.get(path) {
            Some(content_type) => handle.with_content_type(content_type),
            None => handle,
        })
    }

    pub(crate) fn handle(&self, path: &str, headers: &BTreeMap<String, String>) -> Result<DurableStream, Failure> {
        self.handle_of(self.client()?, path, &extras_of(headers)?)
    }

    fn learn(&mut self, path: String, content_type: Option<String>) {
        if let Some(content_type) = content_type {
            self.session.content_types.insert(path, content_type);
        }
    }

    async fn create(&mut self, create: Create) -> Outcome {
        let fork = match create.fork_from {
            None => None,
            Some(source) => {
                let offset = create.fork_offset.map(Offset::new).transpose();
                let offset = offset.map_err(|error| Failure::InvalidArgument(format!("forkOffset: {error}")))?;
                Some(Fork { source, offset, sub_offset: create.fork_sub_offset })
            }
        };
        let content_type = match fork {
            Some(_) => create.content_type,
            None => Some(create.content_type.unwrap_or_else(|| DEFAULT_CONTENT_TYPE.to_owned())),
        };
        let options = CreateOptions {
            content_type: content_type.clone(),
            ttl: create.ttl_seconds.map(Duration::from_secs),
            expires_at: create.expires_at,
            closed: create.closed,
            body: create.data.map(Into::into),
            fork,
        };
        let handle = self.handle_of(self.client()?, &create.path, &extras_of(&create.headers)?)?;
        let created = handle.create(&options).await?;
        self.learn(create.path, created.content_type.or(content_type));
        Ok(
            json!({"status": if created.created { 201 } else { 200 }, "offset": created.offset.as_ref().map(Offset::as_str)}),
        )
    }

    async fn connect(&mut self, connect: Plain) -> Outcome {
        let info = self.handle(&connect.path, &connect.headers)?.head().await?;
        self.learn(connect.path, info.content_type);
        Ok(json!({"status": 200, "offset": info.offset.as_ref().map(Offset::as_str)}))
    }

    async fn head(&mut self, head: Plain) -> Outcome {
        let info = self.handle(&head.path, &head.headers)?.head().await?;
        self.learn(head.path, info.content_type.clone());
        Ok(json!({
            "status": 200,
            "offset": info.offset.as_ref().map(Offset::as_str),
            "contentType": info.content_type,
            "streamClosed": info.closed,
            "ttlSeconds": info.ttl.map(|ttl| ttl.as_secs()),
            "expiresAt": info.expires_at,
            "etag": info.etag,
        }))
    }

    async fn delete(&mut self, delete: Plain) -> Outcome {
        self.handle(&delete.path, &delete.headers)?.delete().await?;
        self.session.content_types.remove(&delete.path);
        Ok(json!({"status": 200}))
    }

    async fn append(&mut self, append: Append) -> Outcome {
        let sent = self.session.sent(&append.headers)?;
        let client = self.client_with(append.retry.as_ref())?;
        let mut handle = self.handle_of(&client, &append.path, &sent.extras)?;
        // Some official cases lose the answer to an append and want it stored once all the same; `seq` excludes that.
        if append.seq.is_none() && !append.plain {
            handle = handle.idempotent();
        }
        let options = AppendOptions { seq: append.seq.map(|seq| seq.to_string()), content_type: None };
        let appended = handle.append_with(message(&append.data, append.binary)?, &options).await?;
        let mut result = json!({
            "status": 200,
            "offset": appended.offset.as_ref().map(Offset::as_str),
            "duplicate": appended.duplicate.then_some(true),
        });
        sent.report(&mut result);
        Ok(result)
    }

    async fn appends(&mut self, appends: Appends) -> Outcome {
        let handle = self.handle(&appends.path, &appends.headers)?;
        let told = |result: everstream::Result<Appended>| match result {
            Ok(appended) => json!({"ok": true, "offset": appended.offset.as_ref().map(Offset::as_str)}),
            Err(error) => described(&error),
        };
        let issued: Vec<_> = appends.items.into_iter().map(|item| handle.append(item)).collect();
        let results: Vec<Value> = join_all(issued).await.into_iter().map(told).collect();
        Ok(json!({"results": results}))
    }

    async fn close(&mut self, close: Close) -> Outcome {
        let handle = self.handle(&close.path, &close.headers)?;
        let options = AppendOptions { seq: None, content_type: close.content_type };
        let closed = match close.data {
            Some(data) => handle.close_with(data, &options).await?,
            None => handle.close().await?,
        };
        Ok(json!({"finalOffset": closed.final_offset.as_ref().map(Offset::as_str)}))
    }

    fn validate(&self, validate: Validate) -> Outcome {
        match validate.target {
            Target::RetryOptions(options) => policy_of(&options)?.validate()?,
            Target::IdempotentProducer(fields) => {
                let handle = self.client()?.stream(&format!("{}/validate", self.session.server_url))?;
                let id = fields.producer_id.clone().unwrap_or_else(|| "validate".to_owned());
                // Checked when it is made; it asks for nothing before it has something to send.
                drop(handle.with_content_type("text/plain").producer_lazy(&id, options_of(&fields)?)?);
            }
        }
        Ok(Value::Null)
    }
}

impl Session {
    /// The headers and parameters for an append or a read. Computed once: a counter counts commands, not retries.
    pub(crate) fn sent(&mut self, headers: &BTreeMap<String, String>) -> Result<Sent, Failure> {
        let mut sent = Sent { extras: Extras::new(), headers: Map::new(), params: Map::new() };
        for (name, value) in &mut self.dynamic_headers {
            sent.extras = match value.next() {
                Next::Value(text) => {
                    sent.headers.insert(name.clone(), text.clone().into());
                    sent.extras.header(name, text)?
                }
                Next::Function(function) => sent.extras.header_provider(name, function)?,
            };
        }
        for (name, value) in &mut self.dynamic_params {
            sent.extras = match value.next() {
                Next::Value(text) => {
                    sent.params.insert(name.clone(), text.clone().into());
                    sent.extras.param(name, text)
                }
                Next::Function(function) => sent.extras.param_provider(name, function),
            };
        }
        for (name, value) in headers {
            if sent.headers.contains_key(name) {
                sent.headers.insert(name.clone(), value.clone().into());
            }
            sent.extras = sent.extras.header(name, value)?;
        }
        Ok(sent)
    }
}

enum Next {
    Value(String),
    Function(everstream::Provider),
}

impl Dynamic {
    fn next(&mut self) -> Next {
        match self {
            Self::Counter(count) => {
                *count += 1;
                Next::Value(count.to_string())
            }
            Self::Timestamp => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Next::Value(now.as_millis().to_string())
            }
            Self::Token(token) => Next::Value(token.clone()),
            Self::PerRequest(count) => {
                let count = count.clone();
                Next::Function(Arc::new(move || {
                    let value = count.fetch_add(1, Ordering::Relaxed) + 1;
                    Box::pin(async move { Ok(value.to_string()) })
                }))
            }
            Self::Failing => Next::Function(Arc::new(|| {
                Box::pin(async { Err(everstream::Error::invalid_argument("the function fails on purpose")) })
            })),
        }
    }
}

fn dynamic(set: SetDynamic) -> Result<(String, Dynamic), Failure> {
    let value = match set.value_type.as_str() {
        "counter" => Dynamic::Counter(0),
        "timestamp" => Dynamic::Timestamp,
        "token" => Dynamic::Token(set.initial_value),
        "per-request" => Dynamic::PerRequest(Arc::default()),
        "failing" => Dynamic::Failing,
        other => return Err(Failure::NotSupported(format!("unknown kind of value: {other}"))),
    };
    Ok((set.name, value))
}

pub(crate) fn extras_of(headers: &BTreeMap<String, String>) -> Result<Extras, Failure> {
    headers.iter().try_fold(Extras::new(), |extras, (name, value)| Ok(extras.header(name, value)?))
}

fn policy_of(options: &RetryOptions) -> Result<RetryPolicy, Failure> {
    let mut policy = RetryPolicy::default();
    if let Some(retries) = unsigned("maxRetries", options.max_retries, 0)? {
        policy.max_retries = Some(u32::try_from(retries).unwrap_or(u32::MAX));
    }
    let backoff = Backoff::default();
    policy.backoff = Backoff {
        initial: unsigned("initialDelayMs", options.initial_delay_ms, 1)?
            .map_or(backoff.initial, Duration::from_millis),
        max: unsigned("maxDelayMs", options.max_delay_ms, 1)?.map_or(backoff.max, Duration::from_millis),
        multiplier: options.multiplier.unwrap_or(backoff.multiplier),
    };
    Ok(policy)
}
