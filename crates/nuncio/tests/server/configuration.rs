//! Mistakes in the configuration: exit status 2, and file, line, key and remedy are named.

use crate::harness::Place;

#[test]
fn mistakes_are_named() {
    // Lines of configuration, and what must be said of them.
    let cases: &[(&str, &[&str])] = &[
        (
            "limits.stanza_byte = 1",
            &["nuncio.toml:7:", "limits.stanza_byte", "did you mean `limits.stanza_bytes`"],
        ),
        ("limits.stanza_bytes = 9999", &["nuncio.toml:7:", "limits.stanza_bytes: is 9999", "10000"]),
        ("limits.depth = \"deep\"", &["nuncio.toml:7:", "limits.depth", "help: "]),
        (
            "timeouts.login_seconds = 0",
            &["nuncio.toml:7:", "timeouts.login_seconds: is 0", "from 1 to 86400"],
        ),
        ("runtime.threads = 0", &["nuncio.toml:7:", "runtime.threads: is 0", "from 1 to 1024"]),
        ("nonsense", &["nuncio.toml:7:", "help: "]),
        (
            "domain = [{ name = \"a b\" }]",
            &["nuncio.toml:7:", "domain[].name", "`a b` is not a domain", "help: "],
        ),
        (
            "domain = [{ name = \"a.example\", key = \"k.pem\" }]",
            &["nuncio.toml:7:", "domain[].key", "certificate = "],
        ),
        ("domain = []", &["nuncio.toml:7:", "domain: is empty", "[[domain]]"]),
        (
            "extensions.carbonz.enabled = true",
            &["nuncio.toml:7:", "extensions.carbonz", "did you mean `extensions.carbons`"],
        ),
        (
            "extensions.carbons.enabled = 3",
            &["nuncio.toml:7:", "extensions.carbons.enabled", "true or false"],
        ),
    ];
    for (line, expected) in cases {
        let place = Place::new(&[line]);
        for command in [&["config", "check"][..], &["serve"]] {
            let output = place.run(command, "");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{command:?} with {line}: {said}");
            for part in *expected {
                assert!(said.contains(part), "{command:?} with {line}: no {part:?} in {said}");
            }
        }
        assert!(!place.data().join("store").exists(), "{line}: a store was made");
    }
}

#[test]
fn other_wrong_use() {
    let place = Place::empty();
    for args in [
        &["serve", "--config", "missing.toml"][..],
        &["serve", "--no-such-option"],
        &["account", "add"],
        &["no-such-command"],
        &[],
    ] {
        let output = place.run(args, "");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
    let output = place.run(&["session", "list", "--data", "data"], "");
    assert_eq!(output.status.code(), Some(1), "no server runs");
    assert!(String::from_utf8_lossy(&output.stderr).contains("nuncio serve"));
}

#[test]
fn a_good_configuration_is_good_and_shown() {
    let place = Place::new(&["limits.stanza_bytes = 20000"]);
    assert!(place.must(&["config", "check"], "").contains("good"));
    let shown = place.must(&["config", "show"], "");
    assert!(shown.contains("stanza_bytes = 20000") && shown.contains("scram_iterations = 4096"), "{shown}");
}

/// A folder is one server's; an address too. Both are said.
#[test]
fn what_is_in_use_is_named() {
    let place = Place::new(&[]);
    let server = place.serve();
    let output = place.run(&["serve"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(!output.stderr.is_empty());
    let other = Place::new(&[]);
    let text = std::fs::read_to_string(other.config()).unwrap();
    let text = text.replacen("127.0.0.1:0", &server.c2s.to_string(), 1);
    std::fs::write(other.config(), text).unwrap();
    let output = other.run(&["serve"], "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("listen.c2s") && said.contains(&server.c2s.port().to_string()), "{said}");
}
