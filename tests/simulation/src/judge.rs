//! Judging a run: is what happened what was promised?

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use everstream::ErrorKind;

use crate::history::{Broken, Check, Fate, Known, ReadEnd, ReadThrough, Stored, Written};

/// So much later than a writer a reader that waits may hear of a message, on a network without delay: less than the
/// shortest long-poll, which would bring it in any case.
const PROMPT: Duration = Duration::from_millis(500);
/// So long after a start of the server a reader may still wait to try again.
const RECOVERY: Duration = Duration::from_secs(5);

fn broken<T>(check: Check, about: impl Into<String>, what: String) -> Result<T, Broken> {
    Err(Broken::new(check, about, what))
}

/// What all writers were told against what is stored: once, in order, nothing that failed for certain, and nothing else.
pub(crate) fn check_writers(all: &[Written], stored: &Stored<'_>) -> Result<(), Broken> {
    all.iter().try_for_each(|written| check_writer(written, stored))?;
    let appended: HashSet<&str> =
        all.iter().flat_map(|written| &written.messages).map(|message| message.text.as_str()).collect();
    match stored.own().iter().find(|text| !appended.contains(text.as_str())) {
        Some(text) => broken(Check::Stored, text, format!("{}: {text} was never appended", stored.name)),
        None => Ok(()),
    }
}

fn check_writer(written: &Written, stored: &Stored<'_>) -> Result<(), Broken> {
    let about = format!("writer {} ", written.writer);
    let prefix = format!("w{}.", written.writer);
    let own = |text: &&String| text.trim_start_matches('"').starts_with(&prefix);
    if stored.had_others {
        // Copies that come late may have been meant for an earlier incarnation.
        let mut seen = HashSet::new();
        return match stored.own().iter().filter(own).find(|text| !seen.insert(text.as_str())) {
            Some(text) => broken(Check::Stored, about, format!("{}: {text} is stored twice", stored.name)),
            None => Ok(()),
        };
    }
    if written.is_fenced {
        return check_life(written, &prefix, stored);
    }
    // Nothing fences what an earlier life of a handle has sent: a copy of it may come after what a later one stored.
    let lives = written.messages.iter().filter_map(|message| message.text.trim_start_matches('"').split_once(':'));
    let lives: BTreeSet<String> = lives.map(|(life, _)| format!("{life}:")).collect();
    lives.iter().try_for_each(|life| check_life(written, life, stored))
}

/// What a writer was told of the messages that begin like this, against what is stored.
fn check_life(written: &Written, prefix: &str, stored: &Stored<'_>) -> Result<(), Broken> {
    let about = format!("writer {} ", written.writer);
    let own = |text: &String| text.trim_start_matches('"').starts_with(prefix);
    let mut kept = stored.own().iter().filter(|text| own(text)).peekable();
    for message in written.messages.iter().filter(|message| own(&message.text)) {
        let is_stored = kept.next_if(|next| **next == message.text).is_some();
        let right = match &message.fate {
            Fate::Stored => is_stored,
            Fate::Duplicate => is_stored || !written.is_alone,
            Fate::Unknown => true,
            Fate::Failed(_) => !is_stored,
        };
        if !right {
            let what = format!("{}: {} is {:?}, and stored: {is_stored}", stored.name, message.text, message.fate);
            return broken(Check::Stored, about, what);
        }
        if let Some(reason) = message.reason.as_ref().filter(|reason| written.is_alone && is_refusal(reason)) {
            return broken(Check::Refusal, about, format!("{}: {} was refused: {reason:?}", stored.name, message.text));
        }
    }
    match kept.next() {
        Some(extra) => {
            broken(Check::Stored, about, format!("{}: {extra} is stored twice or out of order", stored.name))
        }
        None => Ok(()),
    }
}

/// Answers that say that something is wrong between the two, and not that something did not get through.
fn is_refusal(reason: &ErrorKind) -> bool {
    matches!(
        reason,
        ErrorKind::BadRequest
            | ErrorKind::ContentTypeConflict
            | ErrorKind::Gone
            | ErrorKind::NotFound
            | ErrorKind::ProducerFenced { .. }
            | ErrorKind::Protocol
            | ErrorKind::SequenceConflict
            | ErrorKind::SequenceGap { .. }
            | ErrorKind::StreamClosed { .. }
            | ErrorKind::StreamRecreated
    )
}

/// Fencing: what is stored of one producer id is in the order of epoch and seq, whoever used it. A message that was sent
/// under several epochs counts under the last one: a producer claims only when nothing was stored before.
pub(crate) fn check_fencing(stored: &Stored<'_>) -> Result<(), Broken> {
    if stored.had_others {
        return Ok(());
    }
    let mut latest: HashMap<&str, (u64, u64)> = HashMap::new();
    for text in stored.own() {
        let Some(identity) = stored.identities.get(text) else { continue };
        let now = (identity.epoch, identity.seq);
        let before = latest.insert(&identity.id, now).unwrap_or(now);
        if before > now {
            let what = format!("{}: {text} of {identity} is stored after {before:?} of that id", stored.name);
            return broken(Check::Fencing, format!("[{} ", identity.id), what);
        }
    }
    Ok(())
}

/// What a reader got against what is stored: all of it, once, in order, from the first message to the last. False where
/// its stream was gone before that.
pub(crate) fn check_reader(through: &ReadThrough, stored: &Stored<'_>) -> Result<bool, Broken> {
    let read = String::from_utf8_lossy(&through.read);
    let whole = stored.messages.concat();
    let about = format!("reader {} ", through.reader);
    let wrong = |what| Broken::new(Check::Read, &*about, format!("{}: a reader {what}", stored.name));
    match &through.end {
        ReadEnd::Closed if read == whole => Ok(true),
        ReadEnd::Failed(ErrorKind::StreamRecreated | ErrorKind::NotFound | ErrorKind::Gone) if stored.had_others => {
            check_once(&read).map_err(wrong)?;
            Ok(false)
        }
        ReadEnd::Closed => Err(wrong(difference(&read, &whole))),
        ReadEnd::Failed(kind) => Err(wrong(format!("ended with {kind:?}"))),
    }
}

/// Where two texts part, with a little of what is around there.
fn difference(read: &str, stored: &str) -> String {
    let same = read.chars().zip(stored.chars()).take_while(|(one, other)| one == other).count();
    let around = |text: &str| text.chars().skip(same.saturating_sub(20)).take(60).collect::<String>();
    format!("got {:?} after {same} characters, and {:?} is stored there", around(read), around(stored))
}

/// Where nothing is left to compare with: every message at most once, and those of one writer in order.
fn check_once(read: &str) -> Result<(), String> {
    let mut latest: HashMap<&str, u64> = HashMap::new();
    // What follows the last mark is a part of a message.
    let whole = read.rsplit_once('€').map_or("", |(whole, _)| whole);
    for text in whole.split('€') {
        let Some((writer, number)) = text.trim_matches(['"', ';']).split_once(':') else { continue };
        let (Some((writer, _)), Ok(number)) = (writer.split_once('.'), number.parse::<u64>()) else {
            return Err(format!("got {text:?}, which was never appended"));
        };
        if latest.insert(writer, number).is_some_and(|before| before >= number) {
            return Err(format!("got {text:?} twice or out of order"));
        }
    }
    Ok(())
}

/// What a fork inherited against what its source held up to there, as text; the number of messages.
pub(crate) fn check_fork(name: &str, messages: &[String], source: &str) -> Result<usize, Broken> {
    let mut inherited = 0;
    let mut text = String::new();
    while text.len() < source.len() && inherited < messages.len() {
        text += &messages[inherited];
        inherited += 1;
    }
    if text == source {
        return Ok(inherited);
    }
    let whole = messages.concat();
    broken(Check::Fork, name, format!("{name} holds {whole:?}, and its source had {source:?} where it was forked"))
}

/// No lost wake-up: what was `told` to writers was `seen` at once by a reader that waited, without a network between. A
/// reader is excused while the server was `down`. How many answers it was held against.
pub(crate) fn check_wakeups(
    name: &str,
    told: &[Known],
    seen: &[Known],
    down: &[(Duration, Duration)],
) -> Result<u64, Broken> {
    let mut counted = 0;
    for told in told {
        if down.iter().any(|(from, to)| *from <= told.at + PROMPT && told.at <= to.saturating_add(RECOVERY)) {
            continue;
        }
        let is_that = |seen: &&Known| seen.offset >= told.offset && (seen.closed || !told.closed);
        match seen.iter().find(is_that) {
            Some(seen) if seen.at <= told.at + PROMPT => counted += 1,
            late => {
                let when = late.map_or_else(|| "never".to_owned(), |late| format!("{:.3}s", late.at.as_secs_f64()));
                let closure = if told.closed { " and the closure" } else { "" };
                let what = format!(
                    "{name}: a writer heard of {}{closure} at {:.3}s, a reader that waited at the tail: {when}",
                    told.offset,
                    told.at.as_secs_f64()
                );
                return broken(Check::WakeUp, "watcher", what);
            }
        }
    }
    Ok(counted)
}
