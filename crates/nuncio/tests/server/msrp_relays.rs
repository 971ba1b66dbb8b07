//! `nuncio msrp` with the relay of a server: credentials by XMPP, sessions through it, and how they end.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{PASSWORD, PATIENCE, Place, Running};
use crate::msrp_tools::{Receiver, command, parts, reason, said};

/// A server with two accounts, and what its clients have to know of it.
struct Stage {
    place: Place,
    server: Running,
    at: Vec<String>,
}

impl Stage {
    fn new(lines: &[&str]) -> Self {
        let place = Place::new(lines);
        place.accounts(&["alice", "bob"]);
        let server = place.serve();
        let ca = server.authority.to_string_lossy().into_owned();
        let at = ["--server", &server.c2s.to_string(), "--ca", &ca].map(str::to_owned).into();
        Self { place, server, at }
    }

    fn folder(&self) -> &Path {
        self.place.path()
    }

    /// Words, and where the account's server is.
    fn with<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        words.iter().copied().chain(self.at.iter().map(String::as_str)).collect()
    }

    fn run(&self, words: &[&str], password: &str) -> Output {
        command(self.folder(), &self.with(words)).env("NUNCIO_PASSWORD", password).output().unwrap()
    }

    /// Bob, behind the relay that his server names.
    fn bob(&self, words: &[&str]) -> Receiver {
        let words = self.with(&[&["--account", "bob@localhost"][..], words].concat());
        Receiver::with_password(self.folder(), &words, PASSWORD)
    }

    fn relay(&self) -> String {
        format!("msrps://localhost:{};tcp", self.server.msrp.unwrap().port())
    }
}

/// XEP-0215, RFC 4976 §5.1: credentials for the relay of an account's server, for people and for programs; they log in there.
#[test]
fn credentials_are_fetched() {
    let stage = Stage::new(&[]);
    let output = stage.run(&["credentials", "alice@localhost"], PASSWORD);
    assert_eq!((output.status.code(), said(&output)), (Some(0), String::new()));
    let text = String::from_utf8(output.stdout).unwrap();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().to_owned()
    };
    let port = stage.server.msrp.unwrap().port();
    assert_eq!(
        (field("relay"), field("host"), field("port")),
        (stage.relay(), "localhost".into(), port.to_string())
    );
    assert_eq!(field("transport"), "tcp");
    assert!(field("username").ends_with(":alice@localhost") && field("expires").ends_with('Z'), "{text}");

    let output = stage.run(&["credentials", "alice@localhost", "--json"], PASSWORD);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let service = &told["services"][0];
    assert_eq!((&service["relay"], &service["port"]), (&stage.relay().into(), &port.into()));
    std::fs::write(stage.folder().join("secret"), service["password"].as_str().unwrap()).unwrap();
    let (relay, user) = (stage.relay(), service["username"].as_str().unwrap());
    let login = ["--relay", &relay, "--user", user, "--password-file", "secret", "--ca", &stage.at[3]];
    let receiver = Receiver::with_password(stage.folder(), &login, "");
    let sent = stage.run(&["send", "--to-sdp", "bob.sdp", "--account", "bob@localhost", "Hello"], PASSWORD);
    assert_eq!((sent.status.code(), said(&sent)), (Some(0), String::new()));
    let (told, status) = receiver.end();
    assert_eq!((told[0]["text"].as_str(), status), (Some("Hello"), Some(0)));

    let output = stage.run(&["credentials", "alice@localhost"], "wrong");
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("alice@localhost: the server refused the login"), "{}", said(&output));
}

/// RFC 4976, XEP-0215: with an account alone both ends are behind its server's relay; with a relay named as well, that one is used. Files arrive byte for byte.
#[test]
fn an_account_is_enough() {
    let stage = Stage::new(&[]);
    std::fs::create_dir(stage.folder().join("in")).unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(700_000).collect();
    std::fs::write(stage.folder().join("photo.bin"), &bytes).unwrap();
    let relay = stage.relay();
    for more in [&[][..], &["--relay", &relay]] {
        let receiver = stage.bob(&[more, &["--folder", "in"]].concat());
        let words = ["send", "--to-sdp", "bob.sdp", "--file", "photo.bin", "--account", "alice@localhost"];
        let sent = stage.run(&[&words[..], more].concat(), PASSWORD);
        assert_eq!((sent.status.code(), said(&sent)), (Some(0), String::new()));
        let (told, status) = receiver.end();
        assert_eq!(status, Some(0), "{told:?}");
        let file = stage.folder().join(told[0]["file"].as_str().unwrap());
        assert_eq!(std::fs::read(file).unwrap(), bytes);
    }
    assert_eq!(parts(&stage.folder().join("in")), 0);
    let words = ["send", "--to-sdp", "bob.sdp", "--account", "alice@localhost", "x"];
    let refused = stage.run(&words, "wrong");
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("refused the login"), "{}", said(&refused));
}

/// S1-L5: a receiver whose relay stops, or has ended its account's login, says so at once, and not that a sender has gone.
#[test]
fn a_relay_that_is_gone() {
    for disabled in [true, false] {
        let mut stage = Stage::new(&[]);
        let receiver = stage.bob(&[]);
        match disabled {
            true => drop(stage.place.must(&["account", "disable", "bob@localhost"], "")),
            false => stage.server.stop(),
        }
        let (told, status) = receiver.end();
        let there =
            format!("localhost:{}: the relay closed the connection", stage.server.msrp.unwrap().port());
        assert_eq!(status, Some(1));
        assert!(reason(&told).starts_with(&there), "{told:?}");
        let why = if disabled { "refused the login: account-disabled" } else { "no connection" };
        assert!(reason(&told).contains(why), "{told:?}");
    }
}

/// RFC 4976 §6.4: a sender who is behind the receiver's relay and goes in the middle of a message, or before his next one, is noticed.
#[test]
fn a_sender_that_is_gone() {
    let stage = Stage::new(&["msrp.bytes_per_second = 500000"]);
    let file = std::fs::File::create(stage.folder().join("long.bin")).unwrap();
    file.set_len(100_000_000).unwrap();
    std::fs::create_dir(stage.folder().join("in")).unwrap();
    for midway in [true, false] {
        let receiver = stage.bob(&["--folder", "in", "--count", "2", "--patience", "2"]);
        let words = match midway {
            true => ["send", "--to-sdp", "bob.sdp", "--file", "long.bin"],
            false => ["send", "--to-sdp", "bob.sdp", "--type", "text/plain"],
        };
        let mut sender = command(stage.folder(), &[&words[..], &["--ca", &stage.at[3]]].concat());
        if midway {
            let mut sender = sender.stderr(Stdio::null()).spawn().unwrap();
            let deadline = Instant::now() + PATIENCE;
            while parts(&stage.folder().join("in")) == 0 {
                assert!(Instant::now() < deadline, "nothing comes");
                std::thread::sleep(Duration::from_millis(5));
            }
            sender.kill().unwrap();
            sender.wait().unwrap();
        } else {
            let sent = sender.arg("Hello").output().unwrap();
            assert_eq!((sent.status.code(), said(&sent)), (Some(0), String::new()));
        }
        let began = Instant::now();
        let (told, status) = receiver.end();
        assert_eq!(status, Some(1));
        assert!(reason(&told).starts_with("the sender "), "{told:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}: {told:?}", began.elapsed());
        assert_eq!(parts(&stage.folder().join("in")), 0);
    }
}

/// A relay goes to whoever proves a name; that a 481 may come of that is said.
#[test]
fn a_numeric_address_behind_the_own_relay_is_named() {
    let stage = Stage::new(&[]);
    let send = ["send", "--to", "msrps://127.0.0.1:9/nobody;tcp", "--account", "alice@localhost", "Hello"];
    let output = stage.run(&send, PASSWORD);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("(481)") && told.contains("does not go to 127.0.0.1"), "{told}");
}
