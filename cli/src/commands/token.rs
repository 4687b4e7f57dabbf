//! `token`: a new bearer token, and the lines of the server's configuration that let it in.

use std::io::Read as _;

use everstream_server::access::{NewToken, TokenDigest};

use crate::args::TokenArgs;
use crate::output::{Failure, say};

pub(crate) fn run(args: &TokenArgs) -> Result<(), Failure> {
    let digest = if args.hash {
        TokenDigest::of(&standard_input()?)
    } else {
        let token = NewToken::generate().map_err(|error| Failure::new(format!("Error: no randomness: {error}")))?;
        say(&format!("# The token. It is shown this once; the server keeps only its SHA-256.\n# {}\n", token.secret));
        token.digest
    };
    say(&entry(args, digest));
    Ok(())
}

/// A token that exists already.
fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(64 << 10).read_to_string(&mut text);
    read.map_err(|error| Failure::new(format!("Error: cannot read the token from standard input: {error}")))?;
    let token = text.trim();
    // The server compares digests that are made for guessing: a short token would be guessed.
    if token.len() < SHORTEST {
        return Err(Failure::new(format!(
            "Error: the token on standard input has less than {SHORTEST} characters, and could be guessed from its hash"
        )));
    }
    Ok(token.to_owned())
}

const SHORTEST: usize = 32;

fn entry(args: &TokenArgs, digest: TokenDigest) -> String {
    let quoted = |items: &[String]| items.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(", ");
    format!(
        "[[access.tokens]]\nname = {:?}\nsha256 = \"{digest}\"\ngrants = [{{ streams = [{}], allow = [{}] }}]",
        args.name,
        quoted(&args.streams),
        quoted(&args.allow),
    )
}
