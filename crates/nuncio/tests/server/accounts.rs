//! Accounts beside a running server, which sees each change at once.

use nuncio_client::{Event, Reason, Why};
use nuncio_xmpp::ns;
use nuncio_xmpp::xml::Builder;

use crate::harness::{Place, acked, chat, connect, disconnected, online, ping, receive, refused, wait};

/// The first start of an empty folder prints an account once; the second finds everything again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_makes_an_account_and_a_second_finds_it() {
    let place = Place::new(&[]);
    let mut server = place.serve();
    let password =
        server.said.wait(|line| line.trim().strip_prefix("password ").map(|rest| rest.trim().to_owned()));
    let password = password.expect("credentials");
    assert!(server.said.wait(|line| line.contains("ca.pem").then_some(())).is_some());
    let said = server.said.all().join("\n");
    assert!(
        said.contains("admin@localhost") && said.contains("/connect admin@localhost server 127.0.0.1 port"),
        "{said}"
    );
    let session = connect(server.client_with("admin", &password)).await;
    assert_eq!(session.jid().unwrap().bare().as_str(), "admin@localhost");
    drop(session);
    let authority = std::fs::read(place.data().join("tls/ca.pem")).unwrap();
    server.stop();
    drop(server);

    let mut server = place.serve();
    connect(server.client_with("admin", &password)).await;
    assert_eq!(std::fs::read(place.data().join("tls/ca.pem")).unwrap(), authority);
    server.stop();
    let said = server.said.all().join("\n");
    assert!(!said.contains(&password) && !said.contains("password"), "{said}");
    assert!(!server.log.all().iter().any(|line| line.contains(&password)));
    assert_eq!(place.traces(&password), Vec::<std::path::PathBuf>::new(), "a password is on the disk");
}

/// Without a configuration file the defaults serve `localhost`; commands find the data folder by `--data`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_are_made_without_a_server_too() {
    let place = Place::new(&[]);
    place.accounts(&["juliet"]);
    let made = place.must(&["account", "add", "romeo@localhost"], "");
    let list = place.must(&["account", "list"], "");
    assert!(list.contains("juliet@localhost") && list.contains("romeo@localhost"), "{list}");
    let twice = place.run(&["account", "add", "juliet@localhost", "--password-stdin"], "other");
    assert_eq!(twice.status.code(), Some(1), "{}", String::from_utf8_lossy(&twice.stderr));
    let elsewhere = place.run(&["account", "add", "juliet@other.example", "--password-stdin"], "other");
    assert_eq!(elsewhere.status.code(), Some(1));
    assert!(!elsewhere.stderr.is_empty());
    let server = place.serve();
    connect(server.client("juliet")).await;
    connect(server.client_with("romeo", made.trim())).await;
}

/// Many accounts at once: a line that cannot be done is named and costs no other line, with a server and without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_are_imported() {
    let place = Place::new(&[]);
    let made =
        place.must(&["account", "import"], "juliet@localhost first secret\n\nromeo@localhost second\n");
    assert_eq!(made.trim(), "2 accounts made");
    let server = place.serve();
    connect(server.client_with("juliet", "first secret")).await;
    let lines = "romeo@localhost other\nnurse@localhost third\ntybalt@localhost\nparis@elsewhere.example x\n";
    let output = place.run(&["account", "import"], lines);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    for line in ["line 1: romeo@localhost", "line 3: write", "line 4: paris@elsewhere.example"] {
        assert!(said.contains(line), "{said}");
    }
    assert!(!said.contains("line 2"), "{said}");
    assert!(!said.contains("other"), "a password is shown: {said}");
    connect(server.client_with("romeo", "second")).await;
    connect(server.client_with("nurse", "third")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_seen_at_once() {
    let place = Place::new(&[]);
    let mut server = place.serve();
    let denied = |end: &Why| matches!(end, Why::Stream(Reason::Login(_)));
    assert!(denied(&refused(server.client("juliet")).await.why));
    place.accounts(&["juliet", "romeo"]);
    let mut juliet = online(server.client("juliet")).await;

    // A new password: for the next login; sessions go on.
    place.must(&["account", "passwd", "juliet@localhost", "--password-stdin"], "a new one");
    assert!(denied(&refused(server.client("juliet")).await.why));
    let mut second = online(server.client_with("juliet", "a new one")).await;
    ping(&mut juliet).await;

    // Disabled: live sessions end at once, also one that waits to be resumed, and there is no login.
    let mut third = online(server.client_with("juliet", "a new one")).await;
    third.cut();
    assert!(disconnected(&mut third).await.resumable);
    place.must(&["account", "disable", "juliet@localhost"], "");
    for session in [&mut juliet, &mut second] {
        let end = disconnected(session).await;
        assert!(matches!(end.why, Why::Stream(Reason::PeerError(_))) && end.clean, "{:?}", end.why);
    }
    third.reconnect();
    assert!(denied(&disconnected(&mut third).await.why));
    assert!(denied(&refused(server.client_with("juliet", "a new one")).await.why));
    let list = place.must(&["account", "list"], "");
    assert!(
        list.lines().any(|line| line.contains("juliet@localhost") && line.contains("disabled=true")),
        "{list}"
    );
    // Messages to it are kept.
    let mut romeo = online(server.client("romeo")).await;
    let number = romeo.send(&chat("juliet@localhost", "are you there")).await.unwrap();
    acked(&mut romeo, number).await;

    place.must(&["account", "enable", "juliet@localhost"], "");
    let mut juliet = online(server.client_with("juliet", "a new one")).await;
    assert_eq!(receive(&mut juliet).await.body_text().unwrap(), "are you there");
    // What was resumable before is not.
    third.reconnect();
    let resumed = wait(&mut third, |event| match event {
        Event::Online(online) => Some(online.resumed),
        Event::Disconnected(end) => panic!("{:?}", end.why),
        _ => None,
    });
    assert!(!resumed.await);
    server.stop();
}

/// `account delete` leaves no trace of what was the account's: not in memory, not in any byte of any file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletion_leaves_no_trace() {
    let place = Place::new(&[]);
    let mut server = place.serve();
    place.accounts(&["xqvictim", "romeo"]);
    let mut victim = online(server.client("xqvictim")).await;
    let item =
        Builder::new("item", ns::ROSTER).attr("jid", "xqcontact@elsewhere.example").attr("name", "xqnick");
    victim.set(None, Builder::new("query", ns::ROSTER).child(item)).await.unwrap();
    let private = Builder::new("storage", "xqprivate:ns").text("xqsecret");
    victim.set(None, Builder::new("query", ns::PRIVATE).child(private)).await.unwrap();
    let card = Builder::new("vCard", ns::VCARD).child(Builder::new("FN", ns::VCARD).text("xqname"));
    victim.set(None, card).await.unwrap();
    let blocked = Builder::new("item", ns::BLOCKING).attr("jid", "xqblocked@elsewhere.example");
    victim.set(None, Builder::new("block", ns::BLOCKING).child(blocked)).await.unwrap();
    victim.close().await;
    let mut romeo = online(server.client("romeo")).await;
    let number = romeo.send(&chat("xqvictim@localhost", "xqmessage")).await.unwrap();
    acked(&mut romeo, number).await;
    let mut victim = connect(server.client("xqvictim")).await;
    assert!(
        !place.traces("xqvictim").is_empty() && !place.traces("xqmessage").is_empty(),
        "the test looks nowhere"
    );

    place.must(&["account", "delete", "xqvictim@localhost"], "");
    let end = disconnected(&mut victim).await;
    assert!(matches!(end.why, Why::Stream(Reason::PeerError(_))), "{:?}", end.why);
    assert!(matches!(refused(server.client("xqvictim")).await.why, Why::Stream(Reason::Login(_))));
    let list = place.must(&["account", "list"], "");
    assert!(!list.contains("xqvictim") && list.contains("romeo@localhost"), "{list}");
    let what =
        ["xqvictim", "xqcontact", "xqnick", "xqprivate", "xqsecret", "xqname", "xqblocked", "xqmessage"];
    for running in [true, false] {
        if !running {
            server.stop();
        }
        for word in what {
            assert_eq!(place.traces(word), Vec::<std::path::PathBuf>::new(), "{word}, running: {running}");
        }
    }
    let server = place.serve();
    // A new account of that name begins with nothing.
    place.accounts(&["xqvictim"]);
    let mut victim = online(server.client("xqvictim")).await;
    let roster = victim.get(None, Builder::new("query", ns::ROSTER)).await.unwrap();
    assert_eq!(roster.payload().map_or(0, |query| query.children().count()), 0);
    let mut romeo = online(server.client("romeo")).await;
    romeo.send(&chat("xqvictim@localhost", "fresh")).await.unwrap();
    assert_eq!(receive(&mut victim).await.body_text().unwrap(), "fresh");
}
