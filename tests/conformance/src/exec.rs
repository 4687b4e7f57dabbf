//! One case, run: its steps in their order, until one does not hold.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use everstream_faults::{
    Answer, AnswerEnd, CutAt, Fault, FaultPlan, FaultProxy, HeaderName, HeaderValue, Method, Rule, SeenRequest,
    StatusCode,
};
use reqwest::Url;
use serde_json::{Map, Value, json};

use crate::adapter::Adapter;
use crate::case::{Case, End, NetworkRule, Requests, SeenAt, Step, Stored, Wait, WrittenAnswer};
use crate::expect::{as_told, at, difference, matches, shorten};
use crate::origin::{Origin, told};
use crate::template::{Variables, fill};

/// How long a condition may take to come true.
const WAIT_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(5);

/// Where servers have their streams.
const STREAM_ROOT: &str = "/v1/stream/";
/// How cases speak of the receiver.
const RECEIVER: &str = "${receiver}";

/// Commands about subscriptions, which name streams below the root.
const OF_SUBSCRIPTIONS: [&str; 10] = [
    "lease-ack",
    "lease-finish",
    "lease-hold",
    "lease-read",
    "lease-release",
    "next-lease",
    "subscribe",
    "verify-webhook",
    "work-of",
    "worker",
];

/// A case under way.
pub(crate) struct Execution<'a> {
    origin: &'a Origin,
    adapter: &'a mut Adapter,
    proxy: FaultProxy,
    /// Takes webhooks, where a case speaks of it: a proxy that answers by itself.
    receiver: Option<FaultProxy>,
    variables: Variables,
    /// The command that has no result yet, and its name.
    open: Option<(String, Value)>,
}

impl<'a> Execution<'a> {
    /// Runs the case on a stream of its own. Gives a feature that the adapter lacks for it, if there is one.
    ///
    /// # Errors
    /// What does not hold, and the requests until then.
    pub(crate) async fn run(
        case: &Case,
        stream: &str,
        origin: &'a Origin,
        adapter: &'a mut Adapter,
    ) -> Result<Option<String>> {
        let proxy = FaultProxy::start(origin.addr(), FaultPlan::none()).await.context("cannot start the proxy")?;
        proxy.record();
        let declared = adapter.init(&proxy.url()).await?;
        if let Some(missing) = case.requires.iter().find(|feature| !declared.contains(*feature)) {
            proxy.shutdown().await;
            return Ok(Some(missing.clone()));
        }
        let name = stream.strip_prefix(STREAM_ROOT).unwrap_or(stream);
        let mut variables =
            Variables::from([("stream".to_owned(), stream.to_owned()), ("name".to_owned(), name.to_owned())]);
        let receiver = match case.steps.iter().any(|step| step.to_string().contains(RECEIVER)) {
            true => Some(receiver(origin.addr()).await?),
            false => None,
        };
        if let Some(receiver) = &receiver {
            variables.insert("receiver".to_owned(), receiver.url());
        }
        let mut this = Self { origin, adapter, proxy, receiver, variables, open: None };
        let done = this.steps(case, stream).await;
        let done = done.map_err(|error| error.context(format!("requests so far:\n{}", shown(&this.proxy.requests()))));
        this.proxy.shutdown().await;
        if let Some(receiver) = this.receiver {
            receiver.shutdown().await;
        }
        done.map(|()| None)
    }

    async fn steps(&mut self, case: &Case, stream: &str) -> Result<()> {
        if let Some(kind) = &case.stream {
            let content_type = match kind.as_str() {
                "json" => "application/json",
                "text" => "text/plain",
                "bytes" => "application/octet-stream",
                other => other,
            };
            let holds = fill(&case.holds.clone().unwrap_or_default().into(), &self.variables)?;
            self.origin.create(stream, content_type, holds.as_str().unwrap_or_default()).await?;
        }
        for (index, step) in case.steps.iter().enumerate() {
            self.step(step)
                .await
                .with_context(|| format!("step {} of {}: {}", index + 1, case.steps.len(), shorten(step)))?;
        }
        Ok(())
    }

    async fn step(&mut self, value: &Value) -> Result<()> {
        let step = Step::parse(&fill(value, &self.variables)?)?;
        if let Some(kind) = &step.client {
            self.client(kind, &step).await
        } else if let Some(name) = &step.join {
            let (_, command) = self.open.take().with_context(|| format!("nothing runs as {name}"))?;
            let result = self.adapter.result(&command).await?;
            self.judge(&result, &step)
        } else if let Some(method) = &step.server {
            self.server(method, &step).await
        } else if let Some(rules) = &step.network {
            let rules = rules.iter().map(rule_of).collect::<Result<Vec<_>>>()?;
            self.proxy.set_plan(FaultPlan::scripted(rules));
            Ok(())
        } else if let Some(rules) = &step.receiver {
            let rules = rules.iter().map(rule_of).collect::<Result<Vec<_>>>()?;
            self.seen_at(SeenAt::Receiver)?.set_plan(FaultPlan::scripted(rules));
            Ok(())
        } else if let Some(expected) = &step.requests {
            compare_requests(expected, &self.seen_at(expected.at)?.requests())
        } else if let Some(wait) = &step.wait {
            let waited = self.wait(wait).await?;
            self.save(&step.save, &waited)
        } else if let Some(stored) = &step.stored {
            self.stored(stored).await
        } else {
            bail!("a step that does nothing")
        }
    }

    async fn client(&mut self, kind: &str, step: &Step) -> Result<()> {
        let mut command: Map<String, Value> = step.with.clone().into_iter().collect();
        command.insert("type".to_owned(), kind.into());
        let on_no_stream = matches!(kind, "clear-dynamic" | "set-dynamic-header" | "set-dynamic-param" | "validate");
        let on_no_stream = on_no_stream || OF_SUBSCRIPTIONS.contains(&kind);
        if !on_no_stream && !command.contains_key("path") {
            command.insert("path".to_owned(), self.variables["stream"].clone().into());
        }
        let command = Value::Object(command);
        if let Some(name) = &step.background {
            self.adapter.send(&command).await?;
            self.open = Some((name.clone(), command));
            return Ok(());
        }
        let result = self.adapter.call(&command).await?;
        self.judge(&result, step)
    }

    /// An error is a failure unless the case expects one, and the other way round.
    fn judge(&mut self, result: &Value, step: &Step) -> Result<()> {
        let told = as_told(result);
        let expected = step.expect.clone().unwrap_or_default();
        let may_fail = expected.contains_key("error") || expected.contains_key("$any");
        ensure!(result["success"] == true || may_fail, "an error that nothing expects: {}", shorten(result));
        let expected: Value = expected.into_iter().collect::<Map<_, _>>().into();
        if let Some(difference) = difference(&expected, Some(&told), step.client.as_deref().unwrap_or("result")) {
            bail!("{difference}\nthe whole result: {}", shorten(result));
        }
        self.save(&step.save, &told)
    }

    async fn server(&mut self, method: &str, step: &Step) -> Result<()> {
        let text = |name: &str| step.with.get(name).and_then(Value::as_str).map(str::to_owned);
        let path = text("path").unwrap_or_else(|| self.variables["stream"].clone());
        let headers = step.with.get("headers").and_then(Value::as_object).cloned().unwrap_or_default();
        let body = text("body").unwrap_or_default().into_bytes();
        let answer = self.origin.send(method, &path, &headers, body).await?;
        match &step.expect {
            None => ensure!(
                answer["status"].as_u64().is_some_and(|status| (200..300).contains(&status)),
                "the server refuses: {answer}"
            ),
            Some(expected) => {
                let expected: Value = expected.clone().into_iter().collect::<Map<_, _>>().into();
                if let Some(difference) = difference(&expected, Some(&answer), "answer") {
                    bail!("{difference}");
                }
            }
        }
        self.save(&step.save, &answer)
    }

    fn save(&mut self, save: &BTreeMap<String, String>, told: &Value) -> Result<()> {
        for (variable, place) in save {
            let value = at(told, place).with_context(|| format!("there is no {place} to save in {}", shorten(told)))?;
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.variables.insert(variable.clone(), text);
        }
        Ok(())
    }

    fn seen_at(&self, at: SeenAt) -> Result<&FaultProxy> {
        match at {
            SeenAt::Proxy => Ok(&self.proxy),
            SeenAt::Receiver => self.receiver.as_ref().with_context(|| format!("nothing speaks of {RECEIVER}")),
        }
    }

    /// The requests that were waited for.
    async fn wait(&self, wait: &Wait) -> Result<Value> {
        let start = Instant::now();
        let proxy = self.seen_at(wait.at)?;
        loop {
            let mut seen: Vec<Value> = proxy.requests().iter().map(request_told).collect();
            seen.retain(|it| wait.only.as_ref().is_none_or(|only| matches(only, it)));
            let count = seen.len();
            if count >= wait.requests {
                return Ok(seen.into());
            }
            ensure!(start.elapsed() < WAIT_LIMIT, "{count} requests came within {WAIT_LIMIT:?}, not {}", wait.requests);
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn stored(&self, stored: &Stored) -> Result<()> {
        let path = stored.path.as_ref().unwrap_or_else(|| &self.variables["stream"]);
        let content = self.origin.content(path).await?;
        if let Some(text) = &stored.text {
            let found = String::from_utf8_lossy(&content.bytes);
            ensure!(
                found == *text,
                "the server holds {}, expected {}",
                shorten(&found.into()),
                shorten(&text.clone().into())
            );
        }
        if let Some(encoded) = &stored.base64 {
            ensure!(BASE64.encode(&content.bytes) == *encoded, "the server holds {}", BASE64.encode(&content.bytes));
        }
        if let Some(messages) = &stored.json {
            let found = Value::from(content.messages.context("the stream is none of JSON")?);
            if let Some(difference) = difference(&messages.clone().into(), Some(&found), "what the server holds") {
                bail!("{difference}");
            }
        }
        if let Some(closed) = stored.closed {
            ensure!(content.closed == closed, "closed on the server: {}, expected {closed}", content.closed);
        }
        Ok(())
    }
}

/// A server that answers 200 until a case says something else.
async fn receiver(addr: SocketAddr) -> Result<FaultProxy> {
    let answer = Answer::new(StatusCode::OK);
    let plan = FaultPlan::scripted([Rule::new(Fault::Answer(Box::new(answer))).always()]);
    let receiver = FaultProxy::start(addr, plan).await.context("cannot start the receiver")?;
    receiver.record();
    Ok(receiver)
}

fn rule_of(rule: &NetworkRule) -> Result<Rule> {
    let mut made = Rule::new(fault_of(rule)?).nth(rule.nth);
    made = if rule.times == 0 { made.always() } else { made.times(rule.times) };
    if let Some(method) = &rule.method {
        made = made.method(Method::from_bytes(method.as_bytes()).with_context(|| format!("not a method: {method}"))?);
    }
    if let Some(path) = &rule.path {
        made = made.path(path);
    }
    if let Some(query) = &rule.query {
        made = made.query(query);
    }
    for (name, value) in rule.header.iter().flatten() {
        made = made.header(name.parse().with_context(|| format!("not a header: {name}"))?, value);
    }
    Ok(made)
}

fn fault_of(rule: &NetworkRule) -> Result<Fault> {
    if let Some(answer) = &rule.answer {
        ensure!(rule.fault.is_none(), "a rule has a fault or an answer");
        return Ok(Fault::Answer(Box::new(answer_of(answer)?)));
    }
    let time = Duration::from_millis(rule.ms);
    let at = CutAt::Byte(rule.at);
    let status = |after| {
        let code = StatusCode::from_u16(rule.status.context("which status?")?).context("not a status")?;
        Ok(Fault::Status { code, retry_after: rule.retry_after, after })
    };
    Ok(match rule.fault.as_deref().context("a rule has a fault or an answer")? {
        "cut-body" => Fault::CutBody { at },
        "cut-sse" => Fault::CutSse { after_bytes: rule.at, clean: false },
        "end-sse" => Fault::CutSse { after_bytes: rule.at, clean: true },
        "delay" => Fault::Delay(time),
        "delay-after" => Fault::DelayAfter(time),
        "duplicate" => Fault::Duplicate,
        "reorder" => Fault::Reorder { bound: time },
        "reset-after" => Fault::ResetAfter,
        "reset-before" => Fault::ResetBefore,
        "stall" => Fault::Stall { at, pause: time },
        "status" => return status(false),
        "status-after" => return status(true),
        "truncate-request" => Fault::TruncateRequest,
        other => bail!("there is no fault {other}"),
    })
}

fn answer_of(written: &WrittenAnswer) -> Result<Answer> {
    let mut answer = Answer::new(StatusCode::from_u16(written.status).context("not a status")?);
    for (name, value) in &written.headers {
        let name: HeaderName = name.parse().with_context(|| format!("not a header: {name}"))?;
        answer = answer.header(name, HeaderValue::from_str(value).context("not a header's value")?);
    }
    for piece in written.body.iter().chain(&written.pieces) {
        answer = answer.piece(piece.clone());
    }
    for piece in &written.pieces_base64 {
        answer = answer.piece(BASE64.decode(piece).with_context(|| format!("not base64: {piece}"))?);
    }
    Ok(answer.end(match written.end {
        End::Complete => AnswerEnd::Complete,
        End::Open => AnswerEnd::Open,
        End::Reset => AnswerEnd::Reset,
    }))
}

fn compare_requests(expected: &Requests, seen: &[SeenRequest]) -> Result<()> {
    let told = seen.iter().map(|request| (request.at, request_told(request)));
    let (times, chosen): (Vec<Instant>, Vec<Value>) =
        told.filter(|(_, it)| expected.only.as_ref().is_none_or(|only| matches(only, it))).unzip();
    let count = chosen.len();
    ensure!(expected.min.is_none_or(|min| count >= min), "{count} such requests, expected {:?} or more", expected.min);
    ensure!(expected.max.is_none_or(|max| count <= max), "{count} such requests, expected {:?} or fewer", expected.max);
    if let Some(apart) = expected.apart_ms.map(Duration::from_millis) {
        let close = times.windows(2).map(|pair| pair[1] - pair[0]).find(|gap| *gap < apart);
        ensure!(close.is_none(), "two requests are only {close:?} apart");
    }
    for place in &expected.same {
        let mut values = chosen.iter().map(|request| at(request, place));
        let first = values.next().flatten();
        ensure!(values.all(|value| value == first), "{place} is not the same in all of the {count} requests");
    }
    if let Some(place) = &expected.distinct {
        let mut values: Vec<_> = chosen.iter().map(|request| at(request, place).map(Value::to_string)).collect();
        values.sort();
        values.dedup();
        ensure!(values.len() == count, "{place} is not different in each of the {count} requests");
    }
    if let Some(every) = &expected.every {
        let each = json!({"$each": every});
        if let Some(difference) = difference(&each, Some(&chosen.clone().into()), "requests") {
            bail!("{difference}");
        }
    }
    if let Some(are) = &expected.are
        && let Some(difference) = difference(&are.clone().into(), Some(&chosen.into()), "requests")
    {
        bail!("{difference}");
    }
    Ok(())
}

/// A request as cases speak of it.
fn request_told(request: &SeenRequest) -> Value {
    let raw = request.query.clone().unwrap_or_default();
    let query: Map<String, Value> = Url::parse(&format!("http://h/?{raw}")).map_or_else(
        |_| Map::new(),
        |url| url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned().into())).collect(),
    );
    let body = match std::str::from_utf8(&request.body) {
        Ok(text) => text.to_owned(),
        Err(_) => BASE64.encode(&request.body),
    };
    let mut told = json!({
        "method": request.method.as_str(),
        "path": request.path,
        "query": query,
        "rawQuery": raw,
        "headers": told(&request.headers),
        "body": body,
        "status": request.status,
    });
    if let Some(fault) = request.fault {
        told["fault"] = fault.name().into();
    }
    told
}

fn shown(requests: &[SeenRequest]) -> String {
    let line = |request: &SeenRequest| {
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        let query = request.query.as_ref().map_or_else(String::new, |query| format!("?{query}"));
        let mut line = format!("  {} {}{query}", request.method, request.path);
        if let (Some(epoch), Some(seq)) = (header("producer-epoch"), header("producer-seq")) {
            line.push_str(&format!(" epoch {epoch} seq {seq}"));
        }
        if !request.body.is_empty() {
            line.push_str(&format!(" {} bytes", request.body.len()));
        }
        if let Some(fault) = request.fault {
            line.push_str(&format!(" [{fault}]"));
        }
        line.push_str(&request.status.map_or_else(|| " -> no answer".to_owned(), |status| format!(" -> {status}")));
        line
    };
    let last = requests.len().saturating_sub(30);
    requests[last..].iter().map(line).collect::<Vec<_>>().join("\n")
}
