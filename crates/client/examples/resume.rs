//! Shows against any server that a session survives its connections: `resume HOST:PORT starttls|direct CA DOMAIN [MECHANISM...]`. The
//! accounts are `alice` and `bob`, their passwords stand in `ALICE` and `BOB`. `cargo xtask interop library` runs it against three
//! servers.
//!
//! It prints a line for each thing that it has seen, and ends with an error at the first that is otherwise.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use nuncio_client::xmpp::jid::{BareJid, Jid};
use nuncio_client::xmpp::ns;
use nuncio_client::xmpp::stanza::{MessageType, PresenceType, message, presence};
use nuncio_client::xmpp::xml::Builder;
use nuncio_client::{Client, ClientConfig, Event, Mechanism, Online, Pace, Roots, Server, Session, Start};
use tokio::time::timeout;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often the connection is lost in the middle of messages.
const LOSSES: usize = 6;

/// One of the two who talk.
struct Side {
    name: &'static str,
    session: Session,
    jid: Jid,
    /// The bodies that came, in order.
    got: Vec<String>,
    sent: usize,
    /// The number of the last stanza that was sent, and of the last that the server has acknowledged.
    last: u64,
    acked: u64,
    /// Set by the event that says so.
    resumable: Option<bool>,
    online: Option<Box<Online>>,
    down: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, start, authority, domain, mechanisms @ ..] = words.as_slice() else {
        return Err("wanted: HOST:PORT starttls|direct CA DOMAIN [MECHANISM...]".into());
    };
    let mechanisms: Vec<Mechanism> =
        mechanisms.iter().map(|name| name.parse()).collect::<std::result::Result<_, _>>()?;
    let address: SocketAddr = address.parse()?;
    let start = match start.as_str() {
        "starttls" => Start::Tcp,
        "direct" => Start::DirectTls,
        other => return Err(format!("neither starttls nor direct: {other}").into()),
    };
    let settings = |name: &str| -> Result<ClientConfig> {
        let account = BareJid::new(&format!("{name}@{domain}"))?;
        let password = std::env::var(name.to_uppercase())?;
        let mut settings = ClientConfig {
            server: Server::Address(address),
            start,
            pace: Pace { every: 5, ..Pace::default() },
            ..ClientConfig::new(account, &password, Roots::Files(vec![authority.into()]))
        };
        if !mechanisms.is_empty() {
            settings.policy.mechanisms.clone_from(&mechanisms);
        }
        Ok(settings)
    };
    let mut alice = Side::login("alice", settings("alice")?).await?;
    let mut bob = Side::login("bob", settings("bob")?).await?;
    let to_bob = bob.jid.clone();
    let to_alice = alice.jid.clone();

    alice.say(&to_bob, 3).await?;
    bob.until("3 messages", |bob| bob.got.len() == 3).await?;
    alice.until("all acknowledgements", Side::all_acked).await?;
    println!("alice sends 3 messages; bob has them, and alice their acknowledgements");

    bob.lose().await?;
    alice.say(&to_bob, 10).await?;
    alice.until("all acknowledgements", Side::all_acked).await?;
    bob.say(&to_alice, 5).await?;
    bob.come_back().await?;
    bob.until("10 messages more", |bob| bob.got.len() == 13).await?;
    bob.until("all acknowledgements", Side::all_acked).await?;
    alice.until("5 messages", |alice| alice.got.len() == 5).await?;
    println!(
        "bob loses his connection; 10 messages come meanwhile, 5 wait to be sent; he resumes, and all are there"
    );

    for _ in 0..LOSSES {
        alice.say(&to_bob, 20).await?;
        bob.say(&to_alice, 20).await?;
        // In the middle of it, whatever has gone out by now and come by now.
        bob.lose().await?;
        bob.come_back().await?;
    }
    let (forth, back) = (alice.sent, bob.sent);
    bob.until("every message", |bob| bob.got.len() == forth).await?;
    alice.until("every message", |alice| alice.got.len() == back).await?;
    for side in [&mut alice, &mut bob] {
        side.until("all acknowledgements", Side::all_acked).await?;
    }
    println!("{LOSSES} times more in the middle of 20 messages each way; each time he resumes");

    for (side, count) in [(&mut alice, back), (&mut bob, forth)] {
        // What came late or twice would be before the answer.
        side.ping().await?;
        let mut rest = Vec::new();
        std::mem::swap(&mut rest, &mut side.got);
        let wanted: Vec<_> = (1..=count).map(|number| number.to_string()).collect();
        if rest != wanted {
            return Err(format!("{} got {rest:?}", side.name).into());
        }
    }
    println!(
        "bob got {forth} messages and alice {back}, each once, in order, and all {} acknowledged",
        forth + back
    );
    alice.leave().await?;
    bob.leave().await?;
    println!("both leave by the book");
    Ok(())
}

impl Side {
    /// Logs in, with presence, on a session that can be resumed.
    async fn login(name: &'static str, settings: ClientConfig) -> Result<Self> {
        let session = timeout(PATIENCE, Client::connect(settings)).await??;
        let state = session.state().ok_or("not online")?;
        let jid = state.jid.clone();
        let (tls, login) = (&state.tls, &state.login);
        println!(
            "{name} logs in: {:?} {}, {}, {}, {}",
            tls.version,
            tls.suite,
            login.mechanism,
            login.channel_binding.map_or("no channel binding", |binding| binding.as_str()),
            if login.mutual {
                "the server proved that it knows the password"
            } else {
                "the server proved nothing"
            },
        );
        let (got, sent, last, acked) = (Vec::new(), 0, 0, 0);
        let mut this =
            Self { name, session, jid, got, sent, last, acked, resumable: None, online: None, down: false };
        this.last = this.session.send(&presence(PresenceType::Available).build()).await?;
        this.ping().await?;
        this.until("stream management", |side| side.resumable == Some(true)).await?;
        Ok(this)
    }

    /// Sends messages with the next numbers.
    async fn say(&mut self, to: &Jid, count: usize) -> Result<()> {
        for _ in 0..count {
            self.sent += 1;
            let stanza = message(MessageType::Chat).to(to.clone()).body(&self.sent.to_string()).build();
            self.last = self.session.send(&stanza).await?;
        }
        Ok(())
    }

    /// Takes events until it is as wanted.
    async fn until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) -> Result<()> {
        while !wanted(self) {
            let event = match timeout(PATIENCE, self.session.next()).await {
                Ok(event) => event.ok_or("the session is over")?,
                Err(_) => {
                    return Err(format!("{} waits for {what} in vain, with {:?}", self.name, self.got).into());
                }
            };
            self.take(event)?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Stanza(stanza) if stanza.is_error() => return Err(format!("an error: {stanza:?}").into()),
            Event::Stanza(stanza) => self.got.extend(stanza.body_text().map(|text| text.into_owned())),
            Event::Acked { number } => self.acked = number,
            Event::Managed { resumable } => self.resumable = Some(resumable),
            Event::Unmanaged(why) => return Err(format!("no stream management: {why:?}").into()),
            Event::Online(online) => self.online = Some(online),
            Event::Disconnected(end) if end.resumable => self.down = true,
            Event::Disconnected(end) => {
                return Err(format!("the session cannot be resumed: {}", end.why).into());
            }
            Event::Nonza(_) => {}
        }
        Ok(())
    }

    fn all_acked(&self) -> bool {
        self.acked == self.last
    }

    /// TCP ends without a word.
    async fn lose(&mut self) -> Result<()> {
        self.session.cut();
        self.until("the end of the connection", |side| side.down).await
    }

    async fn come_back(&mut self) -> Result<()> {
        (self.online, self.down) = (None, false);
        self.session.reconnect();
        self.until("the session", |side| side.online.is_some()).await?;
        match self.online.take() {
            Some(online) if online.resumed && online.jid == self.jid => Ok(()),
            other => Err(format!("{} has not resumed: {other:?}", self.name).into()),
        }
    }

    /// Until the server has taken everything that was sent before.
    async fn ping(&mut self) -> Result<()> {
        let server = Jid::new(self.jid.domain())?;
        let sender = self.session.sender();
        let answer =
            tokio::spawn(async move { sender.get(Some(&server), Builder::new("ping", ns::PING)).await });
        // The session counts requests as stanzas too.
        self.last += 1;
        while !answer.is_finished() {
            if let Ok(event) = timeout(Duration::from_millis(20), self.session.next()).await {
                self.take(event.ok_or("the session is over")?)?;
            }
        }
        answer.await??;
        Ok(())
    }

    async fn leave(self) -> Result<()> {
        let rest = timeout(PATIENCE, self.session.close()).await?;
        for event in &rest {
            match event {
                Event::Stanza(stanza) if stanza.body_text().is_some() => {
                    return Err(format!("{} got one message too many: {stanza:?}", self.name).into());
                }
                Event::Disconnected(end) if !end.clean => {
                    return Err(format!("not closed by the book: {}", end.why).into());
                }
                _ => {}
            }
        }
        Ok(())
    }
}
