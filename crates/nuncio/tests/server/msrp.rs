//! The MSRP relay beside XMPP: credentials by XEP-0215, then AUTH and SEND as a stock client of RFC 4976 does them, byte by byte.

use nuncio_client::Session;
use nuncio_msrp::digest::{Algorithm, Challenge};
use nuncio_net::OsEntropy;
use nuncio_sansio::Eof;
use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::xml::Builder;

use crate::harness::{Place, Running, connect};
use crate::raw::Raw;

const EXTDISCO: &str = "urn:xmpp:extdisco:2";

/// What XEP-0215 says of the relay.
struct Service {
    host: String,
    port: u16,
    username: String,
    password: String,
}

/// Asks for the relay's service and credentials.
async fn service(session: &mut Session) -> Service {
    let server = Jid::new("localhost").unwrap();
    let payload = Builder::new("services", EXTDISCO).attr("type", "msrp");
    let answer = session.get(Some(&server), payload).await.unwrap();
    let services = answer.payload().unwrap();
    let service = services.children().next().expect("one service");
    let attr = |name: &str| service.attr(name).unwrap_or_else(|| panic!("no {name}")).into_owned();
    assert_eq!(
        (attr("type"), attr("transport"), attr("restricted")),
        ("msrp".into(), "tcp".into(), "true".into())
    );
    assert!(attr("expires").ends_with('Z'), "XEP-0082, UTC");
    Service {
        host: attr("host"),
        port: attr("port").parse().unwrap(),
        username: attr("username"),
        password: attr("password"),
    }
}

/// A client of the relay.
struct Client {
    raw: Raw,
    /// Its own URI.
    own: String,
    relay: String,
    number: u32,
}

impl Client {
    async fn connect(server: &Running, name: &str) -> Self {
        let address = server.msrp.unwrap();
        let raw = Raw::at(server, address).await;
        let relay = format!("msrps://localhost:{};tcp", address.port());
        Self { raw, own: format!("msrps://{name}.invalid:2855/{name};tcp"), relay, number: 0 }
    }

    /// One AUTH request; its whole answer.
    async fn auth(&mut self, fields: &str) -> String {
        self.number += 1;
        let Self { own, relay, number, .. } = &*self;
        let id = format!("auth{number:04}");
        self.raw.say(&format!(
            "MSRP {id} AUTH\r\nTo-Path: {relay}\r\nFrom-Path: {own}\r\n{fields}-------{id}$\r\n"
        ));
        self.raw.until(&format!("-------{id}$\r\n")).await
    }

    /// Answers a challenge.
    async fn login(&mut self, algorithm: Algorithm, username: &str, password: &str) -> String {
        let challenged = self.auth("").await;
        assert!(challenged.contains(" 401 "), "{challenged}");
        let challenge = fields(&challenged, "WWW-Authenticate")
            .filter_map(Challenge::parse)
            .find(|challenge| challenge.algorithm == algorithm)
            .expect("offered");
        let (credentials, _) = challenge.answer(username, password, &self.relay, 1, &OsEntropy);
        self.auth(&format!("Authorization: {credentials}\r\n")).await
    }

    /// Logs in, and gives the URI of the relay.
    async fn granted(&mut self, service: &Service) -> String {
        let answer = self.login(Algorithm::Sha256, &service.username, &service.password).await;
        assert!(answer.contains(" 200 "), "{answer}");
        assert!(fields(&answer, "Authentication-Info").any(|info| info.contains("rspauth=")));
        let uri = fields(&answer, "Use-Path").next().expect("a path").to_owned();
        assert!(uri.starts_with(&format!("msrps://localhost:{}/", service.port)), "{uri}");
        uri
    }

    /// Sends a text.
    fn send(&mut self, id: &str, to: &str, text: &str) {
        let own = &self.own;
        let length = text.len();
        self.raw.say(&format!(
            "MSRP {id} SEND\r\nTo-Path: {to}\r\nFrom-Path: {own}\r\nMessage-ID: m{id}\r\nByte-Range: 1-{length}/{length}\r\n\
             Content-Type: text/plain\r\n\r\n{text}\r\n-------{id}$\r\n"
        ));
    }
}

fn fields<'a>(frame: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let field = move |line: &'a str| line.strip_prefix(name)?.strip_prefix(": ");
    frame.lines().filter_map(field)
}

/// The identifier of the first frame in a text, from its start line.
fn transaction(text: &str) -> &str {
    let line = text.lines().find(|line| line.starts_with("MSRP ")).expect("a start line");
    line.split(' ').nth(1).expect("an identifier")
}

/// A server with one account, and the credentials that its login has fetched.
async fn juliet() -> (Place, Running, Service) {
    let place = Place::new(&[]);
    place.accounts(&["juliet"]);
    let server = place.serve();
    let mut session = connect(server.client("juliet")).await;
    let service = service(&mut session).await;
    (place, server, service)
}

/// RFC 4976, S1-R5, S1-L5, S1-L8, S1-L9: an XMPP login fetches credentials, and two clients talk through the relay, both ways.
#[tokio::test]
async fn two_clients_talk_through_the_relay() {
    let place = Place::new(&[]);
    place.accounts(&["juliet", "romeo"]);
    let mut server = place.serve();
    let mut sessions = Vec::new();
    let mut clients = Vec::new();
    for name in ["juliet", "romeo"] {
        let mut session = connect(server.client(name)).await;
        let service = service(&mut session).await;
        assert_eq!(
            (service.host.as_str(), Some(service.port)),
            ("localhost", server.msrp.map(|at| at.port()))
        );
        let mut client = Client::connect(&server, name).await;
        let uri = client.granted(&service).await;
        clients.push((client, uri));
        sessions.push(session);
    }
    for id in ["first123", "second12"] {
        let [(from, own), (to, others)] = clients.as_mut_slice() else { panic!("two") };
        let (own, others) = (&*own, &*others);
        let path = format!("{own} {others} {}", to.own);
        from.send(id, &path, "Wherefore art thou?");
        let answer = from.raw.until(&format!("-------{id}$\r\n")).await;
        assert!(answer.starts_with(&format!("MSRP {id} 200")), "{answer}");
        let came = to.raw.until("$\r\n").await;
        assert!(
            came.contains(" SEND\r\n") && came.contains("\r\n\r\nWherefore art thou?\r\n-------"),
            "{came}"
        );
        assert_eq!(fields(&came, "To-Path").next(), Some(to.own.as_str()));
        assert_eq!(fields(&came, "From-Path").next(), Some(format!("{others} {own} {}", from.own).as_str()));
        let hop = transaction(&came);
        assert_ne!(hop, id, "a new identifier for the next hop");
        to.raw.say(&format!(
            "MSRP {hop} 200 OK\r\nTo-Path: {others}\r\nFrom-Path: {}\r\n-------{hop}$\r\n",
            to.own
        ));
        clients.reverse();
    }
    assert!(server.metric("nuncio_msrp_relay_sends_total") >= 2.0);
    // No secret of a session is in the log.
    let told: Vec<_> = server.log.all().into_iter().filter(|line| line.contains(";tcp")).collect();
    assert!(told.is_empty(), "{told:?}");
    server.stop();
}

/// S1-L4, S1-L7: wrong credentials give nothing and end the connection; nobody but the owner of a URI and who writes to him gets anything through.
#[tokio::test]
async fn strangers_get_nothing() {
    let (_place, server, service) = juliet().await;
    // Old clients know MD5 only.
    let mut juliet = Client::connect(&server, "juliet").await;
    let answer = juliet.login(Algorithm::Md5, &service.username, &service.password).await;
    assert!(answer.contains(" 200 "), "{answer}");
    let uri = fields(&answer, "Use-Path").next().unwrap().to_owned();

    // Whatever a stranger writes behind her URI goes to her alone.
    let mut stranger = Client::connect(&server, "stranger").await;
    stranger.send("stranger", &format!("{uri} msrps://victim.example:2855/abc;tcp"), "x");
    let came = juliet.raw.until("$\r\n").await;
    assert_eq!(fields(&came, "From-Path").next(), Some(format!("{uri} {}", stranger.own).as_str()));
    // Through a URI that nobody has issued; to the relay itself.
    let victim = "msrps://victim.example:2855/abc;tcp";
    let guessed = format!("msrps://localhost:{}/aaaaaaaaaaaaaaaaaaaaaaaaaa;tcp", service.port);
    for (number, path) in [format!("{guessed} {victim}"), uri.clone()].iter().enumerate() {
        let mut stranger = Client::connect(&server, "stranger").await;
        let id = format!("relay{number:03}");
        stranger.send(&id, path, "x");
        let answer = stranger.raw.until(&format!("-------{id}$\r\n")).await;
        assert!(answer.starts_with(&format!("MSRP {id} 481")), "{answer}");
    }
    // Not for us at all: dropped (S1-L3).
    let mut lost = Client::connect(&server, "lost").await;
    lost.send("lost1234", victim, "x");
    assert_eq!(lost.raw.end().await, (String::new(), Eof::Clean));

    let mut guesser = Client::connect(&server, "guesser").await;
    for _ in 0..2 {
        let answer = guesser.login(Algorithm::Sha256, &service.username, "wrong").await;
        assert!(answer.contains(" 401 "), "{answer}");
    }
    // A name that was not given out, with another end.
    let later = service.username.replacen(char::is_numeric, "9", 1);
    let answer = guesser.login(Algorithm::Sha256, &later, &service.password).await;
    assert!(answer.contains(" 401 "), "{answer}");
    assert_eq!(guesser.raw.end().await.1, Eof::Clean);
    assert!(server.metric("nuncio_msrp_relay_logins_total") >= 4.0);
    assert!(server.metric("nuncio_msrp_relay_dials_total").abs() < 0.5, "nobody made it connect");
}

/// Show 4: when an account is disabled, what it has begun at the relay ends, and its credentials are refused: also when it is enabled again.
#[tokio::test]
async fn a_disabled_account_has_no_relay() {
    let place = Place::new(&[]);
    place.accounts(&["juliet"]);
    let server = place.serve();
    let mut session = connect(server.client("juliet")).await;
    let service = service(&mut session).await;
    let mut juliet = Client::connect(&server, "juliet").await;
    juliet.granted(&service).await;
    let told = place.must(&["account", "disable", "juliet@localhost"], "");
    assert!(told.contains("ended=2"), "the XMPP session and the connection at the relay: {told}");
    assert_eq!(juliet.raw.end().await, (String::new(), Eof::Clean), "the live session ends");
    for act in ["disable", "enable"] {
        place.must(&["account", act, "juliet@localhost"], "");
        refused(&server, &service).await;
    }
}

/// Issue 5, Show 4: what an account was given is void when its password changes, and when its name is somebody else's. What is under way goes on with a
/// new password, and ends with the account.
#[tokio::test]
async fn credentials_are_good_for_one_generation_of_an_account() {
    let (place, server, first) = juliet().await;
    let mut juliet = Client::connect(&server, "juliet").await;
    juliet.granted(&first).await;
    place.must(&["account", "passwd", "juliet@localhost", "--password-stdin"], "another secret");
    refused(&server, &first).await;
    let mut session = connect(server.client_with("juliet", "another secret")).await;
    let second = service(&mut session).await;
    juliet.granted(&second).await;
    place.must(&["account", "delete", "juliet@localhost"], "");
    assert_eq!(juliet.raw.end().await.1, Eof::Clean);
    refused(&server, &second).await;
    place.accounts(&["juliet"]);
    refused(&server, &second).await;
}

/// A login with credentials that are good no more.
async fn refused(server: &Running, service: &Service) {
    let mut client = Client::connect(server, "refused").await;
    let answer = client.login(Algorithm::Sha256, &service.username, &service.password).await;
    assert!(answer.contains(" 401 "), "{answer}");
}
