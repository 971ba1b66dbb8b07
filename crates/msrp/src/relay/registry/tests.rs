use nuncio_sansio::pair::Counter;

use super::*;

/// Whatever comes and goes, nothing stays behind; and what is forgotten by one index is forgotten by all.
#[test]
fn nothing_outlives_its_connection_or_its_time() {
    let entropy = Counter::default();
    let uri = |text: &str| Uri::parse(text).expect("a URI");
    let path = |uris: &[&Uri]| Path::new(uris.iter().map(|uri| (*uri).clone()).collect()).expect("not empty");
    let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
    for end in ["links first", "time first", "accounts first"] {
        let mut registry =
            Registry::new("relay.example", 2855, Vec::new(), Bounds::default()).expect("a name");
        let far = uri("msrps://far.example:2855;tcp");
        for link in 0..8 {
            registry.opened(LinkId(link), (link >= 6).then(|| (far.hop().clone(), "odd".into())));
        }
        registry.proven(LinkId(5), far.host().clone());
        for number in 0..20 {
            let client = uri(&format!("msrps://client.example:1/c{number};tcp"));
            let (owner, from) = match number % 5 {
                4 => (Owner::Relay(far.host().clone()), path(&[&far, &client])),
                link => (Owner::Link(LinkId(link)), path(&[&client])),
            };
            let account = if number % 2 == 0 { "even" } else { "odd" };
            let token = registry
                .issue(at(number), &Holder::new(account, 0), owner, from, 60, &entropy)
                .expect("few enough");
            for sender in [4, 6, number % 5] {
                let from = uri(&format!("msrps://sender.example:1/s{sender};tcp"));
                let next = if number % 5 == 4 { &far } else { &client };
                let route =
                    registry.route(at(number), LinkId(sender), &path(&[&token, next]), &path(&[&from]));
                assert!(route.is_ok(), "{route:?}");
            }
        }
        assert_eq!(registry.len(), 20);
        match end {
            "time first" => {
                assert_eq!(registry.purge(at(65)), Some(at(66)));
                assert_eq!((registry.len(), registry.purge(at(200))), (14, None));
            }
            "accounts first" => {
                assert_eq!(registry.revoke("even").len(), 4);
                assert_eq!(registry.len(), 10);
                assert_eq!(registry.revoke("odd").len(), 4);
            }
            _ => {}
        }
        for link in 0..8 {
            registry.closed(LinkId(link));
        }
        registry.purge(at(200));
        assert!(
            registry.issued.is_empty() && registry.expiry.is_empty() && registry.accounts.is_empty(),
            "{end}"
        );
        assert!(
            registry.links.is_empty() && registry.places.is_empty() && registry.relays.is_empty(),
            "{end}"
        );
        assert!(registry.made.is_empty(), "{end}: {:?}", registry.made);
    }
}

struct Asked {
    registry: Registry,
    entropy: Counter,
}

impl Asked {
    fn new(bounds: Bounds) -> Self {
        let registry = Registry::new("relay.example", 2855, Vec::new(), bounds).expect("a name");
        Self { registry, entropy: Counter::default() }
    }

    fn issue(&mut self, seconds: u64, owner: Owner, from: &[&str], life: u32) -> Uri {
        let now = Time::ZERO + Duration::from_secs(seconds);
        let issued =
            self.registry.issue(now, &Holder::new("romeo", 1), owner, path(from), life, &self.entropy);
        issued.expect("few enough")
    }

    /// A request of a stranger.
    fn ask(&mut self, seconds: u64, link: u64, to: &[&str]) -> Result<Route, RouteError> {
        let now = Time::ZERO + Duration::from_secs(seconds);
        let from = path(&["msrps://stranger.example:1/s;tcp"]);
        self.registry.route(now, LinkId(link), &path(to), &from)
    }
}

fn path(uris: &[&str]) -> Path {
    Path::new(uris.iter().map(|uri| Uri::parse(uri).expect("a URI")).collect()).expect("not empty")
}

fn host(name: &str) -> Owner {
    Owner::Relay(Host::parse(name).expect("a name"))
}

/// S1-L18: who has a URI of a client behind another relay may have us connect to where that client came from, to no other host, port or
/// scheme; and how often we connect there is bounded.
#[test]
fn a_stranger_has_us_connect_to_where_the_owner_is_only() {
    let mut asked = Asked::new(Bounds { connects_per_account: 2, ..Bounds::default() });
    asked.registry.opened(LinkId(1), None);
    let far = "msrps://far.example:2855/token;tcp";
    let from = [far, "msrps://client.example:1/abc;tcp"];
    let token = asked.issue(0, host("far.example"), &from, 60);
    for elsewhere in [
        "msrps://far.example:1/token;tcp",
        "msrps://far.example/token;tcp",
        "msrp://far.example:2855/token;tcp",
        "msrps://far.example:2855/token;ws",
        "msrps://victim.example:2855/token;tcp",
    ] {
        let next = asked.ask(0, 1, &[token.as_str(), elsewhere]).map(|route| route.next);
        assert_eq!(next, Err(RouteError::NotAllowed), "{elsewhere}");
    }
    for _ in 0..2 {
        let next = asked.ask(0, 1, &[token.as_str(), far]).map(|route| route.next);
        assert!(matches!(next, Ok(Next::Connect { .. })), "{next:?}");
    }
    let next = asked.ask(0, 1, &[token.as_str(), far]).map(|route| route.next);
    assert_eq!(next, Err(RouteError::Budget));
}

/// S1-L18: also connections that stay are counted, until they end.
#[test]
fn an_account_has_a_few_connections_at_a_time() {
    let mut asked = Asked::new(Bounds { links_per_account: 2, ..Bounds::default() });
    asked.registry.opened(LinkId(1), None);
    let client = "msrps://client.example:1/abc;tcp";
    let token = asked.issue(0, Owner::Link(LinkId(1)), &[client], 86_400);
    let next = |registry: &mut Registry, hour: u64, host: &str| {
        let to = path(&[token.as_str(), &format!("msrps://{host}:2855/x;tcp")]);
        let now = Time::ZERO + Duration::from_secs(hour * 3_600);
        registry.route(now, LinkId(1), &to, &path(&[client])).map(|route| route.next)
    };
    for (hour, host) in [(1, "a.example"), (2, "b.example")] {
        let Ok(Next::Connect { hop, account }) = next(&mut asked.registry, hour, host) else {
            panic!("{host}");
        };
        asked.registry.opened(LinkId(10 + hour), Some((hop, account)));
    }
    assert_eq!(next(&mut asked.registry, 3, "c.example"), Err(RouteError::Budget));
    assert_eq!(next(&mut asked.registry, 3, "b.example"), Ok(Next::Link(LinkId(12))));
    asked.registry.closed(LinkId(11));
    assert!(matches!(next(&mut asked.registry, 4, "c.example"), Ok(Next::Connect { .. })));
}

/// RFC 4976 §9.1: whoever logs in again keeps its URI, and what goes over it goes on; another session, owner or account has its own.
#[test]
fn a_renewed_uri_is_the_same() {
    let mut asked = Asked::new(Bounds { uris_per_account: 3, ..Bounds::default() });
    let (one, two) = ("msrps://client.example:1/one;tcp", "msrps://client.example:1/two;tcp");
    for link in 1..=3 {
        asked.registry.opened(LinkId(link), None);
    }
    let owner = || Owner::Link(LinkId(1));
    let first = asked.issue(0, owner(), &[one], 60);
    let route = asked.ask(10, 3, &[first.as_str(), one]).expect("it is good");
    assert_eq!(asked.issue(50, owner(), &[one], 60), first);
    let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
    assert!(!route.lives.are_over(at(109)) && route.lives.are_over(at(110)), "what is under way as well");
    asked.registry.purge(at(100));
    assert!(asked.ask(100, 3, &[first.as_str(), one]).is_ok());
    let others =
        [asked.issue(100, owner(), &[two], 60), asked.issue(100, Owner::Link(LinkId(2)), &[one], 60)];
    assert!(others[0] != first && others[1] != first && others[0] != others[1]);
    // No place for a fourth, but a renewal needs none.
    let fourth = asked.registry.issue(
        at(101),
        &Holder::new("romeo", 1),
        owner(),
        path(&["msrps://c.example:1/3;tcp"]),
        60,
        &asked.entropy,
    );
    assert_eq!(fourth, Err(Status::FORBIDDEN));
    assert_eq!(asked.issue(101, owner(), &[one], 60), first);
    // Revoked in the middle of a message.
    asked.registry.revoke("romeo");
    assert!(route.lives.are_over(at(102)) && asked.registry.is_empty());
}

/// S1-L15: what a relay has given to clients behind others is known to any machine with its name and key, and to itself when it starts
/// again; not what was changed, has expired, or is for another name.
#[test]
fn a_sealed_uri_is_good_on_every_machine() {
    let keys = |byte: u8| Arc::new(SealKeys::new([&[byte; 32]]).expect("one"));
    let far = "msrps://far.example:2855/token;tcp";
    let from = [far, "msrps://client.example:1/abc;tcp"];
    let machine = |byte, epoch| {
        let mut asked = Asked::new(Bounds { uris_per_account: 1, ..Bounds::default() });
        asked.registry = asked.registry.sealing(keys(byte), epoch);
        asked.registry.opened(LinkId(1), None);
        asked
    };
    let mut first = machine(7, 1_000);
    let token = first.issue(0, host("far.example"), &from, 600);
    let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
    // The other one has started later: its clock stands elsewhere.
    let mut other = machine(7, 1_300);
    assert_eq!(other.ask(0, 1, &[token.as_str(), far]).map(|route| route.next), Err(RouteError::Unknown));
    assert_eq!(other.registry.sealed(at(299), &token), Some(Holder::new("romeo", 1)));
    assert!(other.registry.sealed(at(300), &token).is_none() && !other.registry.adopt(at(300), &token));
    assert!(other.registry.adopt(at(0), &token) && other.registry.sealed(at(0), &token).is_none());
    let route = other.ask(1, 1, &[token.as_str(), far]).expect("it is known now");
    assert!(matches!(route.next, Next::Connect { .. }) && route.lives.are_over(at(300)));
    // Whoever logs in again there keeps it as well.
    assert_eq!(other.issue(1, host("far.example"), &from, 600), token);
    // No more than the account may have; nothing of another key; and it goes with its account.
    let second = first.registry.issue(
        at(0),
        &Holder::new("juliet", 0),
        host("far.example"),
        path(&from),
        600,
        &first.entropy,
    );
    let mut third = machine(7, 1_000);
    let more = third.issue(0, host("far.example"), &["msrps://far.example:2855/other;tcp"], 600);
    assert!(!other.registry.adopt(at(0), &more) && other.registry.adopt(at(0), &second.expect("hers")));
    assert!(machine(8, 1_000).registry.sealed(at(0), &token).is_none());
    other.registry.revoke("romeo");
    assert_eq!(other.ask(2, 1, &[token.as_str(), far]).map(|route| route.next), Err(RouteError::Unknown));
    // What belongs to a connection is nobody else's business.
    let own = first.registry.issue(
        at(0),
        &Holder::new("benvolio", 0),
        Owner::Link(LinkId(1)),
        path(&[from[1]]),
        600,
        &first.entropy,
    );
    assert!(other.registry.sealed(at(0), &own.expect("his")).is_none());
}

/// RFC 4976 §6.3, §6.4: whoever comes under the name of the owner's relay may be asked to prove it; others are no owner.
#[test]
fn a_relay_may_prove_itself_late() {
    let mut asked = Asked::new(Bounds::default());
    asked.registry.opened(LinkId(1), None);
    let far = "msrps://far.example:2855/token;tcp";
    let token = asked.issue(0, host("far.example"), &[far, "msrps://client.example:1/abc;tcp"], 600);
    let to = path(&[token.as_str(), "msrps://peer.example:1/x;tcp"]);
    let route = |registry: &mut Registry, from: &str| {
        registry.route(Time::ZERO, LinkId(1), &to, &path(&[from])).map(|route| route.next)
    };
    assert_eq!(route(&mut asked.registry, far), Err(RouteError::Unproven));
    assert_eq!(route(&mut asked.registry, "msrps://evil.example:1/x;tcp"), Err(RouteError::NotAllowed));
    // The same for who has written on another connection before.
    let back = path(&[token.as_str(), far]);
    let sender = path(&["msrps://far.example:2855/peer;tcp"]);
    asked.registry.opened(LinkId(2), None);
    let write = |registry: &mut Registry, link| {
        registry.route(Time::ZERO, LinkId(link), &back, &sender).map(|route| route.moved)
    };
    assert_eq!(write(&mut asked.registry, 2), Ok(1));
    assert_eq!(write(&mut asked.registry, 1), Err(RouteError::Elsewhere));
    asked.registry.proven(LinkId(1), Host::parse("evil.example").expect("a name"));
    assert_eq!(write(&mut asked.registry, 1), Err(RouteError::Elsewhere), "another relay is not the sender");
    asked.registry.proven(LinkId(1), Host::parse("far.example").expect("a name"));
    assert_eq!(write(&mut asked.registry, 1), Ok(1));
    assert!(matches!(route(&mut asked.registry, far), Ok(Next::Connect { .. })));
}

/// Both clients at one relay: what passes ends with either's URI.
#[test]
fn two_uris_live_as_long_as_the_shorter() {
    let (a, b) = ("msrps://a.example:1/a;tcp", "msrps://b.example:1/b;tcp");
    let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
    for (mine, theirs) in [(60, 120), (120, 60)] {
        let mut asked = Asked::new(Bounds::default());
        for link in 1..=2 {
            asked.registry.opened(LinkId(link), None);
        }
        let own = asked.issue(0, Owner::Link(LinkId(1)), &[a], mine);
        let other = asked.issue(0, Owner::Link(LinkId(2)), &[b], theirs);
        let to = path(&[own.as_str(), other.as_str(), b]);
        let route = asked.registry.route(at(1), LinkId(1), &to, &path(&[a])).expect("a way");
        assert_eq!((route.next, route.moved), (Next::Link(LinkId(2)), 2));
        assert!(!route.lives.are_over(at(59)) && route.lives.are_over(at(60)), "{mine} {theirs}");
    }
}
