//! `cargo xtask bench`: what the server costs.

use anyhow::{Result, bail};

mod baseline;
mod counts;
mod verdict;

pub(crate) use counts::checked;

const THERE_IS: &str = "\
cargo xtask bench counts                  instructions for an operation, against the committed baseline (docs/manual/measuring.md)
    --only NAME                           only benches whose name begins so
    --update                              write the baseline anew
cargo bench -p nuncio-extensions          the same operations in nanoseconds
cargo run --release -p nuncio-load -- compare
                                          CPU and memory beside Prosody, ejabberd and a bare TLS relay (docs/benchmarks.md)";

/// `cargo xtask bench ...`
pub(crate) fn run(words: &[&str]) -> Result<bool> {
    let (mut only, mut update) = (None, false);
    let mut rest = match words {
        [] => {
            println!("{THERE_IS}");
            return Ok(true);
        }
        ["counts", rest @ ..] => rest,
        _ => bail!("not a bench: {}\n{THERE_IS}", words.join(" ")),
    };
    loop {
        rest = match rest {
            [] => break,
            ["--only", name, rest @ ..] => {
                only = Some(*name);
                rest
            }
            ["--update", rest @ ..] => {
                update = true;
                rest
            }
            _ => bail!("not an option: {}\n{THERE_IS}", rest.join(" ")),
        };
    }
    counts::run(only, update)
}
