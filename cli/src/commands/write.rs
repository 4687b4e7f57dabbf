//! `write`: words or standard input into a stream, every message stored exactly once.

use std::io::IsTerminal as _;

use everstream::proto::content_type::StreamFormat;
use everstream::proto::json::messages;
use serde_json::json;

use crate::args::WriteArgs;
use crate::commands::content::{compact, for_format, unescape};
use crate::commands::input::{self, Stop};
use crate::commands::writer::{Writer, producer};
use crate::output::{Failure, format_bytes, plural, say};
use crate::signals;
use crate::target::Target;

pub(crate) async fn run(target: &Target, args: &WriteArgs) -> Result<(), Failure> {
    let id = &args.stream.id;
    let mut stream = target.stream(id)?;
    let content = Some(args.content.join(" ")).filter(|content| !content.is_empty());
    if content.is_none() && std::io::stdin().is_terminal() {
        return Err(Failure::new("Error: No content provided")
            .detail("Provide content as an argument or pipe from stdin:")
            .detail(format!("  everstream write {id} \"your content here\""))
            .detail(format!("  echo \"content\" | everstream write {id}")));
    }
    if args.json || args.batch_json {
        stream = stream.with_content_type("application/json");
    } else if let Some(content_type) = &args.content_type {
        stream = stream.with_content_type(content_type);
    }
    let failed = |error: everstream::Error| Failure::of("write to stream", id, &error);
    let (producer, format) =
        producer(target, &stream, args.producer_id.as_deref(), args.epoch).await.map_err(failed)?;
    let mut writer = Writer::new(producer, args.producer_id.is_none());
    let stopped = match content {
        Some(content) => write_content(&content, format, args.batch_json, &mut writer).await?,
        None => write_stdin(args, format, &mut writer).await?,
    };
    finish(args, format, &writer, stopped).await
}

/// The words of the command line: checked as a whole before anything is sent.
async fn write_content(
    content: &str,
    format: StreamFormat,
    batch: bool,
    writer: &mut Writer,
) -> Result<Result<(), Stop>, Failure> {
    let message = for_format(format, content, &unescape(content))?;
    if !batch {
        return Ok(writer.append(&message).await.map_err(Stop::from));
    }
    let elements =
        messages(&message).map_err(|error| Failure::new("Failed to parse JSON content").detail(error.to_string()))?;
    for element in elements {
        if let Err(error) = writer.append(&compact(&message[element])).await {
            return Ok(Err(error.into()));
        }
    }
    Ok(Ok(()))
}

async fn write_stdin(args: &WriteArgs, format: StreamFormat, writer: &mut Writer) -> Result<Result<(), Stop>, Failure> {
    let stdin = tokio::io::stdin();
    if args.batch_json {
        return Ok(input::elements(stdin, writer).await);
    }
    if !args.lines {
        return Ok(input::whole(stdin, format, writer).await);
    }
    // What has been read is stored before the command ends.
    let interrupt = signals::interrupt().map_err(|error| Failure::new(format!("Error: no signals: {error}")))?;
    Ok(input::lines(stdin, format, writer, interrupt).await)
}

/// Waits for the answers, closes the stream if asked to, and reports.
async fn finish(
    args: &WriteArgs,
    format: StreamFormat,
    writer: &Writer,
    stopped: Result<(), Stop>,
) -> Result<(), Failure> {
    let id = &args.stream.id;
    let headline = || Failure::new(format!("Failed to write to stream \"{id}\""));
    let flushed = writer.flush().await;
    match (stopped, flushed) {
        (Ok(()), Ok(())) => {}
        (Err(Stop::Nothing), _) => return Err(Failure::new("No data received from stdin")),
        (Err(Stop::Input(why)), Ok(())) => return Err(Failure::new(why).detail(stored_before(writer))),
        (Err(Stop::Input(why)), Err(unstored)) => return Err(unstored.explain(Failure::new(why))),
        // A producer that gave up says the same again; its account of the messages says more.
        (Ok(()) | Err(Stop::Refused(_)), Err(unstored)) => return Err(unstored.explain(headline())),
        (Err(Stop::Refused(error)), Ok(())) => return Err(headline().because(&error).detail(stored_before(writer))),
    }
    if args.output.is_json() {
        if args.close {
            writer.close().await.map_err(|error| Failure::of("close stream", id, &error))?;
        }
        let object = json!({"id": id, "messages": writer.messages, "bytes": writer.bytes, "closed": args.close});
        say(&object.to_string());
        return Ok(());
    }
    let wrote = if args.lines {
        format!("{} ({})", plural(writer.messages, "message"), format_bytes(writer.bytes))
    } else if args.batch_json {
        plural(writer.messages, "message")
    } else if format == StreamFormat::Json {
        "1 JSON message".to_owned()
    } else {
        format_bytes(writer.bytes)
    };
    say(&format!("Wrote {wrote} to stream \"{id}\""));
    if args.close {
        writer.close().await.map_err(|error| Failure::of("close stream", id, &error))?;
        say(&format!("Stream closed successfully: \"{id}\""));
    }
    Ok(())
}

fn stored_before(writer: &Writer) -> String {
    match writer.messages {
        0 => "Nothing was stored".to_owned(),
        stored => format!(
            "{} ({}) before it stored, nothing after it sent",
            plural(stored, "message"),
            format_bytes(writer.bytes)
        ),
    }
}
