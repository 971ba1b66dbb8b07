//! The table of requirements names tests that exist.

use std::path::Path;

fn sources(folder: &Path, all: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder of this crate") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&std::fs::read_to_string(&path).expect("readable"));
        }
    }
}

#[test]
fn every_requirement_names_its_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = String::new();
    sources(&root.join("src"), &mut all);
    sources(&root.join("tests"), &mut all);
    let table = std::fs::read_to_string(root.join("REQUIREMENTS.md")).expect("readable");
    let rows: Vec<Vec<_>> = table
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.split('|').collect())
        .skip(2)
        .collect();
    assert!(rows.len() > 30);
    for row in rows {
        for name in row[3].split('`').skip(1).step_by(2) {
            assert!(all.contains(&format!("fn {name}(")), "{}: there is no test {name}", row[1].trim());
        }
    }
}
