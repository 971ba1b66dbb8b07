//! What is typed, what is printed, and the exit status.

use std::net::TcpListener;
use std::process::{Command, Output};

use crate::fake::{Fake, Then, script};

fn load(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nuncio-load")).args(args).output().unwrap()
}

fn words(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn wrong_use_is_2_with_a_clear_word() {
    let fake = Fake::clear(vec![script(&[], Then::Hang)]);
    let ca = fake.roots();
    let ca = ca.to_str().unwrap();
    let near = ["--target", "127.0.0.1:1", "--ca", ca];
    let far = ["--target", "192.0.2.1:5223", "--ca", ca];
    let cases: &[(&[&str], &[&str], &str)] = &[
        (&[], &[], "Usage"),
        (&["tango"], &near, "unrecognized subcommand"),
        (&["chat"], &[], "--target"),
        (&["chat", "--pairs", "0"], &near, "pairs is 0; it must be from 1 to"),
        (&["chat", "--pairs", "many"], &near, "invalid type"),
        (&["chat", "--seconds", "1e9"], &near, "seconds is"),
        (&["chat", "--body", "3"], &near, "body is 3; it must be from 26"),
        (&["chat", "--tempo", "3"], &near, "unexpected argument"),
        (&["chat", "--mechanism", "LOGIN"], &near, "unknown variant"),
        (&["chat"], &far, "neither loopback nor private"),
        (&["chat", "--far-target"], &far, "--i-may-load-it"),
        (&["chat", "--i-may-load-it"], &far, "--far-target"),
        (&["chat", "--threads", "100"], &near, "100 threads"),
        (&["chat", "--patience=-1"], &near, "a patience of"),
        (&["chat", "--patience", "1e9"], &near, "a patience of"),
        (&["run", "no-such-file.toml"], &near, "no-such-file.toml"),
        (&["relay"], &[], "--dir"),
    ];
    for (args, more, word) in cases {
        let args: Vec<&str> = args.iter().chain(*more).copied().collect();
        let (status, told) = words(&load(&args));
        assert_eq!(status, Some(2), "{args:?}: {told}");
        assert!(told.contains(word), "{args:?}: {word:?} is not in {told}");
    }
}

#[test]
fn a_scenario_that_stops_is_1_and_tells_what_was_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let fake = Fake::clear(vec![script(&[], Then::Hang)]);
    let ca = fake.roots();
    let output = load(&["idle", "--target", &address, "--ca", ca.to_str().unwrap(), "--json"]);
    let (status, told) = words(&output);
    assert_eq!(status, Some(1), "{told}");
    assert!(told.contains("stopped") && told.contains("refused"), "{told}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["stopped"].as_str().unwrap().contains("refused"), "{report}");
    assert_eq!(report["operations"], 0);
}

#[test]
fn a_scenario_from_a_file_takes_the_usual_numbers_for_what_it_leaves_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    let fake = Fake::clear(vec![script(&[], Then::Hang)]);
    let ca = fake.roots();
    let run = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let at = fake.address.to_string();
        words(&load(&[
            "run",
            file.to_str().unwrap(),
            "--target",
            &at,
            "--ca",
            ca.to_str().unwrap(),
            "--patience",
            "0.3",
        ]))
    };
    for (text, status, word) in [
        ("kind = 'chat'\npairs = 7\n", 1, "0 of 14 logins done"),
        ("kind = 'chat'\npairs = 7\nspeed = 1\n", 2, "unknown field `speed`"),
        ("kind = 'tango'\n", 2, "no kind of scenario is called tango"),
        ("kind = \n", 2, "mine.toml"),
        ("pairs = 7\n", 2, "no kind of scenario"),
    ] {
        let (got, told) = run(text);
        assert_eq!(got, Some(status), "{text}: {told}");
        assert!(told.contains(word), "{text}: {told}");
    }
}
