//! `sign`: a URL with which anyone may read one stream for a while.

use std::time::{Duration, SystemTime};

use everstream_server::access::{SignedUrl, UrlKey};

use crate::args::SignArgs;
use crate::output::{Failure, say};
use crate::target::Target;

pub(crate) fn run(target: &Target, args: &SignArgs) -> Result<(), Failure> {
    let id = &args.stream.id;
    let secret = std::fs::read_to_string(&args.key_file)
        .map_err(|error| Failure::new(format!("Error: cannot read {}: {error}", args.key_file.display())))?;
    let key = UrlKey::new(&args.key_id, secret.trim()).map_err(|why| Failure::new(format!("Error: {why}")))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let expires = now.saturating_add(args.expires).as_secs();
    let stream = target.stream(id)?;
    say(&format!("{}?sig={}", stream.url(), key.sign(SignedUrl { stream: id.trim_end_matches('/'), expires })));
    Ok(())
}
