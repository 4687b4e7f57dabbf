//! `subscription`: create, look at, remove and list subscriptions, rotate the key of webhooks, and work.

mod args;
mod work;

use everstream::{
    CreateOptions, Subscription, SubscriptionKind, SubscriptionOptions, SubscriptionStatus, Subscriptions,
};
use serde_json::{Value, json};

use self::args::{CreateArgs, GetArgs, ListArgs, RotateArgs};
pub(crate) use self::args::{SubscriptionArgs, SubscriptionCommand};
use crate::output::{Failure, say};
use crate::target::Target;

pub(crate) async fn run(target: &Target, args: &SubscriptionArgs) -> Result<(), Failure> {
    let subscriptions = target.subscriptions()?;
    match &args.command {
        SubscriptionCommand::Create(args) => create(target, &subscriptions, args).await,
        SubscriptionCommand::Delete(args) => {
            let deleted = subscriptions.delete(&args.id).await;
            deleted.map_err(|error| Failure::of("delete subscription", &args.id, &error))?;
            say(&format!("Subscription deleted: \"{}\"", args.id));
            Ok(())
        }
        SubscriptionCommand::Get(args) => get(&subscriptions, args).await,
        SubscriptionCommand::List(args) => list(&subscriptions, args).await,
        SubscriptionCommand::RotateKey(args) => rotate(&subscriptions, args).await,
        SubscriptionCommand::Work(args) => work::run(&subscriptions, args).await,
    }
}

async fn create(target: &Target, subscriptions: &Subscriptions, args: &CreateArgs) -> Result<(), Failure> {
    let id = &args.subscription.id;
    let kind = match (&args.webhook, &args.wake_stream) {
        (Some(url), _) => SubscriptionKind::Webhook { url: url.clone() },
        (None, Some(wake_stream)) => SubscriptionKind::PullWake { wake_stream: wake_stream.clone() },
        (None, None) => return Err(Failure::new("Error: --webhook or --wake-stream is needed")),
    };
    if let SubscriptionKind::PullWake { wake_stream } = &kind {
        let created = target.stream(wake_stream)?.create(&CreateOptions::json()).await;
        created.map_err(|error| Failure::of("create wake stream", wake_stream, &error))?;
    }
    let options = SubscriptionOptions {
        kind,
        pattern: args.pattern.clone(),
        streams: args.streams.clone(),
        lease: args.lease,
        description: args.description.clone(),
    };
    let created = subscriptions.create(id, &options).await;
    let (_, is_new) = created.map_err(|error| Failure::of("create subscription", id, &error))?;
    say(&format!("Subscription {}: \"{id}\"", if is_new { "created" } else { "is there already" }));
    Ok(())
}

async fn get(subscriptions: &Subscriptions, args: &GetArgs) -> Result<(), Failure> {
    let id = &args.subscription.id;
    let it = subscriptions.get(id).await.map_err(|error| Failure::of("look at subscription", id, &error))?;
    if args.output.is_json() {
        let streams = it.streams.iter().map(|it| json!({"path": it.path, "ackedOffset": it.acked_offset.as_str()}));
        let mut object = object(&it);
        object["streams"] = streams.collect();
        say(&object.to_string());
        return Ok(());
    }
    let mut lines = vec![format!("Subscription: \"{id}\""), format!("  {}", wakes(&it.kind))];
    lines.extend(it.pattern.as_ref().map(|it| format!("  Pattern: {it}")));
    lines.push(format!("  Lease: {:?}", it.lease));
    lines.push(format!("  Status: {}", status(&it)));
    lines.extend(it.description.as_ref().map(|it| format!("  Description: {it}")));
    lines.extend(it.streams.iter().map(|it| format!("  Stream: {} up to {}", it.path, it.acked_offset)));
    // Text of others' must not be able to move the cursor.
    say(&lines.iter().map(|line| line.replace(char::is_control, "?")).collect::<Vec<_>>().join("\n"));
    Ok(())
}

async fn list(subscriptions: &Subscriptions, args: &ListArgs) -> Result<(), Failure> {
    let all =
        subscriptions.list().await.map_err(|error| Failure::new("Failed to list subscriptions").because(&error))?;
    for it in &all {
        match args.output.is_json() {
            true => say(&object(it).to_string()),
            false => say(&format!("{}\t{}\t{}", it.id, wakes(&it.kind), status(it)).replace(is_odd, "?")),
        }
    }
    Ok(())
}

async fn rotate(subscriptions: &Subscriptions, args: &RotateArgs) -> Result<(), Failure> {
    let kid = subscriptions.rotate_key(Some(args.overlap)).await;
    let kid = kid.map_err(|error| Failure::new("Failed to rotate the key of webhooks").because(&error))?;
    say(&format!("Webhooks are signed with the key {kid}"));
    Ok(())
}

fn is_odd(c: char) -> bool {
    c.is_control() && c != '\t'
}

fn object(it: &Subscription) -> Value {
    let (kind, webhook, wake_stream) = match &it.kind {
        SubscriptionKind::PullWake { wake_stream } => ("pull-wake", None, Some(wake_stream)),
        SubscriptionKind::Webhook { url } => ("webhook", Some(url), None),
    };
    json!({
        "id": it.id,
        "type": kind,
        "webhook": webhook,
        "wakeStream": wake_stream,
        "pattern": it.pattern,
        "leaseMs": u64::try_from(it.lease.as_millis()).unwrap_or(u64::MAX),
        "status": status(it),
        "createdAt": it.created_at,
        "description": it.description,
    })
}

fn wakes(kind: &SubscriptionKind) -> String {
    match kind {
        SubscriptionKind::PullWake { wake_stream } => format!("Pull-wake: {wake_stream}"),
        SubscriptionKind::Webhook { url } => format!("Webhook: {url}"),
    }
}

fn status(it: &Subscription) -> &'static str {
    match it.status {
        SubscriptionStatus::Active => "active",
        SubscriptionStatus::Failed => "failed",
    }
}
