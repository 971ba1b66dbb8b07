//! The project's own commands. `cargo xtask test` is what CI runs; each of its parts can be run for itself.

use anyhow::{Context as _, Result, bail};

mod bench;
mod interop;
mod matrix;
mod process;
mod provision;
mod soak;
mod summary;
mod test;
mod tidy;

const USAGE: &str = "\
cargo xtask test [--fast]                 everything: tidy, unit and integration tests, instruction counts, then the interop suites
                                          (--fast leaves out the counts, and the suites that need other servers and clients)
cargo xtask tidy                          format, lints and the project's own rules
cargo xtask interop clients [OPTIONS]     stock clients talk through Nuncio; then what `library` does
cargo xtask interop library [OPTIONS]     our client library logs in to Nuncio, Prosody and ejabberd, loses its connections and resumes
cargo xtask interop conversations [OPTIONS]
cargo xtask interop raw [OPTIONS]         the raw-socket table, with Prosody's and ejabberd's scores beside it
cargo xtask interop check [OPTIONS]       `nuncio check` on ten prepared domains
cargo xtask interop federation [OPTIONS]  the federation matrix: servers with each other, in a laboratory with DNSSEC, POSH and a CA
                                          and what Nuncio says of domains that are broken in one way each (also alone: interop broken)
    --peer prosody|ejabberd|nuncio2       only with this server
    --document                            write docs/federation-interop.md anew
cargo xtask interop msrp [OPTIONS]        the MSRP relay under a stock client, on TLS and WebSocket: alone, in a row of two, behind another, beside
                                          Kamailio; credentials and their end; slow receivers; what broke other relays; tshark on our frames
    --subject nuncio|prosody|ejabberd     only against this server
    --only ID                             only cases whose id begins so
    --release                             with the release build
    --binary PATH                         with this one, instead of building one
cargo xtask soak [fuzz|kill|soak]         the long runs, with the release build
    --inputs N                            of each mutation runner (1 000 000)
    --rounds N                            of kill -9 (200)
    --minutes N                           of mixed load (30)
cargo xtask bench                         what is measured, and how
cargo xtask bench counts [OPTIONS]        instructions for an operation, against the committed baseline
    --only NAME                           only benches whose name begins so
    --update                              write the baseline anew";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let sound = match words.as_slice() {
        ["test"] => test::run(false)?,
        ["test", "--fast"] => test::run(true)?,
        ["tidy"] => tidy::run()?,
        ["interop", rest @ ..] => interop::run(rest)?,
        ["soak", rest @ ..] => soak::run(rest)?,
        ["bench", rest @ ..] => bench::run(rest)?,
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            true
        }
        _ => bail!("not a command: {}\n{USAGE}", words.join(" ")),
    };
    if !sound {
        std::process::exit(1);
    }
    Ok(())
}

/// The checkout's folder: where cargo runs this from.
fn root() -> Result<std::path::PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
    let folder = std::path::PathBuf::from(manifest);
    Ok(folder.parent().context("xtask stands in the checkout")?.to_owned())
}
