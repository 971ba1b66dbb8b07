//! What commands print: nobody who hears it is no reason to panic.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, pipe};
use std::process::{Command, Output, Stdio};

use crate::harness::{PASSWORD, Place};

/// Runs a command that says nothing to anybody but on standard error.
fn run(place: &Place, words: &[&str], stdout: Stdio) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nuncio"))
        .args(words)
        .current_dir(place.path())
        .env("NUNCIO_PASSWORD", PASSWORD)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .output()
        .unwrap()
}

/// A reader that has had enough ends a command without a word, as SIGPIPE would; a full disk is an error.
#[test]
fn closed_and_full() {
    let place = Place::new(&[]);
    let server = place.serve();
    place.accounts(&["juliet"]);
    let (ca, c2s) = (server.authority.to_string_lossy().into_owned(), server.c2s.to_string());
    for words in [
        &["account", "list"][..],
        &["account", "list", "--json"],
        &["account", "passwd", "juliet@localhost"],
        &["session", "list", "--json"],
        &["config", "show"],
        &["config", "check"],
        &["posh"],
        &["tlsa"],
        &[
            "send",
            "juliet@localhost",
            "x",
            "--from",
            "juliet@localhost",
            "--server",
            &c2s,
            "--ca",
            &ca,
            "--json",
        ],
        &["msrp", "receive"],
        &["msrp", "receive", "--json"],
        &["msrp", "send", "--to", "msrp://127.0.0.1:1/abc;tcp", "--json", "x"],
        &["msrp", "credentials", "juliet@localhost", "--server", &c2s, "--ca", &ca],
    ] {
        place.must(&["account", "passwd", "juliet@localhost", "--password-stdin"], PASSWORD);
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let output = run(&place, words, writer.into());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(141), ""), "{words:?}");
        place.must(&["account", "passwd", "juliet@localhost", "--password-stdin"], PASSWORD);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = run(&place, words, full.into());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        let told = "standard output cannot be written: No space left on device";
        assert_eq!(said.matches(told).count(), 1, "{words:?}: {said}");
    }
    // Nor is standard error.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_nuncio"))
        .args(["msrp", "send", "--to", "msrp://127.0.0.1:1/abc;tcp", "x"])
        .stdin(Stdio::null())
        .stderr(full)
        .status();
    assert_eq!(status.unwrap().code(), Some(1));
}

/// Nor does a server depend on anybody who takes its log.
#[test]
fn a_log_that_nobody_takes() {
    let place = Place::new(&[]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut server = Command::new(env!("CARGO_BIN_EXE_nuncio"))
        .arg("serve")
        .current_dir(place.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(full)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(server.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(line.starts_with("Nuncio serves"), "{line}");
    let stop = Command::new("kill").args(["-TERM", &server.id().to_string()]).status();
    assert!(stop.unwrap().success());
    // Its end is the end of what it says.
    said.read_to_string(&mut line).unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0));
}
