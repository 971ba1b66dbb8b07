//! `openssl s_client` and `s_server` at the other end.

use std::sync::Arc;

use nuncio_sansio::{Eof, TlsVersion};

use super::toy::{Ear, Heard, Made, Openssl, Server};
use crate::tls::{TlsHosts, TlsSettings, UnknownName};

struct Two {
    a: Made,
    b: Made,
    hosts: Arc<TlsHosts>,
}

fn two(unknown: UnknownName) -> Two {
    let (a, b) = (Made::new("a.example"), Made::new("b.example"));
    let settings = TlsSettings {
        hosts: vec![a.host("a.example"), b.host("b.example")],
        default: Some("a.example".to_owned()),
        unknown,
        ..TlsSettings::default()
    };
    let (hosts, warnings) = TlsHosts::load(settings).unwrap();
    assert_eq!(warnings, []);
    Two { a, b, hosts: Arc::new(hosts) }
}

fn facts(ear: &mut Ear) -> nuncio_sansio::TlsFacts {
    match ear.next_blocking() {
        Heard::Tls(facts) => *facts,
        other => panic!("{other:?} before TLS"),
    }
}

/// Connects, saves or uses a session, echoes, quits. Returns whether it was resumed, after making sure that both ends agree.
fn session(server: &Server, version: &str, name: &str, file: &str, save: bool) -> bool {
    let option = if save { "-sess_out" } else { "-sess_in" };
    let mut client = Openssl::client(server.address, &[version, "-servername", name, option, file]);
    client.echo("hello");
    let facts = facts(&mut server.ear());
    let seen = client.quit();
    let resumed = seen.contains("Reused, TLSv");
    assert_ne!(resumed, seen.contains("New, TLSv"), "{seen}");
    assert_eq!(facts.resumed, resumed);
    assert_eq!(facts.server_name.as_deref(), Some(name));
    resumed
}

/// S0-02: a session is resumed, on the same host of the same kind of listener only. S0-28: after a reset it is not.
#[test]
fn s0_02_s0_28_resumption() {
    for version in ["-tls1_2", "-tls1_3"] {
        let two = two(UnknownName::Default);
        let direct = Server::new(Arc::clone(&two.hosts), true);
        let file = two.a.path("session");
        let file = file.to_str().unwrap();
        assert!(!session(&direct, version, "a.example", file, true));
        assert!(session(&direct, version, "a.example", file, false), "{version}: the same host");
        assert!(!session(&direct, version, "b.example", file, false), "{version}: another host");
        two.hosts.reload().unwrap();
        assert!(
            session(&direct, version, "a.example", file, false),
            "{version}: a reload that changes nothing"
        );
        two.hosts.reset_tickets_of("b.example").unwrap();
        assert!(session(&direct, version, "a.example", file, false), "{version}: a reset of another host");
        two.hosts.reset_tickets().unwrap();
        assert!(!session(&direct, version, "a.example", file, false), "{version}: after a reset");
        assert!(direct.metrics.handshakes(if version == "-tls1_2" { "1.2" } else { "1.3" }, "resumed") >= 1);
    }
}

/// A certificate that was changed is shown after a reload, and sessions that knew the old one are over.
#[test]
fn a_reload_shows_the_new_certificate() {
    let two = two(UnknownName::Default);
    let server = Server::new(Arc::clone(&two.hosts), true);
    let file = two.a.path("session");
    let file = file.to_str().unwrap();
    assert!(!session(&server, "-tls1_3", "a.example", file, true));
    let before = two.hosts.certificates();

    let other = Made::new("a.example");
    std::fs::copy(&other.ca.chain, &two.a.ca.chain).unwrap();
    let error = two.hosts.reload().unwrap_err().to_string();
    assert!(error.contains("host-key.pem: holds a key that does not match the certificate in"), "{error}");
    assert!(session(&server, "-tls1_3", "a.example", file, false), "the old one is still in use");

    std::fs::copy(&other.ca.key, &two.a.ca.key).unwrap();
    assert_eq!(two.hosts.reload().unwrap(), []);
    assert_eq!(two.hosts.certificates().len(), before.len());
    assert!(!session(&server, "-tls1_3", "a.example", file, false));
    let roots = other.ca.authority.to_str().unwrap();
    let args = ["-servername", "a.example", "-CAfile", roots, "-verify_hostname", "a.example"];
    let mut client = Openssl::client(server.address, &args);
    client.echo("hello");
    assert!(client.quit().contains("Verify return code: 0 (ok)"));
}

/// The certificate is chosen by SNI; who names nobody gets the default host, who names a stranger gets what was configured.
#[test]
fn the_server_name_chooses_the_certificate() {
    let two = two(UnknownName::Default);
    let server = Server::new(Arc::clone(&two.hosts), true);
    let cases: [(&[&str], &Made); 4] = [
        (&["-servername", "a.example"], &two.a),
        (&["-servername", "B.Example"], &two.b),
        (&["-noservername"], &two.a),
        (&["-servername", "stranger.example"], &two.a),
    ];
    for (args, made) in cases {
        let roots = made.ca.authority.to_str().unwrap();
        let mut client = Openssl::client(server.address, &[args, &["-CAfile", roots]].concat());
        client.echo("hello");
        assert!(client.quit().contains("Verify return code: 0 (ok)"), "{args:?}");
    }

    let refusing = self::two(UnknownName::Refuse);
    let server = Server::new(Arc::clone(&refusing.hosts), true);
    let seen = Openssl::client(server.address, &["-servername", "stranger.example"]).ended();
    assert!(seen.contains("alert access denied"), "{seen}");
    assert_eq!(server.metrics.handshakes("none", "refused"), 1);
    let mut nameless = Openssl::client(server.address, &["-noservername"]);
    nameless.echo("hello");
    nameless.quit();
}

/// S0-35 and RFC 8996: static RSA, CBC and old versions are refused, with an alert, and the connection ends.
#[test]
fn s0_35_old_algorithms_are_refused() {
    let two = two(UnknownName::Default);
    let server = Server::new(two.hosts, true);
    let cases: [(&[&str], &str); 4] = [
        (&["-tls1_2", "-cipher", "AES128-SHA"], "alert handshake failure"),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"], "alert handshake failure"),
        (&["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], "alert handshake failure"),
        (&["-tls1", "-cipher", "DEFAULT@SECLEVEL=0"], "alert handshake failure"),
    ];
    for (args, alert) in cases {
        let seen = Openssl::client(server.address, args).ended();
        assert!(seen.contains(alert), "{args:?}:\n{seen}");
        let heard = server.ear().until_closed();
        assert!(matches!(heard[..], [Heard::Eof(Eof::Reset)]), "{heard:?}");
    }
    assert_eq!(server.metrics.handshakes("none", "failed"), 4);
}

/// ALPN of direct TLS (XEP-0368): `xmpp-client` is agreed upon, a client that offers only another is refused, one without is fine.
#[test]
fn direct_tls_speaks_alpn() {
    let two = two(UnknownName::Default);
    let server = Server::new(two.hosts, true);
    let mut client = Openssl::client(server.address, &["-alpn", "xmpp-client"]);
    client.echo("hello");
    assert!(client.quit().contains("ALPN protocol: xmpp-client"));
    let seen = Openssl::client(server.address, &["-alpn", "h2"]).ended();
    assert!(seen.contains("alert no application protocol"), "{seen}");
}

/// S0-23: `close_notify` goes out before TCP is closed, and the peer's is heard; without it the end is a truncation, and counted.
#[test]
fn s0_23_close_notify_both_ways() {
    for version in ["-tls1_2", "-tls1_3"] {
        let two = two(UnknownName::Default);
        let server = Server::new(two.hosts, true);

        let mut client = Openssl::client(server.address, &[version, "-msg", "-servername", "a.example"]);
        client.echo("hello");
        client.send("bye");
        let seen = client.ended();
        let after = seen.split("echo hello").last().unwrap();
        let received = after
            .split("<<< ")
            .skip(1)
            .any(|message| message.lines().next().unwrap().ends_with("warning close_notify"));
        assert!(received, "{seen}");
        server.ear().until_closed();

        let mut client = Openssl::client(server.address, &[version]);
        client.echo("hello");
        client.quit();
        let heard = server.ear().until_closed();
        assert!(matches!(heard.last(), Some(Heard::Eof(Eof::Clean))), "{heard:?}");
        assert_eq!(server.metrics.truncations(), 0);

        let mut client = Openssl::client(server.address, &[version]);
        client.echo("hello");
        client.kill();
        let heard = server.ear().until_closed();
        assert!(matches!(heard.last(), Some(Heard::Eof(Eof::Truncated))), "{heard:?}");
        assert_eq!(server.metrics.truncations(), 1);
    }
}

/// S2-04, S2-08: a renegotiation on TLS 1.2 costs the connection, nothing is written, and it is counted.
#[test]
fn s2_04_renegotiation_ends_the_connection() {
    let two = two(UnknownName::Default);
    let server = Server::new(two.hosts, true);
    let mut client = Openssl::client(server.address, &["-tls1_2", "-msg"]);
    client.echo("hello");
    client.send("R");
    let seen = client.ended();
    // The messages come in order on one stream, the announcement on another.
    assert!(seen.contains("RENEGOTIATING"), "{seen}");
    let after = seen.split("echo hello").nth(1).unwrap();
    assert!(after.contains(">>> ") && after.contains("ClientHello"), "{after}");
    assert!(!after.contains("<<< "), "something came back:\n{after}");
    let heard = server.ear().until_closed();
    assert!(matches!(heard.last(), Some(Heard::Eof(Eof::Reset))), "{heard:?}");
    assert_eq!(server.metrics.renegotiations(), 1);
}

/// S2-06: key updates of TLS 1.3, one-sided and requested, change nothing for the stream.
#[test]
fn s2_06_key_updates_go_on() {
    let two = two(UnknownName::Default);
    let server = Server::new(two.hosts, true);
    let mut client = Openssl::client(server.address, &["-tls1_3"]);
    client.echo("one");
    client.send("k");
    client.expect("KEYUPDATE");
    client.echo("two");
    client.send("K");
    client.expect("echo two\nKEYUPDATE");
    client.echo("three");
    client.echo("four");
    client.quit();
    let heard = server.ear().until_closed();
    assert!(matches!(heard.last(), Some(Heard::Eof(Eof::Clean))), "{heard:?}");
    assert_eq!(server.metrics.renegotiations(), 0);
}

/// S2-07: nobody is asked for a certificate, neither in the handshake nor after it, unless the host is configured so.
#[test]
fn s2_07_no_certificate_request() {
    let two = two(UnknownName::Default);
    let server = Server::new(two.hosts, true);
    for version in ["-tls1_2", "-tls1_3"] {
        let mut client = Openssl::client(
            server.address,
            &[version, "-msg", "-enable_pha"][..if version == "-tls1_2" { 2 } else { 3 }],
        );
        client.echo("hello");
        let seen = client.quit();
        assert!(!seen.contains("CertificateRequest"), "{seen}");
    }
}

/// Channel bindings are those that the other end computes: RFC 9266 on TLS 1.3 only, RFC 5929 §4 on both.
#[test]
fn channel_bindings_agree_with_openssl() {
    let two = two(UnknownName::Default);
    let server = Server::new(two.hosts, true);
    let chain = two.a.ca.chain.to_str().unwrap();
    let print = Openssl::run(&["x509", "-in", chain, "-noout", "-fingerprint", "-sha256"]).ended();
    let print = print.trim().rsplit('=').next().unwrap().replace(':', "");
    for version in ["-tls1_2", "-tls1_3"] {
        let args = [version, "-keymatexport", "EXPORTER-Channel-Binding", "-keymatexportlen", "32"];
        let mut client = Openssl::client(server.address, &args);
        client.echo("hello");
        let facts = facts(&mut server.ear());
        let seen = client.quit();
        assert_eq!(hex(facts.server_end_point.as_deref().unwrap()), print);
        if version == "-tls1_3" {
            assert_eq!(facts.version, TlsVersion::Tls13);
            assert!(facts.suite.starts_with("TLS_AES_"), "{}", facts.suite);
            let exported = format!("Keying material: {}", hex(&facts.exporter.unwrap()));
            assert!(seen.contains(&exported), "no {exported} in:\n{seen}");
        } else {
            assert_eq!(facts.version, TlsVersion::Tls12);
            assert!(facts.suite.starts_with("TLS_ECDHE_"), "{}", facts.suite);
            assert_eq!(facts.exporter, None);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
