//! `nuncio msrp send`, `receive` and `check`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nuncio_net::OsEntropy;
use nuncio_sansio::Entropy as _;
use serde_json::Value;

use crate::harness::{PATIENCE, Place};

pub(crate) fn command(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nuncio"));
    command.arg("msrp").args(words).current_dir(folder).env_remove("NUNCIO_PASSWORD").stdin(Stdio::null());
    command
}

pub(crate) fn run(folder: &Path, words: &[&str]) -> Output {
    command(folder, words).output().unwrap()
}

/// A receiver that has written its SDP to `bob.sdp`; what it says comes a line at a time.
pub(crate) struct Receiver {
    pub(crate) child: Child,
    said: BufReader<ChildStdout>,
}

impl Receiver {
    fn start(folder: &Path, words: &[&str]) -> Self {
        Self::with_password(folder, words, "")
    }

    /// With this password in the environment.
    pub(crate) fn with_password(folder: &Path, words: &[&str], password: &str) -> Self {
        let mut all = vec!["receive", "--json"];
        all.extend_from_slice(words);
        if !words.contains(&"--timeout") {
            all.extend(["--timeout", "120"]);
        }
        let mut command = command(folder, &all);
        command.env("NUNCIO_PASSWORD", password).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        std::fs::write(folder.join("bob.sdp"), told["sdp"].as_str().unwrap()).unwrap();
        Self { child, said }
    }

    /// What it said until its end, and how it ended.
    pub(crate) fn end(mut self) -> (Vec<Value>, Option<i32>) {
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        let status = self.child.wait().unwrap().code();
        (rest.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), status)
    }
}

/// A line whose value names what ended it.
pub(crate) fn reason(told: &[Value]) -> &str {
    told.last().and_then(|told| told["reason"].as_str()).unwrap_or_default()
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A text, and files byte for byte under their names; over TLS by fingerprint and in clear. Nothing that is there is replaced.
#[test]
fn texts_and_files_arrive() {
    for clear in [&[][..], &["--clear"]] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::create_dir(path.join("in")).unwrap();
        std::fs::write(path.join("in/photo.bin"), "mine").unwrap();
        let mut bytes = vec![0; 3_000_000];
        OsEntropy.fill(&mut bytes);
        std::fs::write(path.join("photo.bin"), &bytes).unwrap();
        std::fs::write(path.join("empty.txt"), "").unwrap();

        let receiver = Receiver::start(path, &[clear, &["--folder", "in", "--count", "2"]].concat());
        let sent = run(path, &["send", "--to-sdp", "bob.sdp", "--file", "photo.bin", "--file", "empty.txt"]);
        assert_eq!((sent.status.code(), said(&sent)), (Some(0), String::new()));
        let (told, status) = receiver.end();
        assert_eq!(status, Some(0), "{told:?}");
        assert_eq!(told[0]["file"], "in/photo-1.bin");
        assert_eq!(std::fs::read(path.join("in/photo-1.bin")).unwrap(), bytes);
        assert_eq!(std::fs::read(path.join("in/photo.bin")).unwrap(), b"mine");
        assert_eq!(std::fs::read(path.join("in/empty.txt")).unwrap(), b"");
        assert_eq!(std::fs::read_dir(path.join("in")).unwrap().count(), 3, "nothing temporary stays");

        let receiver = Receiver::start(path, clear);
        let sent = run(path, &["send", "--to-sdp", "bob.sdp", "--json", "Hello, Bob"]);
        assert_eq!(sent.status.code(), Some(0), "{}", said(&sent));
        let answer: Value = serde_json::from_slice(&sent.stdout).unwrap();
        assert_eq!((&answer["delivered"], &answer["messages"][0]["delivered"]), (&true.into(), &true.into()));
        let (told, status) = receiver.end();
        assert_eq!((told[0]["text"].as_str(), status), (Some("Hello, Bob"), Some(0)));
        assert_eq!(told[0]["id"], answer["messages"][0]["id"]);
    }
}

/// RFC 5438: a sender that wants to know is told what the receiver's program says, of a text and of files; one that tells nothing is named.
#[test]
fn receipts_are_asked_for_and_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::create_dir(path.join("in")).unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(400_000).collect();
    std::fs::write(path.join("photo.bin"), &bytes).unwrap();
    std::fs::write(path.join("empty.txt"), "").unwrap();

    let receiver = Receiver::start(path, &["--folder", "in", "--count", "2", "--receipts"]);
    let words = ["send", "--to-sdp", "bob.sdp", "--receipt", "--sender", "im:alice@example.com", "--json"];
    let files = ["--file", "photo.bin", "--file", "empty.txt"];
    let sent = run(path, &[&words[..], &files].concat());
    assert_eq!(sent.status.code(), Some(0), "{}", said(&sent));
    let answer: Value = serde_json::from_slice(&sent.stdout).unwrap();
    for number in 0..2 {
        assert_eq!(answer["messages"][number]["notification"], "delivered", "{answer}");
    }
    let (told, status) = receiver.end();
    assert_eq!((status, &told[0]["from"]), (Some(0), &Value::from("im:alice@example.com")), "{told:?}");
    assert_eq!((&told[0]["file"], &told[0]["bytes"]), (&"in/photo.bin".into(), &400_000.into()));
    assert_eq!(std::fs::read(path.join("in/photo.bin")).unwrap(), bytes);
    assert_eq!(std::fs::read(path.join("in/empty.txt")).unwrap(), b"");

    let receiver = Receiver::start(path, &["--receipts"]);
    let sent = run(path, &["send", "--to-sdp", "bob.sdp", "--receipt", "Hello, Bob"]);
    assert_eq!((sent.status.code(), said(&sent)), (Some(0), String::new()));
    assert_eq!(String::from_utf8_lossy(&sent.stdout), "the text: delivered, as its receiver tells\n");
    let (told, status) = receiver.end();
    assert_eq!((told[0]["text"].as_str(), status), (Some("Hello, Bob"), Some(0)), "out of its envelope");

    // Whoever does not want to tell does not: the report of MSRP is all there is.
    let receiver = Receiver::start(path, &[]);
    let sent = run(path, &["send", "--to-sdp", "bob.sdp", "--receipt", "Hello, Bob"]);
    assert_eq!(sent.status.code(), Some(1));
    assert!(said(&sent).contains("reported, but not told of"), "{}", said(&sent));
    assert_eq!(receiver.end().1, Some(0));
}

/// Status 1 and why: another certificate than was promised, a URI that nobody has any more, a type that is not taken, nobody there.
#[test]
fn what_fails_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let receiver = Receiver::start(path, &["--accept", "text/plain"]);
    let sdp = std::fs::read_to_string(path.join("bob.sdp")).unwrap();
    let other = format!("sha-256 {}", ["AB"; 32].join(":"));
    let sent = run(path, &["send", "--to-sdp", "bob.sdp", "--fingerprint", &other, "x"]);
    assert_eq!(sent.status.code(), Some(1));
    assert!(said(&sent).contains("none of the agreed fingerprints"), "{}", said(&sent));
    // Who has no SDP hears of it from the receiver, which uses the invitation up.
    let (uri, fingerprint) = (attribute(&sdp, "path"), attribute(&sdp, "fingerprint"));
    let told = ["send", "--to", uri, "--fingerprint", fingerprint];
    let sent = run(path, &[&told[..], &["--type", "image/png", "x"]].concat());
    assert_eq!(sent.status.code(), Some(1));
    assert!(
        said(&sent).contains("415") && said(&sent).contains("image/png (--type) is not taken"),
        "{}",
        said(&sent)
    );
    let (_, status) = receiver.end();
    assert_eq!(status, Some(1), "the sender went before anything came");
    let sent = run(path, &["send", "--to-sdp", "bob.sdp", "x"]);
    assert_eq!(sent.status.code(), Some(1));
    assert!(said(&sent).contains("no connection"), "{}", said(&sent));
    assert_eq!(said(&sent).matches("refused").count(), 1, "each thing is said once: {}", said(&sent));
    // Nothing to judge the certificate by but a name, which it is not for.
    let receiver = Receiver::start(path, &[]);
    let sdp_now = std::fs::read_to_string(path.join("bob.sdp")).unwrap();
    assert_ne!(sdp, sdp_now);
    let sent = run(path, &["send", "--to", attribute(&sdp_now, "path"), "x"]);
    assert_eq!(sent.status.code(), Some(1));
    assert_eq!(said(&sent).matches("TLS failed").count(), 1, "{}", said(&sent));
    assert!(said(&sent).contains("--ca") && said(&sent).contains("--fingerprint"), "{}", said(&sent));
    let sent = run(path, &["send", "--to-sdp", "bob.sdp", "at last"]);
    assert_eq!(sent.status.code(), Some(0), "{}", said(&sent));
    assert_eq!(receiver.end().1, Some(0));
    // Known by a weak hash only, which is for old peers.
    let weak = format!("a=fingerprint:sha-1 {}\r\n", ["AB"; 20].join(":"));
    let strong = |line: &&str| !line.starts_with("a=fingerprint");
    let sdp: String = sdp_now.lines().filter(strong).flat_map(|line| [line, "\r\n"]).collect();
    std::fs::write(path.join("weak.sdp"), sdp + &weak).unwrap();
    let sent = run(path, &["send", "--to-sdp", "weak.sdp", "x"]);
    assert_eq!(sent.status.code(), Some(1));
    assert!(said(&sent).contains("--sha1 believes them"), "{}", said(&sent));
    // Too long for the receiver; and nowhere to be put, which both are told of.
    let receiver = Receiver::start(path, &["--max-size", "3"]);
    let sdp = std::fs::read_to_string(path.join("bob.sdp")).unwrap();
    let (uri, fingerprint) = (attribute(&sdp, "path"), attribute(&sdp, "fingerprint"));
    let sent = run(path, &["send", "--to", uri, "--fingerprint", fingerprint, "long"]);
    assert!(said(&sent).contains("413: the receiver stopped it: it is too long"), "{}", said(&sent));
    assert_eq!((sent.status.code(), receiver.end().1), (Some(1), Some(1)));
    std::fs::create_dir(path.join("in")).unwrap();
    std::fs::write(path.join("long.txt"), vec![b'x'; 1_000_000]).unwrap();
    let receiver = Receiver::start(path, &["--folder", "in"]);
    std::fs::remove_dir(path.join("in")).unwrap();
    let sent = run(path, &["send", "--to-sdp", "bob.sdp", "--file", "long.txt"]);
    assert_eq!(sent.status.code(), Some(1));
    assert!(said(&sent).contains("long.txt: refused with 413: the receiver stopped it"), "{}", said(&sent));
    let (told, status) = receiver.end();
    assert_eq!(status, Some(1));
    let why = told[0]["reason"].as_str().unwrap();
    assert!(why.contains("cannot be stored: entity not found") && why.contains("(in)"), "{told:?}");
}

/// What an SDP says of this.
fn attribute<'a>(sdp: &'a str, name: &str) -> &'a str {
    let value = |line: &'a str| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':');
    sdp.lines().find_map(value).unwrap_or_else(|| panic!("no {name}")).trim()
}

/// RFC 4975 §8.6: what the SDP says is not taken is not tried, or it would use up the one session that there is.
#[test]
fn what_an_sdp_refuses_is_not_tried() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let receiver = Receiver::start(path, &["--accept", "text/plain", "--max-size", "10"]);
    for (words, why) in [
        (&["--type", "image/png", "x"][..], "it is image/png (--type), and text/plain is taken"),
        (&["eleven byte"], "it has 11 bytes, and 10 are taken"),
    ] {
        let sent = run(path, &[&["send", "--to-sdp", "bob.sdp"], words].concat());
        assert_eq!(sent.status.code(), Some(1), "{words:?}");
        assert!(said(&sent).contains(why), "{}", said(&sent));
    }
    let sent = run(path, &["send", "--to-sdp", "bob.sdp", "--json", "eleven byte"]);
    let told: Value = serde_json::from_slice(&sent.stdout).unwrap();
    assert_eq!((&told["delivered"], &told["messages"][0]["delivered"]), (&false.into(), &false.into()));
    let sent = run(path, &["send", "--to-sdp", "bob.sdp", "ten bytes!"]);
    assert!(sent.status.success(), "{}", said(&sent));
    assert_eq!(receiver.end().1, Some(0));
}

/// Status 2, before anything is said to anybody.
#[test]
fn wrong_use() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("no.sdp"), "v=0\r\nnot SDP\r\n").unwrap();
    let sdp = |path: &str, size: &str| {
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=message 1 TCP/TLS/MSRP *\r\nc=IN IP4 127.0.0.1\r\n\
             a=path:{path}\r\na=accept-types:*\r\na=max-size:{size}\r\n"
        )
    };
    std::fs::write(folder.path().join("udp.sdp"), sdp("msrps://localhost:1/abc;udp", "1")).unwrap();
    std::fs::write(folder.path().join("size.sdp"), sdp("msrps://localhost:1/abc;tcp", "1k")).unwrap();
    for words in [
        &["send", "x"][..],
        &["send", "--to", "nonsense", "x"],
        &["send", "--to", "msrps://localhost:1/abc;tcp", "--type", "no type", "x"],
        &["send", "--to", "msrps://host.example:2855;tcp", "x"],
        &["send", "--to-sdp", "no.sdp", "x"],
        &["send", "--to-sdp", "missing.sdp", "x"],
        &["send", "--to", "msrps://localhost:1/abc;tcp", "--fingerprint", "md5 AB", "x"],
        &["send", "--to", "msrps://localhost:1/abc;tcp", "--file", "missing"],
        &["send", "--to", "msrps://localhost:1/abc;tcp", "--relay", "relay.example", "x"],
        &["send", "--to", "msrps://localhost:1/abc;tcp", "--receipt", "--sender", "alice", "x"],
        &["receive", "--folder", "missing"],
        &["receive", "--accept", "nonsense"],
        &["receive", "--listen", "0.0.0.0:0"],
        &["receive", "--max-size", "0"],
        &["receive", "--patience", "0"],
        &["receive", "--relay", "localhost:1", "--user", "a", "--password-file", "missing"],
        &["receive", "--clear", "--relay", "localhost:1", "--user", "a"],
        &["receive", "--host", "bob.example", "--account", "bob@localhost"],
        &["receive", "--account", "bob@localhost"],
        &["receive", "--account", "bob@localhost", "--user", "a"],
        &["receive", "--relay", "localhost:1", "--user", "a", "--expires", "0"],
        &["credentials"],
        &["credentials", "localhost"],
        &["credentials", "bob@localhost"],
        &["check"],
        &["check", "msrps://:;"],
        &["check", "localhost:1", "--user", "alice"],
        &["check", "localhost:1", "--password-stdin"],
        &["check", "localhost:1", "--from", "msrps://localhost:2/abc;tcp"],
        &["check", "msrps://localhost:1/abc;tcp", "--user", "alice"],
        &["check", "msrps://localhost/abc;tcp"],
    ] {
        let output = run(folder.path(), words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", said(&output));
        assert!(!said(&output).is_empty());
    }
    // What was asked for and cannot be had: credentials in clear (RFC 4976 §9.1), certificates that nobody would see (RFC 6135 §4.3), weak hashes (S1-R6).
    let (strong, weak) =
        (format!("sha-256 {}", ["AB"; 32].join(":")), format!("sha-1 {}", ["AB"; 20].join(":")));
    let (direct, clear) = ("msrps://localhost:1/abc;tcp", "msrp://localhost:1/abc;tcp");
    let behind = format!("msrps://localhost:2/def;tcp {direct}");
    for (words, why) in [
        (&["check", "msrp://localhost:1;tcp", "--user", "alice", "--password-stdin"][..], "over TLS only"),
        (&["check", clear, "--fingerprint", &strong], "without TLS"),
        (&["check", &behind, "--fingerprint", &strong], "with a relay between"),
        (&["check", direct, "--fingerprint", &weak], "--sha1"),
        (&["send", "--to", clear, "--fingerprint", &strong, "x"], "without TLS"),
        (&["send", "--to", &behind, "--fingerprint", &strong, "x"], "with a relay between"),
        (
            &["send", "--to", direct, "--fingerprint", &strong, "--relay", "localhost:1", "x"],
            "with a relay between",
        ),
        (&["send", "--to", direct, "--fingerprint", &weak, "x"], "--sha1"),
        (&["receive", "--clear", "--fingerprint", &strong], "without TLS"),
        (&["receive", "--relay", "localhost:1", "--fingerprint", &strong], "with a relay between"),
        (&["receive", "--fingerprint", &weak], "--sha1"),
        // Files that an option names, and URIs that nobody here can use.
        (&["receive", "--ca", "missing.pem"], "missing.pem"),
        (&["receive", "--ca", "no.sdp"], "no.sdp"),
        (&["receive", "--certificate", "missing.pem", "--key", "missing.key"], "missing.key"),
        (&["send", "--to", direct, "--ca", "missing.pem", "x"], "missing.pem"),
        (&["send", "--to", "msrps://localhost:1/abc;udp", "x"], "only tcp is"),
        (&["send", "--to-sdp", "udp.sdp", "x"], "only tcp is"),
        (&["receive", "--relay", "msrps://localhost:1;udp", "--user", "a"], "only tcp is"),
        (&["send", "--to-sdp", "size.sdp", "x"], "max-size"),
        // Options that nothing would come of.
        (&["receive", "--user", "a"], "--relay"),
        (&["receive", "--expires", "60"], "--relay"),
        (&["receive", "--no-md5"], "--relay"),
        (&["send", "--to", direct, "--password-stdin"], "--relay"),
        (&["send", "--to", direct, "--password-file", "no.sdp", "x"], "--relay"),
        (&["send", "--to", direct, "--server", "localhost", "x"], "--account"),
        (&["receive", "--relay", "localhost:1", "--user", "a", "--direct-tls"], "--account"),
    ] {
        let output = run(folder.path(), words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(said(&output).contains(why), "{words:?}: {}", said(&output));
    }
}

/// A sender of raw bytes that has sent the beginning of a long message, of which the folder has a file, and nothing more.
fn stalled(folder: &Path) -> TcpStream {
    let sdp = std::fs::read_to_string(folder.join("bob.sdp")).unwrap();
    let path = sdp.lines().find_map(|line| line.strip_prefix("a=path:")).unwrap().trim();
    let at = path.strip_prefix("msrp://").unwrap().split('/').next().unwrap();
    let mut stream = TcpStream::connect(at).unwrap();
    let head = format!(
        "MSRP aaaa SEND\r\nTo-Path: {path}\r\nFrom-Path: msrp://a.invalid:9/xyz;tcp\r\nMessage-ID: 1234\r\n\
         Byte-Range: 1-*/9000000\r\nContent-Type: text/plain\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&vec![b'x'; 1_000_000]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while parts(folder) == 0 {
        assert!(Instant::now() < deadline, "there is no file of it");
        std::thread::sleep(Duration::from_millis(5));
    }
    stream
}

/// How many temporary files there are.
pub(crate) fn parts(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".part")).count()
}

/// S1-R4: whoever is ended by a signal in the middle of a message leaves nothing of it, and says by its status what it was.
#[test]
fn signals_leave_nothing_behind() {
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let folder = tempfile::tempdir().unwrap();
        let receiver = Receiver::start(folder.path(), &["--clear"]);
        let _sender = stalled(folder.path());
        let killed =
            Command::new("kill").args([&format!("-{signal}"), &receiver.child.id().to_string()]).status();
        assert!(killed.unwrap().success());
        let (told, ended) = receiver.end();
        assert_eq!((ended, told.len()), (Some(status), 0), "{told:?}");
        assert_eq!(parts(folder.path()), 0);
    }
}

/// A message that stalls is waited for with patience, not for ever; a time that is over is over, whatever is under way.
#[test]
fn what_stalls_ends() {
    for (words, why) in [
        (&["--clear", "--patience", "1"][..], "the sender is taken to have gone"),
        (&["--clear", "--timeout", "2"], "2 s are over (--timeout)"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let began = Instant::now();
        let receiver = Receiver::start(folder.path(), words);
        let _sender = stalled(folder.path());
        let (told, ended) = receiver.end();
        assert_eq!((ended, reason(&told)), (Some(1), why), "{told:?}");
        assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
        assert_eq!(parts(folder.path()), 0);
        if why.contains("gone") {
            let first = told[0]["reason"].as_str().unwrap();
            assert!(first.contains("nothing more came in 1 s (--patience)"), "{told:?}");
        }
    }
}

/// Whoever takes a connection and says nothing is given up when the time is over, also in the middle of TLS, and of a login.
#[test]
fn times_hold_from_the_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = silent.local_addr().unwrap();
    let (uri, relay) = (format!("msrps://{at}/abc;tcp"), format!("msrps://{at};tcp"));
    let login = ["--relay", &relay, "--user", "a", "--password-file", "secret", "--timeout", "1"];
    std::fs::write(folder.path().join("secret"), "secret").unwrap();
    for words in [
        &["send", "--to", &uri, "--timeout", "1", "x"][..],
        &[&["send", "--to", &uri, "x"][..], &login].concat(),
        &[&["receive"][..], &login].concat(),
    ] {
        let began = Instant::now();
        let output = run(folder.path(), words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(said(&output).contains("1 s") && said(&output).contains("(--timeout)"), "{}", said(&output));
        let took = began.elapsed();
        assert!((1_000..4_000).contains(&took.as_millis()), "{words:?}: {took:?}");
    }
}

/// Our own receiver passes every case; a table for people, an object for programs.
#[test]
fn a_receiver_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let words = ["--count", "1000000", "--max-size", "1000000", "--accept", "text/plain"];
    let mut receiver = Receiver::start(path, &words);
    let checked = run(path, &["check", "--sdp", "bob.sdp", "--json"]);
    let told: Value = serde_json::from_slice(&checked.stdout).unwrap();
    let failed: Vec<_> =
        told["cases"].as_array().unwrap().iter().filter(|case| case["result"] == "fail").collect();
    assert_eq!((failed, checked.status.code()), (vec![], Some(0)));
    assert!(told["passed"].as_u64().unwrap() > 30 && told["kind"] == "endpoint");
    drop(receiver.child.kill());
    drop(receiver.child.wait());
    // Nobody is there: no verdict.
    let checked = run(path, &["check", "--sdp", "bob.sdp"]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(said(&checked).contains("no connection"), "{}", said(&checked));
}

/// RFC 4976 §6.3: a login that our relay refuses is said, once, and is status 1; nobody is there is too.
#[test]
fn a_wrong_password_is_said() {
    let place = Place::new(&[]);
    let server = place.serve();
    let relay = format!("localhost:{}", server.msrp.unwrap().port());
    let ca = server.authority.to_str().unwrap().to_owned();
    let words = ["check", &relay, "--ca", &ca, "--user", "alice@localhost", "--password-file", "password"];
    std::fs::write(place.path().join("password"), "wrong\n").unwrap();
    let checked = run(place.path(), &words);
    let why = format!("nuncio: {relay} refuses the login: 401 Unauthorized; nothing was checked");
    assert_eq!(
        (checked.status.code(), said(&checked).starts_with(&why)),
        (Some(1), true),
        "{}",
        said(&checked)
    );
    // What anybody may see is all right.
    let checked = run(place.path(), &["check", &relay, "--ca", &ca, "--json"]);
    let told: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!((&told["failed"], checked.status.code()), (&0.into(), Some(0)), "{told}");
}
