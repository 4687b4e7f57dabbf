//! `fsck`: reads all of a data directory and says what is damaged. Nothing is changed.

use std::sync::Arc;

use everstream_server::storage::log::{self, Checked};
use everstream_server::storage::{Disk, Folder};

use crate::args::FsckArgs;
use crate::output::{Failure, say};

pub(crate) async fn run(args: FsckArgs) -> Result<(), Failure> {
    let place = args.dir.display().to_string();
    let failed = |error: std::io::Error| Failure::new(format!("Error: {place}: {error}"));
    let dir = args.dir;
    let checked = tokio::task::spawn_blocking(move || {
        // Looking must not make a directory.
        std::fs::metadata(&dir)?;
        let disk: Arc<dyn Disk> = Arc::new(Folder::open(&dir)?);
        log::check(&disk)
    })
    .await
    .map_err(std::io::Error::from)
    .and_then(|checked| checked)
    .map_err(failed)?;
    let Checked { streams, drained_bytes, replayed, leftovers, damage, .. } = checked;
    for line in &leftovers {
        say(&format!("Left by a crash, harmless: {line}"));
    }
    for line in &damage {
        say(&format!("DAMAGED: {line}"));
    }
    if !damage.is_empty() {
        return Err(Failure::new(format!("Error: {place}: {} damaged", damage.len())));
    }
    say(&format!(
        "{streams} streams, {drained_bytes} bytes of messages read back, {replayed} records to replay: all intact"
    ));
    Ok(())
}
