//! A reader that waits at the tail without a network between: whatever a writer is told, it must hear at once.

use std::sync::Arc;

use everstream::{DurableStream, LiveMode, ReadOptions};

use crate::history::{Broken, Check, Known};
use crate::network::Network;
use crate::story::Story;

pub(crate) struct Watcher {
    pub(crate) network: Arc<Network>,
    pub(crate) story: Story,
    /// Of a client that meets no fault.
    pub(crate) stream: DurableStream,
    pub(crate) live: LiveMode,
}

impl Watcher {
    /// Watches until the end, and tells when it saw what.
    ///
    /// # Errors
    /// It cannot go on.
    pub(crate) async fn run(self) -> Result<Vec<Known>, Broken> {
        let mut reader = self.stream.read(ReadOptions { live: self.live, ..ReadOptions::default() });
        let mut seen = Vec::new();
        while let Some(batch) = reader.next().await {
            let batch = batch.map_err(|error| {
                Broken::new(Check::Read, "watcher", format!("{} cannot be watched: {error}", self.stream.url()))
            })?;
            if let Some(offset) = batch.offset() {
                self.story.tell(format_args!("watcher of {} sees {offset}", self.stream.url()));
                seen.push(Known { at: self.network.elapsed(), offset: offset.clone(), closed: batch.is_closed() });
            }
        }
        Ok(seen)
    }
}
