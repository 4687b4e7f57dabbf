//! `export`: streams to a file, which `import` reads. A file that broke off is continued with `--resume`.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Seek as _, SeekFrom, Write};
use std::path::Path;

use everstream::proto::names;
use everstream::{Checkpoint, ListedStream, LiveMode, ReadOptions};

use crate::archive::{FORMAT, Line, Lines, StreamLine, Tally};
use crate::args::ExportArgs;
use crate::output::{Failure, complain, format_bytes, plural};
use crate::target::Target;

/// How much of a stream one line holds, more or less.
const BATCH_BYTES: usize = 256 * 1024;

/// What an earlier run has written.
#[derive(Default)]
struct Written {
    whole: HashSet<String>,
    /// The stream in which it broke off.
    open: Option<(StreamLine, Tally, Checkpoint)>,
    is_done: bool,
}

pub(crate) async fn run(target: &Target, args: &ExportArgs) -> Result<(), Failure> {
    let listed = target.list(&args.prefix).await;
    let listed = listed.map_err(|error| Failure::new("Failed to list streams").because(&error))?;
    // The server makes the registry itself.
    let streams: Vec<ListedStream> = listed.into_iter().filter(|stream| stream.path != names::REGISTRY).collect();
    let (mut output, mut written): (Box<dyn Write>, Written) = match &args.output {
        None => (Box::new(BufWriter::new(io::stdout())), Written::default()),
        Some(path) => {
            let (file, written) = open(path, args.resume).map_err(|why| unwritable(path, &why))?;
            (Box::new(BufWriter::new(file)), written)
        }
    };
    if written.is_done {
        complain("The file is complete already");
        return Ok(());
    }
    if !args.resume {
        put(&mut output, &Line::Format(FORMAT))?;
    }
    let mut bytes = 0;
    if let Some(begun) = written.open.take() {
        let is_it = |stream: &&ListedStream| stream.path == begun.0.path && stream.created_at == begun.0.created_at;
        let Some(stream) = streams.iter().find(is_it) else {
            return Err(Failure::new(format!("Stream \"{}\" is gone, and the file has a part of it", begun.0.path))
                .detail("Start anew without --resume"));
        };
        bytes += one(target, stream, Some(begun), &mut output).await?;
        written.whole.insert(stream.path.clone());
    }
    for stream in &streams {
        if written.whole.insert(stream.path.clone()) {
            bytes += one(target, stream, None, &mut output).await?;
        }
    }
    let count = written.whole.len() as u64;
    put(&mut output, &Line::Done { streams: count })?;
    output.flush().map_err(|error| Failure::new(format!("Failed to write: {error}")))?;
    complain(&format!("Exported {} ({})", plural(count, "stream"), format_bytes(bytes)));
    Ok(())
}

/// One stream, or the rest of one.
async fn one(
    target: &Target,
    listed: &ListedStream,
    begun: Option<(StreamLine, Tally, Checkpoint)>,
    output: &mut dyn Write,
) -> Result<u64, Failure> {
    let failed = |error: &everstream::Error| Failure::of("export stream", &listed.path, error);
    let stream = target.any_stream(&listed.path)?;
    let (mut tally, from) = match begun {
        Some((_, tally, from)) => (tally, from),
        None => {
            let info = stream.head().await.map_err(|error| failed(&error))?;
            let line = StreamLine {
                path: listed.path.clone(),
                content_type: listed.content_type.clone(),
                created_at: listed.created_at,
                ttl_seconds: info.ttl.map(|ttl| ttl.as_secs()),
                expires_at: info.expires_at,
            };
            put(output, &Line::Stream(line))?;
            (Tally::default(), Checkpoint::default())
        }
    };
    let mut reader = stream.read(ReadOptions {
        from,
        live: LiveMode::CatchUp,
        max_batch_bytes: BATCH_BYTES,
        request_timeout: target.try_timeout,
        ..ReadOptions::default()
    });
    while let Some(batch) = reader.next().await {
        let batch = batch.map_err(|error| failed(&error))?;
        if batch.is_empty() {
            continue;
        }
        let line = Line::of(&batch);
        put(output, &line)?;
        if let Ok(Some((data, _))) = line.data() {
            tally.add(&data);
        }
    }
    put(output, &Line::End(tally.end(&listed.path, reader.is_closed())))?;
    Ok(tally.bytes())
}

fn put(output: &mut dyn Write, line: &Line) -> Result<(), Failure> {
    let text = line.to_text().map_err(|error| Failure::new(format!("Failed to write: {error}")))?;
    output.write_all(text.as_bytes()).map_err(|error| Failure::new(format!("Failed to write: {error}")))
}

/// The file, at the place where writing goes on. A file that is there is not written over.
fn open(path: &Path, resume: bool) -> Result<(File, Written), String> {
    if !resume {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).open(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => "it is there already; --resume goes on where it ends".to_owned(),
            _ => error.to_string(),
        })?;
        return Ok((file, Written::default()));
    }
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(|error| error.to_string())?;
    let mut lines = Lines::new(BufReader::new(&file));
    let written = written(&mut lines)?;
    let end = lines.position();
    if end == 0 {
        return Err("it has no whole line; start anew without --resume".to_owned());
    }
    file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(|error| error.to_string())?;
    Ok((file, written))
}

fn written(lines: &mut Lines<impl io::BufRead>) -> Result<Written, String> {
    let mut written = Written::default();
    while let Some(line) = lines.next()? {
        match line {
            Line::Stream(stream) => written.open = Some((stream, Tally::default(), Checkpoint::default())),
            Line::End(end) => {
                written.open = None;
                written.whole.insert(end.path);
            }
            Line::Done { .. } => written.is_done = true,
            line => {
                if let (Some((data, next)), Some((_, tally, from))) = (line.data()?, &mut written.open) {
                    tally.add(&data);
                    *from = next;
                }
            }
        }
    }
    Ok(written)
}

fn unwritable(path: &Path, why: &str) -> Failure {
    Failure::new(format!("Failed to write {}", path.display())).detail(why)
}
