//! The fields of commands. What begins with "beyond" is not in the official protocol.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::protocol::Failure;

/// The fields of a command, or why they are not understood.
pub(crate) fn fields<T: DeserializeOwned>(command: Value) -> Result<T, Failure> {
    serde_json::from_value(command).map_err(|error| Failure::InvalidArgument(error.to_string()))
}

/// A number that the library has as unsigned: negative ones are refused as the library refuses others, by name.
pub(crate) fn unsigned(name: &str, value: Option<i64>, least: u64) -> Result<Option<u64>, Failure> {
    let Some(value) = value else { return Ok(None) };
    u64::try_from(value)
        .map(Some)
        .map_err(|_| Failure::InvalidArgument(format!("{name} must be >= {least}, not {value}")))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Init {
    pub(crate) server_url: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Create {
    pub(crate) path: String,
    pub(crate) content_type: Option<String>,
    pub(crate) ttl_seconds: Option<u64>,
    pub(crate) expires_at: Option<String>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) closed: bool,
    pub(crate) data: Option<String>,
    /// Beyond: the path to fork from.
    pub(crate) fork_from: Option<String>,
    /// Beyond.
    pub(crate) fork_offset: Option<String>,
    /// Beyond.
    #[serde(default)]
    pub(crate) fork_sub_offset: u64,
}

/// `connect`, `head`, `delete`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plain {
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Append {
    pub(crate) path: String,
    pub(crate) data: String,
    #[serde(default)]
    pub(crate) binary: bool,
    pub(crate) seq: Option<i64>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// Beyond: without the identity that makes a resent append safe.
    #[serde(default)]
    pub(crate) plain: bool,
    /// Beyond.
    pub(crate) retry: Option<RetryOptions>,
}

/// Beyond: appends that are issued without waiting for each other.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Appends {
    pub(crate) path: String,
    pub(crate) items: Vec<String>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Close {
    pub(crate) path: String,
    pub(crate) data: Option<String>,
    pub(crate) content_type: Option<String>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Read {
    pub(crate) path: String,
    pub(crate) offset: Option<String>,
    #[serde(default)]
    pub(crate) live: Value,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) max_chunks: Option<usize>,
    #[serde(default)]
    pub(crate) wait_for_up_to_date: bool,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// Beyond: where an earlier read stopped.
    pub(crate) checkpoint: Option<String>,
    /// Beyond: stop after so many messages (JSON) or bytes, in the middle of a batch if need be.
    pub(crate) max_items: Option<u64>,
    /// Beyond: treat the stream as JSON.
    #[serde(default)]
    pub(crate) json: bool,
    /// Beyond: the error hook goes on once with these headers.
    pub(crate) on_error_headers: Option<BTreeMap<String, String>>,
    /// Beyond.
    pub(crate) retry: Option<RetryOptions>,
}

/// `idempotent-append`, `-close` and `-detach`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Idempotent {
    pub(crate) path: String,
    pub(crate) producer_id: String,
    pub(crate) data: Option<String>,
    #[serde(default)]
    pub(crate) epoch: u64,
    #[serde(default)]
    pub(crate) auto_claim: bool,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IdempotentBatch {
    pub(crate) path: String,
    pub(crate) producer_id: String,
    pub(crate) items: Vec<Value>,
    #[serde(default)]
    pub(crate) epoch: u64,
    #[serde(default)]
    pub(crate) auto_claim: bool,
    pub(crate) max_in_flight: Option<usize>,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
}

/// Beyond: the life of a producer in one command.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProducerRun {
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    #[serde(flatten)]
    pub(crate) options: ProducerFields,
    pub(crate) retry: Option<RetryOptions>,
    pub(crate) actions: Vec<Action>,
}

/// Options of a producer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProducerFields {
    pub(crate) producer_id: Option<String>,
    pub(crate) epoch: Option<i64>,
    #[serde(default)]
    pub(crate) auto_claim: bool,
    pub(crate) max_batch_bytes: Option<i64>,
    pub(crate) max_batch_items: Option<i64>,
    pub(crate) max_in_flight: Option<i64>,
    pub(crate) max_buffered_bytes: Option<i64>,
    pub(crate) linger_ms: Option<i64>,
    pub(crate) delivery_timeout_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(crate) enum Action {
    /// Appends without waiting, or waits for the receipt.
    Append {
        #[serde(flatten)]
        message: Message,
        #[serde(default)]
        wait: bool,
    },
    Flush,
    Restart,
    /// Closes the stream, with a last message if there is one.
    Close {
        #[serde(flatten)]
        message: Option<Message>,
    },
    Detach,
}

#[derive(Deserialize)]
pub(crate) struct Message {
    data: String,
    #[serde(default)]
    binary: bool,
}

impl Message {
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, Failure> {
        message(&self.data, self.binary)
    }
}

/// The bytes of a message.
pub(crate) fn message(data: &str, binary: bool) -> Result<Vec<u8>, Failure> {
    if binary {
        BASE64.decode(data).map_err(|error| Failure::InvalidArgument(format!("data is not base64: {error}")))
    } else {
        Ok(data.as_bytes().to_vec())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SetDynamic {
    pub(crate) name: String,
    pub(crate) value_type: String,
    #[serde(default)]
    pub(crate) initial_value: String,
}

#[derive(Deserialize)]
pub(crate) struct Validate {
    pub(crate) target: Target,
}

#[derive(Deserialize)]
#[serde(tag = "target", rename_all = "kebab-case")]
pub(crate) enum Target {
    RetryOptions(RetryOptions),
    IdempotentProducer(ProducerFields),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RetryOptions {
    pub(crate) max_retries: Option<i64>,
    pub(crate) initial_delay_ms: Option<i64>,
    pub(crate) max_delay_ms: Option<i64>,
    pub(crate) multiplier: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Benchmark {
    pub(crate) iteration_id: String,
    pub(crate) operation: Operation,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Operation {
    pub(crate) op: String,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) size: usize,
    #[serde(default)]
    pub(crate) count: u64,
    pub(crate) offset: Option<String>,
    #[serde(default)]
    pub(crate) live: Value,
    pub(crate) content_type: Option<String>,
}

/// Beyond: a new subscription.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Subscribe {
    pub(crate) id: String,
    pub(crate) pattern: Option<String>,
    #[serde(default)]
    pub(crate) streams: Vec<String>,
    pub(crate) wake_stream: Option<String>,
    pub(crate) webhook: Option<String>,
    pub(crate) lease_ms: Option<u64>,
}

/// Beyond.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VerifyWebhook {
    #[serde(default)]
    pub(crate) signature: String,
    pub(crate) body: String,
    pub(crate) subscription: Option<String>,
    pub(crate) tolerance_ms: Option<u64>,
}

/// Beyond: the work of a webhook that was verified.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WorkOf {
    pub(crate) body: String,
    pub(crate) lease_ms: u64,
}

/// Beyond: a worker of a pull-wake subscription.
#[derive(Deserialize)]
pub(crate) struct OpenWorker {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// Beyond.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NextLease {
    pub(crate) timeout_ms: Option<u64>,
}

/// Beyond.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LeaseRead {
    pub(crate) stream: String,
    pub(crate) max_items: Option<u64>,
}

/// Beyond: of `lease-ack` and `lease-finish`.
#[derive(Deserialize)]
pub(crate) struct Offsets {
    #[serde(default)]
    pub(crate) offsets: BTreeMap<String, String>,
}

/// Beyond.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hold {
    pub(crate) timeout_ms: u64,
}
