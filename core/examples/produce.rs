//! Appends the lines of standard input to a stream, each stored exactly once.
//!
//! ```sh
//! seq 1000 | cargo run -p everstream --example produce -- http://127.0.0.1:4437/v1/stream/lines
//! ```

use everstream::{Client, CreateOptions, ProducerOptions};
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: produce URL")?;
    let stream = Client::new()?.stream(&url)?;
    stream.create(&CreateOptions::json()).await?;

    // A producer that starts anew under its old id takes over instead of being taken for a repeat.
    let options = ProducerOptions { auto_claim: true, ..ProducerOptions::default() };
    let producer = stream.producer("produce-example", options).await?;

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        // Waits only when 32 MiB are on their way. Nobody has to await what it gives.
        producer.append_json(&line).await?;
    }
    // Says what was not stored, if anything.
    let flushed = producer.flush().await?;
    println!("{} lines stored", flushed.messages);
    Ok(())
}
