//! The federation matrix: what `tests/peer` saw in each cell, as a table for people and as a page of the documentation.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// The page that `--document` writes.
const PAGE: &str = "docs/federation-interop.md";

/// What was seen in one cell.
#[derive(Clone, Deserialize)]
struct Cell {
    row: String,
    title: String,
    peer: String,
    direction: String,
    outcome: String,
    proof: String,
    theirs: String,
    connections: [u32; 2],
    wrong: Vec<String>,
    why: String,
}

/// What was seen of one broken domain.
#[derive(Deserialize)]
struct Broken {
    name: String,
    outcome: String,
    code: String,
}

impl Cell {
    /// `delivered, pkix (external), 1+0`: outcome; what we hold of them and, in brackets, they of us; connections to them and to us.
    fn shown(&self) -> String {
        let [to, from] = self.connections;
        let proofs = match (self.proof.as_str(), self.theirs.as_str()) {
            ("-", "-") => String::new(),
            (ours, theirs) => format!(", {ours} ({theirs})"),
        };
        let mark = if self.wrong.is_empty() { "" } else { " NOT AS EXPECTED" };
        format!("{}{proofs}, {to}+{from}{mark}", self.outcome)
    }
}

/// Prints the matrix of each subject from what the runner wrote, and writes the page if asked.
pub(crate) fn print(root: &Path, subjects: &[&str], document: bool) -> Result<()> {
    let mut page = String::from(HEAD);
    for subject in subjects {
        let path = root.join(format!("target/peers/logs/federation-{subject}.json"));
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let cells: Vec<Cell> = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        println!("\n{}", table(subject, &cells, false));
        let _written = writeln!(page, "## {subject}\n");
        page.push_str(&table(subject, &cells, true));
        page.push_str(&reasons(&cells));
    }
    page.push_str(&broken(root)?);
    if document {
        std::fs::write(root.join(PAGE), page).with_context(|| PAGE.to_owned())?;
        println!("{PAGE} is written");
    }
    Ok(())
}

/// What became of each of the domains that are broken in one way, if that suite has run.
fn broken(root: &Path) -> Result<String> {
    let path = root.join("target/peers/logs/broken-nuncio.json");
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(String::new()) };
    let all: Vec<Broken> = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let mut lines = vec![["domain", "outcome", "cause"].map(str::to_owned).to_vec()];
    lines.extend(all.into_iter().map(|one| vec![one.name, one.outcome, one.code]));
    Ok(format!("{BROKEN}{}", drawn(&lines, true)))
}

/// The rows by the columns peer and direction; in Markdown or aligned for a terminal.
fn table(subject: &str, cells: &[Cell], markdown: bool) -> String {
    let mut columns: Vec<(&str, &str)> = Vec::new();
    let mut rows: Vec<(&str, &str)> = Vec::new();
    let mut shown: BTreeMap<(&str, &str, &str), String> = BTreeMap::new();
    for cell in cells {
        let (column, row) =
            ((cell.peer.as_str(), cell.direction.as_str()), (cell.row.as_str(), cell.title.as_str()));
        if !columns.contains(&column) {
            columns.push(column);
        }
        if !rows.contains(&row) {
            rows.push(row);
        }
        shown.insert((row.0, column.0, column.1), cell.shown());
    }
    let arrow = |direction: &str| if direction == "out" { "to" } else { "from" };
    let mut lines = vec![
        std::iter::once(subject.to_owned())
            .chain(columns.iter().map(|(peer, direction)| format!("{} {peer}", arrow(direction))))
            .collect::<Vec<_>>(),
    ];
    for (row, title) in rows {
        let cell = |(peer, direction): &(&str, &str)| {
            shown.get(&(row, *peer, *direction)).cloned().unwrap_or_default()
        };
        lines.push(std::iter::once(title.to_owned()).chain(columns.iter().map(cell)).collect());
    }
    drawn(&lines, markdown)
}

/// Lines of columns; the first line is the head.
fn drawn(lines: &[Vec<String>], markdown: bool) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        if markdown {
            let _written = writeln!(out, "| {} |", line.join(" | "));
            if index == 0 {
                let _written = writeln!(out, "|{}", "---|".repeat(columns));
            }
        } else {
            let _written = writeln!(out, "{}", padded.join("  ").trim_end());
        }
    }
    out
}

/// Why cells are as they are, where the expectations say so.
fn reasons(cells: &[Cell]) -> String {
    let mut out = String::from("\n");
    for cell in cells.iter().filter(|cell| !cell.why.is_empty()) {
        let arrow = if cell.direction == "out" { "to" } else { "from" };
        let _written = writeln!(out, "- {}, {arrow} {}: {}.", cell.title, cell.peer, cell.why);
    }
    out.push('\n');
    out
}

const HEAD: &str = "\
# Federation with other servers, measured

Written by `cargo xtask interop federation --document`; the same command without the option fails when a cell is not as `tests/federation` expects.
Each cell is one message between two stock clients, at two domains that share nothing with other cells, in a laboratory on loopback: our own signed root
zone (Knot), a validating resolver (unbound), a private CA in all trust stores, a web server for POSH, Prosody 0.12.3 and ejabberd 23.01 of Debian.

A cell says: the outcome at the sender or the recipient; what the server of the first column holds of its peer and, in brackets, what the peer holds of it;
TCP connections to the peer + to the server of the first column.

";

const BROKEN: &str = "\
## Domains that are broken in one way each

What Nuncio makes of them (`tests/federation/broken.toml`): a message to the domain, then a stream from the domain with its certificate, then a proven
server that misbehaves. The outcome is what the sender or the other server hears; the cause is what `nuncio federation explain` names.

";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_that_differs_is_marked() {
        let text = r#"[{"row":"pkix","title":"PKIX","peer":"prosody","direction":"out","outcome":"delivered","proof":"pkix",
            "theirs":"external","connections":[1,0],"wrong":["proof is 'x'"],"why":"so"}]"#;
        let cells: Vec<Cell> = serde_json::from_str(text).unwrap();
        let drawn = table("nuncio", &cells, true);
        assert!(drawn.contains("| PKIX | delivered, pkix (external), 1+0 NOT AS EXPECTED |"), "{drawn}");
        assert_eq!(reasons(&cells), "\n- PKIX, to prosody: so.\n\n");
    }
}
