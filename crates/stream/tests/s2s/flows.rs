//! RFC 7712 §4.1 to §4.3 as conversations: mutual authentication, and dialback where that is not to be had.

use nuncio_sansio::pair::Split;
use nuncio_stream::s2s::{Condition, DialbackError, Pair, Purpose};

use crate::world::{Server, World};

fn a() -> Server {
    Server::new(&["a.example"], "secret of a")
}

fn b() -> Server {
    Server::new(&["b.example"], "secret of b")
}

fn ab() -> Pair {
    Pair::new("a.example", "b.example")
}

/// A calls B and says something.
fn meet(mut world: World) -> World {
    world.dial(0, &ab(), Purpose::Stanzas);
    world.seconds(2);
    world.say(0, true, &ab(), "hello");
    world.seconds(2);
    world
}

/// RFC 7712 §4.2, S3-06 to S3-09: headers, TLS, both certificates, SASL EXTERNAL; dialback has no part in it.
#[test]
fn mutual_pkix() {
    let world = meet(World::new(&[a(), b()]));
    assert_eq!(world.links.len(), 1, "one connection");
    world.assert_sent(
        0,
        true,
        &[
            "from='a.example' to='b.example'",
            "<starttls",
            "from='a.example' to='b.example'",
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>YS5leGFtcGxl</auth>",
            "from='a.example' to='b.example'",
            "<enable",
            "<message ",
        ],
    );
    world.assert_sent(
        0,
        false,
        &[
            "from='b.example'",
            "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>",
            "<proceed",
            "from='b.example'",
            "<mechanism>EXTERNAL</mechanism>",
            "<success",
            "from='b.example'",
            "<enabled",
        ],
    );
    assert!(
        !world.sent(0, true).contains("db:result") && !world.sent(0, false).contains("db:"),
        "no dialback"
    );
    world.assert_heard(
        0,
        true,
        &[
            "secured",
            "offered external dialback errors sm",
            "offered dialback errors sm",
            "managed",
            "authorised a.example with b.example Out External",
            "acked 1 1",
        ],
    );
    world.assert_heard(
        0,
        false,
        &[
            "secured",
            "authorised b.example with a.example In External",
            "managed",
            "stanza 1 hello of b.example with a.example",
        ],
    );
    assert!(!world.closed(0));
}

/// XEP-0368: the same with TLS before the first byte; STARTTLS is never spoken of.
#[test]
fn mutual_pkix_over_direct_tls() {
    let world = meet(World::new(&[a(), b()]).direct_tls());
    world.assert_heard(
        0,
        true,
        &["secured", "authorised a.example with b.example Out External", "acked 1 1"],
    );
    world.assert_heard(0, false, &["stanza 1 hello of b.example with a.example"]);
    assert!(!world.sent(0, true).contains("starttls") && !world.sent(0, false).contains("starttls"));
}

/// RFC 7712 §4.3, S3-10: the certificate of A is not acceptable, so A asserts, and B asks A's own server, in the order of the steps.
#[test]
fn one_way_with_dialback() {
    let world = meet(World::new(&[Server { as_client: false, ..a() }, b()]));
    assert_eq!(world.links.len(), 2, "one for the assertion, one for the question");
    // Step 1.
    world.assert_sent(
        0,
        true,
        &["<starttls", "<db:result from='a.example' to='b.example'>secret of a/", "<message "],
    );
    assert!(!world.sent(0, false).contains("EXTERNAL"), "not offered to whom it cannot help");
    // Steps 4 to 6, 8.
    assert_eq!((world.links[1].from, world.links[1].to), (1, 0));
    world.assert_sent(
        1,
        true,
        &[
            "from='b.example' to='a.example'",
            "<starttls",
            "from='b.example' to='a.example'",
            "<db:verify from='b.example' to='a.example' id='",
        ],
    );
    // Step 9.
    world.assert_sent(1, false, &["<db:verify from='a.example' to='b.example' id='"]);
    assert!(world.sent(1, false).contains("type='valid'/>"));
    world.assert_sent(0, false, &["<db:result from='b.example' to='a.example' type='valid'/>"]);
    world.assert_heard(
        0,
        true,
        &[
            "offered dialback errors sm",
            "managed",
            "authorised a.example with b.example Out Dialback",
            "answered a.example with b.example Ok(())",
            "acked 1 1",
        ],
    );
    world.assert_heard(
        0,
        false,
        &[
            "asserted b.example with a.example",
            "authorised b.example with a.example In Dialback",
            "stanza 1 hello of b.example with a.example",
        ],
    );
    world.assert_heard(1, true, &["verified b.example with a.example Ok(())", "ended host clean"]);
    assert!(!world.closed(0) && world.closed(1), "the second connection has served");
}

/// RFC 7712 §4.3: steps 8 and 9 are skipped where the authoritative server presents the same certificate (XEP-0344 §2.6).
#[test]
fn one_way_with_the_same_certificate() {
    let world =
        meet(World::new(&[Server { as_client: false, ..a() }, Server { same_certificate: true, ..b() }]));
    assert_eq!(world.links.len(), 2);
    assert!(!world.sent(1, true).contains("db:verify"));
    world.assert_heard(
        0,
        false,
        &["authorised b.example with a.example In Dialback", "stanza 1 hello of b.example with a.example"],
    );
}

/// RFC 7712 §4.3 in both directions at once: neither waits for the other's pair to be authorised before it answers about keys.
#[test]
fn both_directions_by_dialback() {
    let weak = |server: Server| Server { as_client: false, certificate: Vec::new(), ..server };
    let mut world = World::new(&[weak(a()), weak(b())]);
    world.dial(0, &ab(), Purpose::Stanzas);
    world.dial(1, &Pair::new("b.example", "a.example"), Purpose::Stanzas);
    world.seconds(3);
    for link in [0, 1] {
        let heard = world.heard(link, true);
        assert!(heard.iter().any(|line| line.starts_with("authorised")), "{heard:#?}");
    }
}

/// XEP-0220 §2.2.1: a key that is not the domain's ends a stream that carries nothing else.
#[test]
fn a_wrong_key() {
    let world = meet(World::new(&[Server { as_client: false, checks: Some("another secret"), ..a() }, b()]));
    world.assert_heard(1, true, &["verified b.example with a.example Err(Invalid)"]);
    world.assert_sent(
        0,
        false,
        &["<db:result from='b.example' to='a.example' type='invalid'/></stream:stream>"],
    );
    world.assert_heard(0, true, &["answered a.example with b.example Err(Invalid)", "ended dialback clean"]);
    world.assert_heard(0, false, &["ended dialback clean"]);
    assert!(!world.sent(0, true).contains("<message"));
}

/// S0-26: only what failed elsewhere is called a failed remote connection.
#[test]
fn nobody_to_ask() {
    for (refusal, condition) in [
        (None, "remote-connection-failed"),
        (Some(Condition::NotAuthorized), "not-authorized"),
        (Some(Condition::InternalServerError), "internal-server-error"),
    ] {
        let mut world = World::new(&[Server { as_client: false, ..a() }, b()]);
        match refusal {
            Some(condition) => {
                world.with(1, |b| b.refuses = vec![("a.example", DialbackError::Error(condition))]);
            }
            None => world.with(0, |a| a.domains.clear()),
        }
        world.dial(0, &ab(), Purpose::Stanzas);
        world.seconds(3);
        world.assert_sent(
            0,
            false,
            &["<db:result from='b.example' to='a.example' type='error'><error type='", condition],
        );
        world.assert_heard(0, true, &["ended dialback clean"]);
        assert!(!world.sent(0, false).contains("stream:error"), "XEP-0220 §2.4.2: no stream error");
    }
}

/// The outcome of every conversation is the same however its bytes are cut.
#[test]
fn cut_anywhere() {
    let worlds: [fn() -> World; 5] = [
        || World::new(&[a(), b()]),
        || World::new(&[a(), b()]).direct_tls(),
        || World::new(&[Server { as_client: false, ..a() }, b()]),
        || World::new(&[Server { as_client: false, ..a() }, Server { same_certificate: true, ..b() }]),
        || World::new(&[Server { as_client: false, checks: Some("another secret"), ..a() }, b()]),
    ];
    for (index, world) in worlds.iter().enumerate() {
        let whole = meet(world()).story();
        for size in [1, 2, 3, 7, 16, 61, 200] {
            assert_eq!(
                meet(world().split(Split::Each(size))).story(),
                whole,
                "world {index} cut into {size}"
            );
        }
    }
}
