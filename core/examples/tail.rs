//! Prints a stream from its beginning, and goes on with what is appended later.
//!
//! ```sh
//! cargo run -p everstream --example tail -- http://127.0.0.1:4437/v1/stream/lines
//! ```

use everstream::{Client, ReadOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: tail URL")?;
    let mut reader = Client::new()?.stream(&url)?.read(ReadOptions::default());
    while let Some(batch) = reader.next().await {
        let batch = batch?;
        if batch.is_json() {
            batch.messages().for_each(|message| println!("{}", String::from_utf8_lossy(&message)));
        } else {
            print!("{}", String::from_utf8_lossy(&batch.bytes()));
        }
    }
    // Only a closed stream ends.
    eprintln!("closed at {}", reader.offset().map_or("?", |offset| offset.as_str()));
    Ok(())
}
