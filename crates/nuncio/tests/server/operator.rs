//! What an operator types before anything runs: checks of other domains, and what to publish.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use nuncio_net::ca;
use serde_json::Value;

use crate::harness::Place;

/// A configuration that serves `us.example`, asks no name server, and has these lines besides.
fn us(lines: &[&str]) -> Place {
    let mut all = vec![
        "domain = [{ name = \"us.example\" }]",
        "federation.dns.validate = \"off\"",
        "federation.posh.enabled = false",
        // Nobody listens there.
        "federation.dns.servers = [\"127.0.0.1:9\"]",
    ];
    all.extend(lines);
    Place::new(&all)
}

/// The certificate that the local authority makes at a start.
fn with_certificate(place: &Place) {
    ca::local(&place.data().join("tls"), &["us.example".to_owned()]).unwrap();
}

fn said(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A check reads: without a certificate it says so and shows none, and nothing is made.
#[test]
fn a_check_writes_nothing() {
    let place = us(&["federation.hosts.\"them.example\" = \"127.0.0.1:9\""]);
    for command in [
        &["check", "them.example"][..],
        &["check", "them.example", "--json"],
        &["tlsa"],
        &["posh"],
        &["config", "check"],
        &["config", "show"],
    ] {
        let output = place.run(command, "");
        assert!(output.status.code().is_some_and(|code| code < 2), "{command:?}: {}", said(&output));
        assert!(!place.data().exists(), "{command:?} made the data folder");
    }
    let text = said(&place.run(&["check", "them.example"], ""));
    assert!(text.contains("there is no certificate to show: name one (domain[].certificate)"), "{text}");
    let json: Value =
        serde_json::from_slice(&place.run(&["check", "them.example", "--json"], "").stdout).unwrap();
    assert_eq!(json["us"]["certificate"], false, "{json:#}");
    let output = place.run(&["tlsa"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("no certificate for us.example yet"), "{}", said(&output));
}

/// RFC 7712 §4: what others can prove about us is judged by the public authorities, and by those that are believed here.
#[test]
fn whom_others_trust_is_said() {
    let place = us(&[
        "federation.authorities = [\"data/tls/ca.pem\"]",
        "federation.hosts.\"them.example\" = \"127.0.0.1:9\"",
    ]);
    with_certificate(&place);
    let text = said(&place.run(&["check", "them.example"], ""));
    let (_, rest) = text.split_once("to who believes the public authorities").expect(&text);
    let (public, own) =
        rest.split_once("to who believes the authorities of federation.authorities").expect(&text);
    assert!(public.contains("not by pkix") && !public.contains("us.example is proven by pkix"), "{text}");
    assert!(own.contains("us.example is proven by pkix"), "{text}");
    let json: Value =
        serde_json::from_slice(&place.run(&["check", "them.example", "--json"], "").stdout).unwrap();
    let judgements = json["us"]["judgements"].as_array().unwrap();
    let accepted: Vec<_> =
        judgements.iter().map(|one| one["judgement"]["accepted"].as_bool().unwrap()).collect();
    assert_eq!(accepted, [false, true], "{json:#}");
    assert_eq!(json["us"]["judgement"], judgements[0]["judgement"]);
}

/// Status 2, with what would be right.
#[test]
fn wrong_use_is_told_from_what_fails() {
    let place = us(&[]);
    with_certificate(&place);
    for (command, text) in [
        (&["check", "192.0.2.1"][..], "`192.0.2.1` is not a domain: it is an IP address"),
        (&["check", "[2001:db8::1]"], "it is an IP address"),
        (&["check", "192.0.2.1:5269"], "it is an IP address"),
        (&["check", "romeo@them.example"], "it is somebody's address"),
        (&["check", "them..example"], "write it as in example.org"),
        (&["check", "US.example"], "served here"),
        (&["check", "them.example", "--from", "other.example"], "served are us.example"),
        (&["federation", "explain", "192.0.2.1"], "it is an IP address"),
        (&["tlsa", "--domain", "other.example"], "served are us.example"),
        (&["tlsa", "--host", "xmpp.us.example:0"], "0 is not a port; take 1 to 65535"),
        (&["tlsa", "--host", "xmpp.us.example:x"], "x is not a port"),
        (&["tlsa", "--ttl", "4294967295"], "604800"),
        (&["tlsa", "--next", "missing.pem"], "missing.pem: cannot be read"),
        (&["posh", "--next", "missing.pem"], "missing.pem: cannot be read"),
        (&["posh", "--next", "nuncio.toml"], "nuncio.toml: holds no certificate"),
        (&["posh", "--expires", "99999999999"], "31536000"),
        (&["posh", "--expires", "0"], "31536000"),
        (&["posh", "--refer", "http://hoster.example/"], "no https address"),
        (&["posh", "--refer", "https://hoster.example/x.json", "--next", "nuncio.toml"], "--next"),
        (&["posh", "--refer", "https://hoster.example/x.json", "--domain", "us.example"], "--domain"),
    ] {
        let output = place.run(command, "");
        assert_eq!(output.status.code(), Some(2), "{command:?}: {}", said(&output));
        assert!(said(&output).contains(text), "{command:?}: no {text:?} in {}", said(&output));
    }
    // What the configuration names and nobody can read is the configuration's fault.
    for key in ["federation.authorities", "federation.revocation_lists", "federation.posh.authorities"] {
        let place = us(&[&format!("{key} = [\"missing\"]")]);
        let output = place.run(&["check", "them.example"], "");
        assert_eq!(output.status.code(), Some(2), "{key}: {}", said(&output));
        let at = format!(": {key}: ");
        assert!(said(&output).contains(&at), "{}", said(&output));
    }
}

/// RFC 7671 §8.1, RFC 7711 §3.1: both certificates are published before one follows the other.
#[test]
fn what_follows_is_published_beside_what_is_there() {
    let place = us(&[]);
    with_certificate(&place);
    let next = ca::local(&place.path().join("next"), &["us.example".to_owned()]).unwrap();
    let next = next.chain.to_str().unwrap();
    let now: Vec<_> =
        place.must(&["tlsa", "--host", "xmpp.us.example:5269"], "").lines().map(str::to_owned).collect();
    assert_eq!(now.len(), 1);
    assert!(now[0].starts_with("_5269._tcp.xmpp.us.example. 3600 IN TLSA 3 1 1 "), "{now:?}");
    let both = place.must(&["tlsa", "--host", "xmpp.us.example:5269", "--next", next], "");
    assert_eq!((both.lines().count(), both.lines().next()), (2, Some(&*now[0])), "{both}");
    assert_eq!(place.must(&["tlsa"], "").lines().count(), 4, "two ports for servers, two for clients");
    let one: Value = serde_json::from_str(&place.must(&["posh"], "")).unwrap();
    let two: Value =
        serde_json::from_str(&place.must(&["posh", "--next", next, "--expires", "600"], "")).unwrap();
    let prints = two["fingerprints"].as_array().unwrap();
    assert_eq!(
        (prints.len(), &prints[1], &two["expires"]),
        (2, &one["fingerprints"][0], &600.into()),
        "{two}"
    );
    let refer: Value =
        serde_json::from_str(&place.must(&["posh", "--refer", "https://h.example/t.json"], "")).unwrap();
    assert_eq!((&refer["url"], refer.get("fingerprints")), (&"https://h.example/t.json".into(), None));
}

/// A server that closes each connection after it has read something and said this.
fn hangs_up(says: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for io in listener.incoming() {
            let mut io: TcpStream = io.unwrap();
            if !says.is_empty() {
                io.read_exact(&mut [0; 64]).unwrap();
                io.write_all(says.as_bytes()).unwrap();
            }
        }
    });
    address
}

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
                      from='them.example' to='us.example' id='1' version='1.0'>";

/// Whoever only hangs up is told at which step.
#[test]
fn the_step_of_who_hangs_up_is_told() {
    for (says, text) in
        [("", "before any stream header or TLS came"), (HEADER, "after the stream headers, before TLS")]
    {
        let address = hangs_up(says);
        let place = us(&[&format!("federation.hosts.\"them.example\" = \"{address}\"")]);
        with_certificate(&place);
        let output = place.run(&["check", "them.example"], "");
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let said = said(&output);
        assert!(said.trim_end().lines().last().unwrap().contains(text), "{text}: {said}");
    }
}

/// Every member that `check --json` has stands in the manual.
#[test]
fn the_manual_names_every_member() {
    let place = us(&["federation.hosts.\"them.example\" = \"127.0.0.1:9\""]);
    with_certificate(&place);
    let json: Value =
        serde_json::from_slice(&place.run(&["check", "them.example", "--json"], "").stdout).unwrap();
    let manual = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/manual/check.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    for part in [&json, &json["servers"][0], &json["us"], &json["us"]["judgements"][0]] {
        let members = part.as_object().unwrap();
        for member in members.keys() {
            assert!(manual.contains(&format!("*{member}*")), "*{member}* is not in check.md");
        }
    }
}
