//! Processes a stream and survives being killed: the offset is stored after each batch, and the next run goes on there.
//!
//! ```sh
//! cargo run -p everstream --example resume -- http://127.0.0.1:4437/v1/stream/lines /tmp/offset
//! ```

use everstream::{Client, LiveMode, Offset, ReadOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (url, file) = args.next().zip(args.next()).ok_or("usage: resume URL FILE")?;
    let from = match std::fs::read_to_string(&file) {
        Ok(stored) => Offset::new(stored.trim())?.into(),
        Err(_) => Default::default(),
    };
    let options = ReadOptions { from, live: LiveMode::CatchUp, ..ReadOptions::default() };
    let mut reader = Client::new()?.stream(&url)?.read(options);
    while let Some(batch) = reader.next().await {
        let batch = batch?;
        println!("{} messages", batch.messages().len());
        // Inside a very long answer there is no offset, only a checkpoint; storing the last offset is then enough.
        if let Some(offset) = batch.offset() {
            std::fs::write(&file, offset.as_str())?;
        }
    }
    Ok(())
}
