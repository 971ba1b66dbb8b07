//! The manual's tables that are made from the code: options, metrics, XEPs.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use nuncio_federation::FederationMetrics;
use nuncio_net::NetMetrics;
use nuncio_router::metrics::RouterMetrics;
use nuncio_store::Store;
use prometheus_client::registry::Registry;

use crate::config::options;

/// The generated pages: file and text.
fn pages() -> anyhow::Result<Vec<(&'static str, String)>> {
    Ok(vec![("options.md", options_page()), ("metrics.md", metrics_page()?), ("xeps.md", xeps_page())])
}

const MADE: &str = "<!-- Made from the code by `nuncio docs`. -->\n";

fn options_page() -> String {
    format!(
        "# Options of nuncio.toml\n{MADE}\nEvery key is optional. `nuncio config check` names every mistake; `nuncio config show` prints the \
         effective values.\nAn extension is switched by `[extensions.NAME] enabled = true`, and has its own keys in the same table: see \
         [xeps.md](xeps.md).\n\n{}",
        options::table()
    )
}

fn metrics_page() -> anyhow::Result<String> {
    let mut registry = Registry::with_prefix("nuncio");
    NetMetrics::default().register(&mut registry);
    RouterMetrics::default().register(&mut registry);
    FederationMetrics::default().register(&mut registry);
    nuncio_relay::RelayMetrics::default().register(&mut registry);
    Store::memory().register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)
        .context("the metrics cannot be written")?;
    let mut out = format!(
        "# Metrics at /metrics\n{MADE}\nOpenMetrics text.\n\n| metric | kind | meaning |\n|---|---|---|\n"
    );
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        let kind = lines
            .peek()
            .and_then(|next| next.strip_prefix("# TYPE "))
            .and_then(|rest| rest.rsplit_once(' '))
            .map_or("", |(_, kind)| kind);
        let _ = writeln!(out, "| `{name}` | {kind} | {} |", help.replace('|', "\\|"));
    }
    Ok(out)
}

fn xeps_page() -> String {
    let mut rows: Vec<_> = nuncio_extensions::ALL
        .iter()
        .flat_map(|extension| extension.xeps.iter().map(move |xep| (xep, extension)))
        .collect();
    rows.sort_by_key(|(xep, _)| xep.number);
    let mut out = format!(
        "# XEPs\n{MADE}\nXEP-0198 (Stream Management), XEP-0368 (direct TLS), XEP-0440 and XEP-0474 (SASL) are part of the streams.\n\n\
         | XEP | title | version | extension | default |\n|---|---|---|---|---|\n"
    );
    for (xep, extension) in rows {
        let _ = writeln!(
            out,
            "| {:04} | {} | {} | `{}` | {} |",
            xep.number,
            xep.title,
            xep.version,
            extension.name,
            if extension.default_on { "on" } else { "off" }
        );
    }
    out
}

/// Writes the pages, or says which are not up to date. True if all are as they should be.
pub(crate) fn run(folder: &Path, check: bool) -> anyhow::Result<bool> {
    let mut good = true;
    for (name, text) in pages()? {
        let file = folder.join(name);
        if check {
            if std::fs::read_to_string(&file).ok().as_deref() != Some(text.as_str()) {
                complain!("{}: is not what the code says; run `cargo run -p nuncio -- docs`", file.display());
                good = false;
            }
        } else {
            std::fs::write(&file, text).with_context(|| format!("{}: cannot be written", file.display()))?;
        }
    }
    Ok(good)
}
