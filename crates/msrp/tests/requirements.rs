//! The table of requirements names every requirement of MSRP, and for each of them tests that exist.

use std::path::Path;

fn sources(folder: &Path, extension: &str, all: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            sources(&path, extension, all);
        } else if path.extension().is_some_and(|there| there == extension) {
            all.push_str(&std::fs::read_to_string(&path).expect("readable"));
        }
    }
}

/// What stands in backquotes.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// What the project asks for beside the numbers: speed, bad input, what is shown.
const ASKED: [&str; 18] = [
    "open relaying",
    "no UTF-8",
    "16 kB",
    "split end-lines",
    "wrapped lengths",
    "huge ranges",
    "header floods",
    "replayed nonces",
    "brute force",
    "a victim in an answer's path",
    "a second connection (506)",
    "unknown sessions (481)",
    "large files byte-exact",
    "64 MiB",
    "a short message passes",
    "golden files",
    "tshark",
    "RFC 7977",
];

#[test]
fn every_requirement_names_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let repository = root.join("../..");
    let mut tests = String::new();
    for name in ["msrp", "endpoint", "relay", "net", "nuncio"] {
        sources(&repository.join("crates").join(name), "rs", &mut tests);
    }
    let mut cases = String::new();
    sources(&repository.join("tests/peer/msrp"), "py", &mut cases);
    let table = std::fs::read_to_string(root.join("REQUIREMENTS.md")).expect("readable");
    let rows: Vec<Vec<_>> = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.split('|').collect())
        .skip(1)
        .collect();
    for row in &rows {
        for name in names(row[3]) {
            assert!(tests.contains(&format!("fn {name}(")), "{}: there is no test {name}", row[1].trim());
        }
        for name in names(row[4]) {
            let known = cases.contains(&format!("@case(\"{name}\""))
                || cases.contains(&format!("\"id\": \"{name}\""));
            assert!(known, "{}: there is no case {name}", row[1].trim());
        }
        let count = names(row[3]).chain(names(row[4])).count();
        assert!(count > 0, "{}", row[1].trim());
    }
    let wanted = (1..=10)
        .map(|number| format!("S1-{number:02}"))
        .chain((3..=6).map(|number| format!("S1-R{number}")))
        .chain((1..=2).map(|number| format!("S1-A{number}")))
        .chain((1..=18).map(|number| format!("S1-L{number}")))
        .chain(["S2-09".to_owned(), "S3-31".to_owned()]);
    for requirement in wanted {
        // `S1-L1` is no part of `S1-L10`.
        let named = |text: &str| {
            text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|word| word == requirement)
        };
        assert!(rows.iter().any(|row| named(row[1])), "{requirement} is not in the table");
    }
    for asked in ASKED {
        assert!(rows.iter().any(|row| row[1].contains(asked)), "{asked} is not in the table");
    }
}
