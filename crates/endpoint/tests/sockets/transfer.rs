//! Large messages: whole, bounded in memory, beside short ones; and those that break off.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use nuncio_endpoint::{End, Incoming, Lost, Outgoing, SendError, Way, Why};
use nuncio_net::OsEntropy;
use nuncio_sansio::Entropy as _;

use crate::common::{Raw, endpoint, listen, message, session, soon};

const MIB: usize = 1 << 20;

/// A file of random bytes.
fn random(folder: &Path, bytes: usize) -> PathBuf {
    let path = folder.join("random");
    let mut file = std::fs::File::create(&path).expect("a file");
    let mut block = vec![0; MIB];
    for _ in 0..bytes / MIB {
        OsEntropy.fill(&mut block);
        file.write_all(&block).expect("written");
    }
    path
}

/// The most memory that this process ever had, in bytes (Linux).
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number") * 1024
}

fn same(one: &Path, other: &Path) -> bool {
    std::fs::read(one).expect("a file") == std::fs::read(other).expect("a file")
}

/// S1-R4: 50 MB of random bytes arrive byte for byte, through less memory than they are, beside texts.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_megabytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = random(folder.path(), 50 * MIB);
    let before = peak();
    let alice = endpoint(|_| ());
    let spool = folder.path().to_owned();
    let bob = endpoint(|config| config.spool = Some(spool));
    let at = listen(&bob, "127.0.0.1", true);
    let (one, mut there) = session(&alice, &bob, &at).await;
    let (sender, saved) = (one.sender(), folder.path().join("saved"));
    let sending = tokio::spawn({
        let file = file.clone();
        async move {
            let large = Outgoing::file("application/octet-stream", &file).expect("a file");
            sender.send(large).await
        }
    });
    let texts = tokio::spawn({
        let sender = one.sender();
        async move {
            for _ in 0..20 {
                sender.send(Outgoing::text("short")).await.expect("delivered");
            }
        }
    });
    let mut short = 0;
    let mut large = None;
    while short < 20 || large.is_none() {
        let came = message(&mut there).await;
        if came.text().is_some() {
            short += 1;
        } else {
            assert_eq!(came.body.len(), 50 * MIB as u64);
            assert!(came.body.memory().is_none(), "it is in a file");
            large = Some((came.id, came.body.save(saved.clone()).await));
        }
    }
    let (id, kept) = large.expect("it came");
    kept.expect("saved");
    soon(texts).await.expect("all texts");
    let sent = soon(sending).await.expect("no panic").expect("delivered");
    assert!(sent.delivered && sent.id == id);
    let grown = peak() - before;
    assert!(grown < 30 * MIB, "{} KiB", grown / 1024);
    assert!(same(&file, &saved));
    // What was temporary is gone.
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 2);
}

/// RFC 4975 §7.1: whatever is given up by its sender is told, and nothing of it stays.
#[tokio::test]
async fn given_up_by_its_sender() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = folder.path().to_owned();
    let (alice, bob) = (endpoint(|_| ()), endpoint(|config| config.spool = Some(spool)));
    let at = listen(&bob, "127.0.0.1", true);
    let (one, mut there) = session(&alice, &bob, &at).await;
    // By itself: what is read breaks off.
    let short = Outgoing::reader(
        "text/plain",
        Some(10 * MIB as u64),
        tokio::io::AsyncReadExt::take(tokio::io::repeat(1), MIB as u64),
    );
    assert!(matches!(soon(one.send(short)).await, Err(SendError::Source(_))));
    // By whoever waited for it.
    let (_feed, pipe) = tokio::io::duplex(1_024);
    let mut feed = _feed;
    let sender = one.sender();
    let waiting = tokio::spawn(async move { sender.send(Outgoing::reader("text/plain", None, pipe)).await });
    tokio::io::AsyncWriteExt::write_all(&mut feed, &[2; 500_000]).await.expect("taken");
    waiting.abort();
    for _ in 0..2 {
        match soon(there.next()).await {
            Some(Incoming::Broken(broken)) => assert_eq!(broken.why, Why::Sender),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    soon(one.send(Outgoing::text("and on"))).await.expect("delivered");
    assert_eq!(message(&mut there).await.text(), Some("and on"));
}

/// A peer that goes away in the middle of a message: whoever receives is told, and nothing looks complete.
#[tokio::test]
async fn a_peer_that_closes_midway() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = folder.path().to_owned();
    let bob = endpoint(|config| {
        config.spool = Some(spool);
        config.memory = 10;
    });
    let at = listen(&bob, "127.0.0.1", false);
    let invitation = bob.invite(Way::Listening(&at)).expect("an invitation");
    let path = invitation.path().to_string();
    let mut there = invitation.accept();
    let mut raw = Raw::connect(at.addresses()[0]).await;
    let head = |tid: &str, id: &str, range: &str| {
        format!(
            "MSRP {tid} SEND\r\nTo-Path: {path}\r\nFrom-Path: msrp://a.invalid:9/xyz;tcp\r\nMessage-ID: {id}\r\n\
             Byte-Range: {range}\r\nContent-Type: text/plain\r\n\r\n"
        )
    };
    raw.write(format!("{}first half\r\n-------aaaa+\r\n", head("aaaa", "1234", "1-*/20")).as_bytes()).await;
    assert!(raw.until("-------aaaa$\r\n").await.starts_with("MSRP aaaa 200"));
    raw.write(format!("{}in the midd", head("bbbb", "5678", "1-*/20000")).as_bytes()).await;
    drop(raw);
    let mut broken = Vec::new();
    while let Some(Incoming::Broken(one)) = soon(there.next()).await {
        assert_eq!(one.why, Why::Session);
        broken.push(one.id.to_string());
    }
    broken.sort();
    assert_eq!(broken, ["1234", "5678"]);
    assert_eq!(there.over().await, End::Connection(Lost::Cut));
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

/// S1-09 (RFC 2779 §5.4.1): whoever sends hears of it when the receiver goes away meanwhile.
#[tokio::test]
async fn a_receiver_that_goes_away() {
    let (alice, bob) = (endpoint(|_| ()), endpoint(|_| ()));
    let at = listen(&bob, "127.0.0.1", true);
    let (one, mut there) = session(&alice, &bob, &at).await;
    let sender = one.sender();
    let sending = tokio::spawn(async move {
        sender.send(Outgoing::reader("text/plain", None, tokio::io::repeat(b'x'))).await
    });
    soon(one.send(Outgoing::text("first"))).await.expect("delivered");
    message(&mut there).await;
    drop(there);
    let failed = soon(sending).await.expect("no panic");
    assert!(matches!(failed, Err(SendError::Ended(End::Connection(_) | End::Gone))), "{failed:?}");
}
