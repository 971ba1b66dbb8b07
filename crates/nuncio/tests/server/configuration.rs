//! Mistakes in the configuration: exit status 2, and file, line, key and remedy are named.

use crate::harness::Place;

#[test]
fn mistakes_are_named() {
    let cases: &[(&str, &[&str])] = &[
        (
            "limits.stanza_byte = 1",
            &["nuncio.toml:LINE:", "limits.stanza_byte", "did you mean `limits.stanza_bytes`"],
        ),
        ("limits.stanza_bytes = 9999", &["nuncio.toml:LINE:", "limits.stanza_bytes: is 9999", "10000"]),
        ("limits.depth = \"deep\"", &["nuncio.toml:LINE:", "limits.depth", "help: "]),
        (
            "timeouts.login_seconds = 0",
            &["nuncio.toml:LINE:", "timeouts.login_seconds: is 0", "from 1 to 86400"],
        ),
        ("runtime.threads = 0", &["nuncio.toml:LINE:", "runtime.threads: is 0", "from 1 to 1024"]),
        ("nonsense", &["nuncio.toml:LINE:", "help: "]),
        (
            "domain = [{ name = \"a b\" }]",
            &["nuncio.toml:LINE:", "domain[].name", "`a b` is not a domain", "help: "],
        ),
        (
            "domain = [{ name = \"a.example\", key = \"k.pem\" }]",
            &["nuncio.toml:LINE:", "domain[].key", "certificate = "],
        ),
        ("domain = []", &["nuncio.toml:LINE:", "domain: is empty", "[[domain]]"]),
        (
            "extensions.carbonz.enabled = true",
            &["nuncio.toml:LINE:", "extensions.carbonz", "did you mean `extensions.carbons`"],
        ),
        (
            "extensions.carbons.enabled = 3",
            &["nuncio.toml:LINE:", "extensions.carbons.enabled", "true or false"],
        ),
        ("domain = [{}]", &["nuncio.toml:LINE:", "domain[].name: is missing", "name = \"example.org\""]),
        (
            "extensions.csi.hold_presence = 3",
            &["nuncio.toml:LINE:32: extensions.csi.hold_presence: invalid type", "extensions.md"],
        ),
        (
            "extensions.private.element = 3",
            &["nuncio.toml:LINE:30: extensions.private.element: unknown field", "extensions.md"],
        ),
    ];
    wrong(cases);
}

/// S3-29: what is wrong in `[federation]` is told by line and key, with what would be right.
#[test]
fn mistakes_about_other_servers_are_named() {
    wrong(&[
        (
            "federation.dns = { validate = \"trust-ad\", servers = [\"127.0.0.1:53\", \"192.0.2.1:53\"] }",
            &[
                "nuncio.toml:LINE:31: federation.dns.validate: ",
                "192.0.2.1:53",
                "not on this machine",
                "help: name a validating",
            ],
        ),
        (
            "federation.dns.servers = [\"127.0.0.1:0\"]",
            &["LINE:27: federation.dns.servers: `127.0.0.1:0`", "port 0", "53"],
        ),
        ("federation.dns.servers = [\"127.0.0.1\"]", &["LINE:27: federation.dns.servers: ", "with its port"]),
        (
            "federation.dns.validate = \"yes\"",
            &["LINE:27: federation.dns.validate: unknown variant `yes`", "`local`"],
        ),
        ("federation.posh.port = 0", &["LINE:24: federation.posh.port: is 0", "443"]),
        (
            "federation.posh.allow_networks = [\"10.0.0.0\"]",
            &["LINE:35: federation.posh.allow_networks: `10.0.0.0` is no network", "192.0.2.0/24"],
        ),
        (
            "federation.hosts.\"them.example\" = \"xmpp.them.example:5269\"",
            &["LINE:35: federation.hosts.\"them.example\": ", "names no IP address", "192.0.2.1:5269"],
        ),
        (
            "federation.hosts.\"them.example\" = [\"[::1]:1\", \"192.0.2.1\"]",
            &["LINE:47: ", "`192.0.2.1` has no port"],
        ),
        ("federation.hosts.\"them.example\" = \"192.0.2.1:70000\"", &["has no port that is a number"]),
        ("federation.hosts.\"them.example\" = \"192.0.2.1:0\"", &["has port 0"]),
        ("federation.hosts.\"them.example\" = []", &["names no server"]),
        (
            "federation.hosts.\"them.example\" = 5269",
            &["LINE:35: federation.hosts.", "expected an address with its port as text, or a list"],
        ),
        ("federation.hosts.\"a..b\" = \"192.0.2.1:1\"", &["`a..b` is no domain"]),
        ("federation.hosts.localhost = \"192.0.2.1:1\"", &["`localhost` is served here", "another server's"]),
        (
            "federation.hosts = { \"a.example\" = \"192.0.2.1:1\", \"A.example\" = \"192.0.2.1:1\" }",
            &["federation.hosts.\"a.example\": `a.example` stands twice"],
        ),
        (
            "federation.require = \"pkyx\"",
            &["LINE:22: federation.require: `pkyx`: ", "no name of a policy", "proofs.md"],
        ),
        (
            "federation.deny = [\"*.ok.example\", \"a b\"]",
            &["LINE:36: federation.deny: `a b` is not a domain", "*.example"],
        ),
        (
            "federation.peer = [{ require = \"pkix\" }]",
            &["LINE:20: federation.peer[].domain: is missing", "add `domain = "],
        ),
        (
            "federation.peer = [{ domain = \"localhost\" }]",
            &["federation.peer[].domain: `localhost` is served here"],
        ),
        (
            "federation.peer = [{ domain = \"a.example\" }, { domain = \"A.example\" }]",
            &["LINE:57: federation.peer[].domain: there are two rules", "number 1 and 2", "keep one"],
        ),
        (
            "federation.peer = [{ domain = \"a.example\", pins = [\"aa:bb\"] }]",
            &["LINE:52: federation.peer[].pins: `aa:bb` has 4 hexadecimal digits, not 64", "nuncio check"],
        ),
        (
            "federation.peer = [{ domain = \"a.example\", pins = [\"xyz\"] }]",
            &["other characters than hexadecimal"],
        ),
        (
            "federation.peer = [{ domain = \"a.example\", require = \"a or\" }]",
            &["federation.peer[].require: `a or`: "],
        ),
        // Files: what cannot be read, and what is something else.
        (
            "federation.authorities = [\"missing.pem\"]",
            &["LINE:27: federation.authorities: ", "missing.pem: cannot be read", "PEM"],
        ),
        (
            "federation.authorities = [\"nuncio.toml\"]",
            &["LINE:27: federation.authorities: ", "holds no certificate"],
        ),
        (
            "federation.posh.authorities = [\"missing.pem\"]",
            &["federation.posh.authorities: ", "cannot be read"],
        ),
        (
            "federation.revocation_lists = [\"missing.crl\"]",
            &["LINE:32: federation.revocation_lists: ", "missing.crl: cannot be read"],
        ),
        (
            "federation.revocation_lists = [\"nuncio.toml\"]",
            &["federation.revocation_lists: ", "revocation list cannot be used", "DER or PEM"],
        ),
        (
            "federation.dns.trust_anchors = \"missing\"",
            &["LINE:32: federation.dns.trust_anchors: ", "missing: cannot be read", "DS or DNSKEY"],
        ),
        (
            "federation.dns.trust_anchors = \"nuncio.toml\"",
            &["federation.dns.trust_anchors: ", "no trust anchors"],
        ),
        (
            "tls.client_authorities = [\"missing.pem\"]",
            &["LINE:27: tls.client_authorities: ", "cannot be read"],
        ),
        (
            "domain = [{ name = \"a.example\", certificate = \"c.pem\", key = \"k.pem\" }]",
            &[
                "LINE:47: domain[].certificate: ",
                "c.pem: cannot be read",
                "LINE:62: domain[].key: ",
                "k.pem: cannot be read",
            ],
        ),
    ]);
}

/// S3-29: what is wrong in `[msrp]`, by itself or beside another option, which is then named.
#[test]
fn mistakes_about_the_relay_are_named() {
    wrong(&[
        ("msrp.port = 0", &["LINE:13: msrp.port: is 0", "nobody listens", "2855 mostly"]),
        (
            "msrp.websocket_port = 0",
            &["LINE:23: msrp.websocket_port: is 0", "not listened for", "add `listen.msrp_websocket = "],
        ),
        (
            "msrp.expires_least = 61\nmsrp.credentials_seconds = 60",
            &["LINE:22: msrp.expires_least: is 61", "from 1 to 60 (msrp.credentials_seconds)"],
        ),
        (
            "msrp.expires_most = 59",
            &["LINE:21: msrp.expires_most: is 59", "from 60 (msrp.expires_least) to 604800"],
        ),
        (
            "msrp.expires_default = 59",
            &["LINE:24: msrp.expires_default: is 59", "to 86400 (msrp.expires_most)"],
        ),
        (
            "msrp.buffer_bytes = 2000000\nmsrp.buffers_bytes = 1048576",
            &["LINE:21: msrp.buffer_bytes: is 2000000", "from 16384 to 1048576 (msrp.buffers_bytes)"],
        ),
        ("msrp.bytes_per_second = 1", &["LINE:25: msrp.bytes_per_second: is 1", "1000 or more, or 0"]),
        ("msrp.algorithms = [\"md5\", \"md5\"]", &["LINE:27: msrp.algorithms: `md5` stands twice"]),
        ("msrp.relays = [\"a.example\", \"b c\"]", &["LINE:29: msrp.relays: `b c` is not a domain"]),
        ("msrp.allow_networks = [\"10.0.0.0\"]", &["LINE:24: msrp.allow_networks: `10.0.0.0` is no network"]),
        (
            "msrp.host = \"192.0.2.1\"",
            &["LINE:13: msrp.host: `192.0.2.1` is no domain name", "relay.example.org"],
        ),
        (
            "msrp.hosts.\"relay.example\" = \"192.0.2.1:0\"",
            &["LINE:30: msrp.hosts.\"relay.example\": `192.0.2.1:0` has port 0", "192.0.2.1:2855"],
        ),
        (
            "msrp.hosts.\"relay.example\" = \"0.0.0.0:2855\"",
            &["LINE:30: msrp.hosts.\"relay.example\": `0.0.0.0:2855` is an address to listen on"],
        ),
        (
            "msrp.hosts.\"relay.example\" = \"other.example:2855\"",
            &[
                "LINE:30: msrp.hosts.\"relay.example\": \"other.example:2855\" is no IP address with a port",
                "help: msrp.hosts: ",
            ],
        ),
        ("msrp.hosts.\"a b\" = \"192.0.2.1:1\"", &["LINE:20: msrp.hosts.\"a b\": `a b` is no domain name"]),
        (
            "msrp.hosts.\"Relay.example\" = \"192.0.2.1:1\"",
            &["msrp.hosts.\"Relay.example\": ", "write it as `\"relay.example\" = \"192.0.2.1:1\"`"],
        ),
        ("msrp.authorities = [\"/dev/zero\"]", &["LINE:21: msrp.authorities: /dev/zero: is a device"]),
    ]);
}

/// Of two listeners that want one address, the second and the first are named.
#[test]
fn no_address_is_listened_on_twice() {
    wrong(&[
        (
            "listen.msrp_websocket = [\"127.0.0.1:9\", \"127.0.0.1:9\"]",
            &["LINE:41: listen.msrp_websocket: `127.0.0.1:9` stands twice", "keep one"],
        ),
        (
            "federation.enabled = true\nlisten.s2s = [\"127.0.0.1:9\"]\nlisten.s2s_tls = [\"127.0.0.1:9\"]",
            &[": listen.s2s_tls: `127.0.0.1:9` is that of `listen.s2s` as well", "another port"],
        ),
        (
            "federation.enabled = true\nlisten.s2s = [\"127.0.0.1:9\"]\nlisten.s2s_tls = [\"0.0.0.0:9\"]",
            &[": listen.s2s_tls: `0.0.0.0:9` is one with `127.0.0.1:9` of `listen.s2s`"],
        ),
        (
            "federation.enabled = true\nlisten.msrp_websocket = [\"127.0.0.1:5269\"]",
            &[": listen.msrp_websocket: `127.0.0.1:5269` is that of `listen.s2s` as well, by default"],
        ),
        (
            "federation.enabled = true\nlisten.s2s_tls = [\"127.0.0.1:0\"]\nlisten.s2s = [\"127.0.0.1:5269\"]\nlisten.msrp_websocket = [\"[::1]:5269\", \"[::]:5269\"]",
            &[": listen.msrp_websocket: `[::]:5269` is one with `[::1]:5269`, which stands there as well"],
        ),
        (
            "listen.s2s = [\"127.0.0.1\"]",
            &["LINE:15: listen.s2s: \"127.0.0.1\" is no IP address with a port"],
        ),
    ]);
}

/// What has no end, or is no text, is told of and not read.
#[test]
fn a_configuration_is_a_file_of_text() {
    let place = Place::new(&[]);
    let path = |name: &str| place.path().join(name);
    std::fs::create_dir(path("folder")).unwrap();
    std::fs::write(path("long"), vec![b'#'; (4 << 20) + 1]).unwrap();
    std::fs::write(path("latin"), b"# one\n# caf\xe9\n").unwrap();
    assert!(std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    for (name, why) in [
        ("/dev/zero", "/dev/zero: is a device, no regular file"),
        ("folder", "folder: is a folder, no regular file"),
        ("pipe", "pipe: is a pipe, no regular file"),
        ("socket", "socket: is a socket, no regular file"),
        ("long", "long: is longer than 4194304 bytes"),
        ("latin", "latin: is no text in UTF-8: see line 2"),
        ("missing", "missing: cannot be read: No such file"),
    ] {
        for command in [&["config", "check"][..], &["serve"], &["config", "show"]] {
            let output = place.run(&[command, &["--config", name]].concat(), "");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{command:?} with {name}: {said}");
            assert!(said.contains(why) && said.contains("help: "), "{command:?} with {name}: {said}");
        }
    }
    wrong(&[
        ("federation.revocation_lists = [\"/dev/zero\"]", &["/dev/zero: is a device, no regular file"]),
        ("federation.dns.trust_anchors = \"/dev/zero\"", &["/dev/zero: is a device"]),
        ("tls.client_authorities = [\"/dev/zero\"]", &["/dev/zero: is a device"]),
        (
            "domain = [{ name = \"a.example\", certificate = \"/dev/zero\", key = \".\" }]",
            &[
                "domain[].certificate: /dev/zero: is a device",
                "domain[].key: ",
                "is a folder, no regular file",
            ],
        ),
    ]);
}

/// Mistakes of every kind in one file are told at once.
#[test]
fn all_mistakes_are_told_at_once() {
    let place = Place::new(&[
        "limits.stanza_byte = 1",
        "limits.depth = \"deep\"",
        "timeouts.login_seconds = 0",
        "federation.authorities = [\"missing.pem\"]",
        "extensions.csi = { hold_presence = 3, hold_messages = 4 }",
        "extensions.private.bytes = -1",
    ]);
    let output = place.run(&["config", "check"], "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    let told: Vec<_> = said.lines().filter(|line| !line.starts_with("  help: ")).collect();
    let expected = [
        (0, "limits.stanza_byte"),
        (1, "limits.depth"),
        (2, "timeouts.login_seconds"),
        (3, "federation.authorities"),
        (4, "extensions.csi.hold_presence"),
        (4, "extensions.csi.hold_messages"),
        (5, "extensions.private.bytes"),
    ];
    assert_eq!(told.len(), expected.len(), "{said}");
    for (line, key) in expected {
        let line = first_line() + line;
        let begins = format!("nuncio.toml:{line}:");
        assert!(
            told.iter().any(|told| told.contains(&begins) && told.contains(&format!(": {key}: "))),
            "{key}: {said}"
        );
    }
    assert!(!place.data().exists(), "a check writes nothing");
}

/// The number of the first line that a test adds to a configuration.
fn first_line() -> usize {
    std::fs::read_to_string(Place::new(&[]).config()).unwrap().lines().count() + 1
}

/// Each line of configuration, and what must be said of it; LINE stands for its number.
fn wrong(cases: &[(&str, &[&str])]) {
    let number = first_line().to_string();
    for (line, expected) in cases {
        let place = Place::new(&[line]);
        for command in [&["config", "check"][..], &["serve"]] {
            let output = place.run(command, "");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{command:?} with {line}: {said}");
            for part in *expected {
                let part = part.replace("LINE", &number);
                assert!(said.contains(&part), "{command:?} with {line}: no {part:?} in {said}");
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
