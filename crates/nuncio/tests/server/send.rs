//! `nuncio send`.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use nuncio_client::Event;

use crate::harness::{PASSWORD, Place, Running, bodies, online, wait};

/// Runs `nuncio send` from `alice`, with her password in the environment.
fn send(place: &Place, server: &Running, words: &[&str], input: &str) -> Output {
    let ca = server.authority.to_string_lossy().into_owned();
    let address = server.c2s.to_string();
    let common = ["--from", "alice@localhost", "--server", &address, "--ca", &ca];
    run(place, &[words, &common].concat(), input, &[("NUNCIO_PASSWORD", PASSWORD)])
}

fn run(place: &Place, words: &[&str], input: &str, variables: &[(&str, &str)]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nuncio"))
        .arg("send")
        .args(words)
        .current_dir(place.path())
        .env_remove("NUNCIO_PASSWORD")
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn good(output: &Output) {
    assert_eq!((output.status.code(), said(output)), (Some(0), String::new()));
}

fn told(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// From the arguments, from standard input, with the password from each source; over STARTTLS and direct TLS.
#[tokio::test]
async fn a_message_arrives() {
    let place = Place::new(&[]);
    let server = place.serve();
    place.accounts(&["alice", "bob"]);
    let mut bob = online(server.client("bob")).await;
    good(&send(&place, &server, &["bob@localhost", "one"], ""));
    good(&send(
        &place,
        &server,
        &["bob@localhost", "--subject", "news", "--type", "normal"],
        "two\n& <more>\n",
    ));
    // What XML cannot carry is replaced, so that whatever a program prints can be sent.
    good(&send(
        &place,
        &server,
        &["bob@localhost", "a\u{1b}[1mb", "--mechanism", "PLAIN", "--mechanism", "SCRAM-SHA-1"],
        "",
    ));

    let ca = server.authority.to_string_lossy().into_owned();
    let direct = format!("localhost:{}", server.c2s_tls.port());
    std::fs::write(place.path().join("secret"), format!("{PASSWORD}\nnot this\n")).unwrap();
    let common = ["bob@localhost", "--from", "alice@localhost", "--server", &direct, "--direct-tls"];
    let with = |more: &[&'static str]| [&common, more].concat();
    // The authorities of the system, which the library finds by this variable too.
    let system = [("SSL_CERT_FILE", ca.as_str())];
    good(&run(&place, &with(&["three", "--password-file", "secret"]), "", &system));
    good(&run(&place, &with(&["--password-stdin"]), &format!("{PASSWORD}\r\nfour\nfive"), &system));

    let messages = ["one", "two\n& <more>", "a\u{fffd}[1mb", "three", "four\nfive"];
    let mut seen = Vec::new();
    while seen.len() < messages.len() {
        let stanza = wait(&mut bob, |event| match event {
            Event::Stanza(stanza) => Some(stanza),
            _ => None,
        })
        .await;
        if let Some(body) = stanza.body_text() {
            assert!(stanza.from().unwrap().as_str().starts_with("alice@localhost/"));
            if seen.len() == 1 {
                assert_eq!(stanza.own_child("subject").unwrap().text(), "news");
            }
            seen.push(body.into_owned());
        }
    }
    assert_eq!(seen, messages);
}

/// Taken by the server for somebody who is away; the answer for programs says so.
#[tokio::test]
async fn what_the_server_has_is_told() {
    let place = Place::new(&[]);
    let server = place.serve();
    place.accounts(&["alice", "bob"]);
    let output = send(&place, &server, &["bob@localhost", "later", "--json"], "");
    good(&output);
    let told = told(&output);
    assert_eq!((&told["accepted"], &told["acknowledged"]), (&true.into(), &true.into()));
    assert_eq!(told["to"], "bob@localhost");
    assert!(
        told["from"].as_str().unwrap().starts_with("alice@localhost/")
            && told["id"].as_str().unwrap().len() == 26
    );
    assert_eq!(bodies(&mut online(server.client("bob")).await, 1).await, ["later"]);
}

/// Status 1, with the reason: nobody has that address, a wrong password, a server of another domain, one by an unknown authority, none.
#[tokio::test]
async fn refusals_have_reasons() {
    let place = Place::new(&[]);
    let server = place.serve();
    place.accounts(&["alice"]);
    let refused = |output: &Output| {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        said(output)
    };
    for _ in 0..5 {
        let why = refused(&send(&place, &server, &["nobody@localhost", "x"], ""));
        assert!(
            why.contains("came back by nobody@localhost") && why.contains("service-unavailable"),
            "{why}"
        );
    }
    let output = send(&place, &server, &["nobody@localhost", "x", "--json"], "");
    refused(&output);
    let told = told(&output);
    assert_eq!(told["accepted"], false);
    assert!(told["reason"].as_str().unwrap().contains("service-unavailable"), "{told}");

    let ca = server.authority.to_string_lossy().into_owned();
    let address = server.c2s.to_string();
    let with = |from: &str, server: &str, ca: &str, password: &str| {
        let words = ["bob@localhost", "x", "--from", from, "--server", server, "--ca", ca];
        refused(&run(&place, &words, "", &[("NUNCIO_PASSWORD", password)]))
    };
    let why = with("alice@localhost", &address, &ca, "wrong");
    assert!(why.contains("refused the login: not-authorized"), "{why}");
    let why = with("alice@example.org", &address, &ca, PASSWORD);
    assert!(why.contains("host-unknown"), "{why}");
    let other = Place::new(&[]);
    let elsewhere = other.serve();
    let why = with("alice@localhost", &elsewhere.c2s.to_string(), &ca, PASSWORD);
    // S3-23: the reason with its code, what to change, and the certificate; a pin for just that one goes on, as far as the login.
    assert!(why.contains("(unknown-issuer)") && why.contains("what to change: "), "{why}");
    let (_, shown) = why.trim_end().rsplit_once("SHA-256 ").unwrap();
    let there = elsewhere.c2s.to_string();
    let words = ["bob@localhost", "x", "--from", "alice@localhost", "--server", &there, "--ca", &ca];
    let secret = [("NUNCIO_PASSWORD", PASSWORD)];
    let why = refused(&run(&other, &[&words[..], &["--pin", shown]].concat(), "", &secret));
    assert!(why.contains("refused the login"), "{why}");
    let output = run(&other, &[&words[..], &["--json"]].concat(), "", &secret);
    refused(&output);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["code"], &json["certificate"]), (&"unknown-issuer".into(), &shown.into()));
    assert!(json["advice"].as_str().unwrap().contains("--ca"), "{json}");
    drop(elsewhere);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let why = with("alice@localhost", &closed, &ca, PASSWORD);
    assert!(why.contains("no connection"), "{why}");
    // One who takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let words = [
        "b@localhost",
        "x",
        "--from",
        "alice@localhost",
        "--server",
        &address,
        "--ca",
        &ca,
        "--timeout",
        "1",
    ];
    let why = refused(&run(&place, &words, "", &[("NUNCIO_PASSWORD", PASSWORD)]));
    assert!(why.contains("no answer within 1 s"), "{why}");
}

/// Status 2, before anything is sent.
#[test]
fn wrong_use() {
    let place = Place::new(&[]);
    let secret = [("NUNCIO_PASSWORD", PASSWORD)];
    std::fs::write(place.path().join("empty"), "\n").unwrap();
    std::fs::write(place.path().join("no.pem"), "nothing\n").unwrap();
    let long = "x".repeat((1 << 20) + 1);
    let from = ["--from", "alice@localhost"];
    for (words, input, variables, why) in [
        (&["bob@", "x"][..], "", &secret[..], "bob@"),
        (&["bob@localhost", "x", "--from", "localhost"], "", &secret, "no account"),
        (&["bob@localhost", "x", "--from", "a@b@c"], "", &secret, "a@b@c"),
        (&["bob@localhost", "x"], "", &[], "NUNCIO_PASSWORD"),
        (&["bob@localhost", "x", "--password-file", "missing"], "", &secret, "missing"),
        (&["bob@localhost", "x", "--password-file", "empty"], "", &secret, "password is empty"),
        (&["bob@localhost", "--password-stdin"], "", &secret, "password is empty"),
        (&["bob@localhost"], "\n", &secret, "nothing to send"),
        (&["bob@localhost"], &long, &secret, "more than"),
        (&["bob@localhost", "x", "--server", "host:port"], "", &secret, "no port"),
        (&["bob@localhost", "x", "--server", ""], "", &secret, "no server"),
        (&["bob@localhost", "x", "--ca", "missing.pem"], "", &secret, "missing.pem"),
        (&["bob@localhost", "x", "--ca", "no.pem"], "", &secret, "no.pem"),
        (&["bob@localhost", "x", "--type", "groupchat"], "", &secret, "groupchat"),
        (&["bob@localhost", "x", "--password", "y"], "", &secret, "--password"),
        (&["bob@localhost", "x", "--mechanism", "MD5"], "", &secret, "MD5"),
        (&["bob@localhost", "x", "--timeout", "0"], "", &secret, "--timeout"),
    ] {
        let words = if words.contains(&"--from") { words.to_vec() } else { [words, &from].concat() };
        let output = run(&place, &words, input, variables);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {output:?}");
        assert!(said(&output).contains(why), "{words:?}: {}", said(&output));
        assert!(output.stdout.is_empty());
    }
}
