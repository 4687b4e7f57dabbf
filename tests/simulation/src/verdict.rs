//! What is left at the end of a run, read without faults and held against what everybody was told.

use everstream::{Checkpoint, ErrorKind, LiveMode, Offset, ReadOptions};

use crate::history::{Broken, Check, Fate, Stored, Summary};
use crate::judge::{check_fencing, check_fork, check_reader, check_wakeups, check_writers};
use crate::scenario::{Life, Scenario, StreamPlan};
use crate::world::{Outcome, World, is_gone, path};

/// Of each writer, so many offsets that it was told are looked at.
const RECEIPTS: usize = 3;

impl World {
    pub(crate) async fn judge(&self, scenario: &Scenario, outcomes: &[Outcome]) -> Result<Summary, Broken> {
        let down = self.cluster.down();
        let record = self.network.record();
        if let Some(what) = record.changed_batch() {
            return Err(Broken::new(Check::Identity, "", what));
        }
        let mut summary = Summary::default();
        for (plan, outcome) in scenario.streams.iter().zip(outcomes) {
            if let Some(seen) = &outcome.watched {
                summary.woken += check_wakeups(&plan.name, &record.all_told(&path(&plan.name)), seen, &down)?;
            }
            let Some(messages) = self.read_messages(&plan.name, None, outcome.had_others).await? else { continue };
            let inherited = self.inherited(scenario, plan, outcome, &messages).await?;
            let identities = record.identities();
            let stored = Stored { name: &plan.name, messages, inherited, had_others: outcome.had_others, identities };
            check_fencing(&stored)?;
            check_writers(&outcome.written, &stored)?;
            self.check_receipts(outcome, &stored).await?;
            for message in outcome.written.iter().flat_map(|written| &written.messages) {
                match message.fate {
                    Fate::Stored | Fate::Duplicate => summary.stored += 1,
                    Fate::Unknown => summary.unknown += 1,
                    Fate::Failed(_) => summary.failed += 1,
                }
            }
            for read in &outcome.read {
                if check_reader(read, &stored)? {
                    summary.ended += 1;
                } else {
                    summary.gone += 1;
                }
            }
        }
        let (requests, faults) = (self.network.requests(), self.network.faults() + down.len() as u64);
        Ok(Summary { requests, faults, ..summary })
    }

    /// How many messages a fork has from its source: exactly those before the place where it was forked off.
    async fn inherited(
        &self,
        scenario: &Scenario,
        plan: &StreamPlan,
        outcome: &Outcome,
        messages: &[String],
    ) -> Result<usize, Broken> {
        let (Life::Fork { source, .. }, Some(at)) = (&plan.life, &outcome.forked_at) else { return Ok(0) };
        let source = &scenario.streams[*source];
        if matches!(source.life, Life::Plain)
            && let Some(whole) = self.read_messages(&source.name, None, false).await?
            && let Some(rest) = self.read_messages(&source.name, Some(at), false).await?
        {
            let (whole, rest) = (whole.concat(), rest.concat());
            let Some(before) = whole.strip_suffix(&rest) else {
                let what = format!("{} holds {whole:?}, and from {at} on {rest:?}", source.name);
                return Err(Broken::new(Check::Read, "", what));
            };
            return check_fork(&plan.name, messages, before);
        }
        // The source is another one now, or gone: what no writer of this stream has written was there before.
        let is_own = |text: &String| {
            let own = |number: usize| text.trim_start_matches('"').starts_with(&format!("w{number}."));
            outcome.written.iter().any(|written| own(written.writer))
        };
        Ok(messages.iter().position(is_own).unwrap_or(messages.len()))
    }

    /// An offset that a writer was told lies behind its message: who reads from there does not get it again.
    async fn check_receipts(&self, outcome: &Outcome, stored: &Stored<'_>) -> Result<(), Broken> {
        if stored.had_others {
            return Ok(());
        }
        let whole = stored.messages.concat();
        for written in &outcome.written {
            let is_own = |fate: &Fate| matches!(fate, Fate::Stored | Fate::Duplicate) && written.is_alone;
            let told = written.messages.iter().filter(|message| is_own(&message.fate));
            let mut told: Vec<_> = told.filter_map(|it| Some((it, it.offset.as_ref()?))).collect();
            // Those that were sent more than once first, then the latest.
            told.reverse();
            told.sort_by_key(|(message, _)| message.fate != Fate::Duplicate);
            for (message, offset) in told.into_iter().take(RECEIPTS) {
                let rest = self.read_messages(stored.name, Some(offset), false).await?.unwrap_or_default().concat();
                if !whole.ends_with(&rest) || rest.contains(&message.text) {
                    let what = format!(
                        "{}: the writer of {} was told the offset {offset}, from which on there is {rest:?}",
                        stored.name, message.text
                    );
                    return Err(Broken::new(Check::Receipt, format!("writer {} ", written.writer), what));
                }
            }
        }
        Ok(())
    }

    /// What a stream holds from a place on, message by message; `None` when it has expired, where it may.
    async fn read_messages(
        &self,
        name: &str,
        from: Option<&Offset>,
        may_be_gone: bool,
    ) -> Result<Option<Vec<String>>, Broken> {
        let from = from.map_or_else(Checkpoint::default, |from| Checkpoint::from(from.clone()));
        let mut reader = self.stream(name)?.read(ReadOptions { from, live: LiveMode::CatchUp, ..Default::default() });
        let mut messages = Vec::new();
        let mut bytes = Vec::new();
        while let Some(batch) = reader.next().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) if may_be_gone && is_gone(error.kind()) => return Ok(None),
                Err(error) if *error.kind() == ErrorKind::BadRequest => {
                    return Err(Broken::new(Check::Receipt, "", format!("{name} has no such place: {error}")));
                }
                Err(error) => return Err(Broken::service(format!("{name} cannot be read in the end: {error}"))),
            };
            if batch.is_json() {
                messages.extend(batch.messages().map(|message| String::from_utf8_lossy(&message).into_owned()));
            } else {
                bytes.extend_from_slice(&batch.bytes());
            }
        }
        messages.extend(String::from_utf8_lossy(&bytes).split_inclusive(';').map(str::to_owned));
        Ok(Some(messages))
    }
}
