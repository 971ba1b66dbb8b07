//! RFC 7712 §4.4: further pairs on a stream, by assertion and by supposition, and the same towards the one who called (XEP-0288).

use nuncio_sansio::pair::Split;
use nuncio_stream::s2s::{Command, Condition, DialbackError, Pair, Purpose, S2sConfig};

use crate::world::{Server, World};

fn a() -> Server {
    Server::new(&["a.example", "rooms.a.example"], "secret of a")
}

/// The server that has a connection to A, and a second domain (RFC 7712 §4.4.1).
fn b() -> Server {
    Server::new(&["b.example", "c.example"], "secret of b")
}

fn bidi(server: Server) -> Server {
    Server { config: S2sConfig { bidi: true, ..server.config }, ..server }
}

fn ba() -> Pair {
    Pair::new("b.example", "a.example")
}

fn ca() -> Pair {
    Pair::new("c.example", "a.example")
}

fn c_rooms() -> Pair {
    Pair::new("c.example", "rooms.a.example")
}

/// B has a connection to A.
fn connected(world: World) -> World {
    let mut world = world;
    world.dial(1, &ba(), Purpose::Stanzas);
    world.seconds(2);
    world
}

/// S3-11: the certificate of B is good for c.example too, so no further action is necessary.
#[test]
fn assertion_with_the_certificate() {
    let mut world = connected(World::new(&[a(), b()]));
    world.assert(0, true, &ca());
    world.seconds(1);
    world.say(0, true, &ca(), "from c");
    world.say(0, true, &ba(), "from b");
    world.seconds(1);
    assert_eq!(world.links.len(), 1, "one connection");
    world.assert_sent(0, true, &["<db:result from='c.example' to='a.example'>secret of b/"]);
    world.assert_sent(0, false, &["<db:result from='a.example' to='c.example' type='valid'/>"]);
    world.assert_heard(
        0,
        true,
        &["authorised c.example with a.example Out Dialback", "answered c.example with a.example Ok(())"],
    );
    world.assert_heard(
        0,
        false,
        &[
            "asserted a.example with c.example",
            "authorised a.example with c.example In Dialback",
            "stanza 1 from c of a.example with c.example",
            "stanza 2 from b of a.example with b.example",
        ],
    );
}

/// S3-11: it is not, so A calls c.example (steps 1 to 7), and the second connection ends when it has served.
#[test]
fn assertion_with_a_question() {
    let mut world = connected(World::new(&[a(), Server { certificate: vec!["b.example"], ..b() }]));
    world.assert(0, true, &ca());
    world.seconds(2);
    world.say(0, true, &ca(), "from c");
    world.seconds(1);
    assert_eq!(world.links.len(), 2);
    world.assert_sent(
        1,
        true,
        &["from='a.example' to='c.example'", "<starttls", "<db:verify from='a.example' to='c.example' id='"],
    );
    world.assert_sent(1, false, &["<db:verify from='c.example' to='a.example' id='"]);
    world.assert_heard(1, true, &["verified a.example with c.example Ok(())", "ended host clean"]);
    world.assert_sent(0, false, &["<db:result from='a.example' to='c.example' type='valid'/>"]);
    world.assert_heard(
        0,
        false,
        &["authorised a.example with c.example In Dialback", "stanza 1 from c of a.example with c.example"],
    );
    assert!(world.closed(1) && !world.closed(0));
}

/// Issue 4: a refused pair never takes the stream down for others, whatever the reason; a wrong key is told as `forbidden` then (XEP-0220 §2.2.1).
#[test]
fn a_refused_assertion() {
    for (error, told) in [
        (DialbackError::Invalid, "<forbidden"),
        (DialbackError::Error(Condition::NotAuthorized), "<not-authorized"),
        (DialbackError::Error(Condition::RemoteServerTimeout), "<remote-server-timeout"),
        (DialbackError::TimedOut, "<remote-server-timeout"),
    ] {
        let mut world = connected(World::new(&[Server { refuses: vec![("c.example", error)], ..a() }, b()]));
        for _ in 0..20 {
            world.assert(0, true, &ca());
            world.seconds(1);
        }
        world.say(0, true, &ba(), "from b");
        world.seconds(1);
        world.assert_sent(0, false, &["<db:result from='a.example' to='c.example' type='error'>", told]);
        world.assert_heard(0, false, &["stanza 1 from b of a.example with b.example"]);
        assert!(!world.closed(0), "{error:?}");
        let answers =
            world.heard(0, true).iter().filter(|line| line.starts_with("answered c.example")).count();
        assert_eq!(answers, 20);
    }
}

/// S3-12, RFC 7712 §4.4.2: the third server would be believed for rooms.a.example, and says that it handles dialback errors.
#[test]
fn supposition() {
    let mut world = connected(World::new(&[a(), b()]));
    world.assert(0, true, &c_rooms());
    world.seconds(1);
    world.say(0, true, &c_rooms(), "to the room");
    world.seconds(1);
    assert_eq!(world.links.len(), 1, "on the existing connection");
    world.assert_sent(0, true, &["<db:result from='c.example' to='rooms.a.example'>secret of b/"]);
    world.assert_sent(0, false, &["<db:result from='rooms.a.example' to='c.example' type='valid'/>"]);
    world.assert_heard(0, false, &["stanza 1 to the room of rooms.a.example with c.example"]);
}

/// S3-12: the domain is not there after all: `item-not-found` (XEP-0220 §2.4.2), and the stream goes on; a connection of its own is what is left.
#[test]
fn a_wrong_supposition() {
    let gone = Pair::new("c.example", "gone.a.example");
    let mut world = connected(World::new(&[a(), b()]));
    world.assert(0, true, &gone);
    world.seconds(1);
    world.assert_heard(0, true, &["answered c.example with gone.a.example Err(Error(ItemNotFound))"]);
    world.say(0, true, &ba(), "from b");
    world.seconds(1);
    world.assert_heard(0, false, &["stanza 1 from b of a.example with b.example"]);
    assert!(!world.closed(0));
}

/// XEP-0288: the stream goes both ways for the pairs that it carries, and for those only.
#[test]
fn both_ways_on_one_stream() {
    let mut world = connected(World::new(&[bidi(a()), bidi(b())]));
    world.assert_sent(0, true, &["<bidi xmlns='urn:xmpp:bidi'/>", "<auth "]);
    world.assert_heard(0, true, &["authorised b.example with a.example Both External"]);
    world.assert_heard(0, false, &["authorised a.example with b.example Both External"]);
    world.say(0, true, &ba(), "there");
    world.say(0, false, &Pair::new("a.example", "b.example"), "and back");
    world.seconds(1);
    world.assert_heard(0, false, &["stanza 1 there of a.example with b.example"]);
    world.assert_heard(0, true, &["stanza 1 and back of b.example with a.example"]);
    // The receiver asserts a domain of its own (XEP-0288 §2), which the certificate of A proves.
    let rooms = Pair::new("rooms.a.example", "b.example");
    world.assert(0, false, &rooms);
    world.seconds(1);
    world.say(0, false, &rooms, "from the room");
    world.seconds(1);
    world.assert_heard(
        0,
        true,
        &[
            "asserted b.example with rooms.a.example",
            "stanza 2 from the room of b.example with rooms.a.example",
        ],
    );
    // Not to a domain that the other end has not shown to be.
    world.assert(0, false, &Pair::new("a.example", "c.example"));
    world.seconds(1);
    world.assert_heard(0, false, &["answered a.example with c.example Err(Unsupported)"]);
    assert_eq!(world.links.len(), 1);
}

/// XEP-0288 §2: the receiver says nothing before the other end has proven who it is, and asks for no key on the connection that it came by.
#[test]
fn not_both_ways_too_early() {
    let mut world = World::new(&[bidi(a()), Server { as_client: false, ..bidi(b()) }]);
    // The authoritative server is somebody who does not answer for long: the pair stays under way.
    world.with(0, |a| a.refuses.clear());
    world.dial(1, &ba(), Purpose::Stanzas);
    world.run(std::time::Duration::from_millis(300));
    world.assert_heard(0, false, &["asserted a.example with b.example"]);
    world.say(0, false, &Pair::new("a.example", "b.example"), "too early");
    world.seconds(2);
    world.assert_heard(0, false, &["authorised a.example with b.example Both Dialback"]);
    assert!(!world.sent(0, false).contains("too early"));
    assert!(!world.sent(0, false).contains("db:verify"), "asked elsewhere");
    assert_eq!(world.links.len(), 2);
    let pair = Pair::new("a.example", "b.example");
    world.tell(0, false, Command::Verify { pair, id: "x".into(), key: "y".into() });
    world.assert_heard(0, false, &["verified a.example with b.example Err(Unsupported)"]);
}

/// Issue 4: a lapsed proof takes its pair off the stream and no other; the peer may prove it again.
#[test]
fn a_lapsed_proof() {
    let mut world = connected(World::new(&[a(), b()]));
    world.assert(0, true, &ca());
    world.seconds(1);
    world.tell(0, false, Command::Revoke { pair: Pair::new("a.example", "c.example") });
    world.say(0, true, &ca(), "from c");
    world.say(0, true, &ba(), "from b");
    world.seconds(1);
    let heard = world.heard(0, false);
    assert!(
        heard.iter().any(|line| line.starts_with("rejected 1 ") && line.contains("not-authorized")),
        "{heard:#?}"
    );
    world.assert_heard(0, false, &["stanza 2 from b of a.example with b.example"]);
    world.tell(0, true, Command::Revoke { pair: ca() });
    world.assert(0, true, &ca());
    world.seconds(1);
    world.say(0, true, &ca(), "again");
    world.seconds(1);
    world.assert_heard(0, false, &["stanza 3 again of a.example with c.example"]);
}

/// Issue 4, "many domains on one connection": all of a hoster's, by their certificates or one question each, and every tenth refused without harm to the rest.
#[test]
fn a_hoster() {
    let names: Vec<&'static str> = (0..500).map(|number| &*format!("d{number}.example").leak()).collect();
    let refused =
        names.iter().step_by(10).map(|name| (*name, DialbackError::Error(Condition::NotAuthorized)));
    let a = Server { refuses: refused.collect(), ..a() };
    let hosted: Vec<_> = ["b.example"].into_iter().chain(names.iter().copied()).collect();
    let mut world =
        connected(World::new(&[a, Server { certificate: hosted.clone(), domains: hosted, ..b() }]));
    for name in &names {
        world.assert(0, true, &Pair::new(*name, "a.example"));
    }
    world.seconds(2);
    let heard = world.heard(0, true);
    let good = heard.iter().filter(|line| line.starts_with("answered d") && line.ends_with("Ok(())")).count();
    let bad = heard.iter().filter(|line| line.ends_with("Err(Error(NotAuthorized))")).count();
    assert_eq!((good, bad), (450, 50));
    for name in &names {
        if !world
            .heard(0, true)
            .contains(&format!("answered {name} with a.example Err(Error(NotAuthorized))"))
        {
            world.say(0, true, &Pair::new(*name, "a.example"), name);
        }
    }
    world.seconds(1);
    let stanzas = world.heard(0, false).iter().filter(|line| line.starts_with("stanza")).count();
    assert_eq!((stanzas, world.links.len()), (450, 1));
    assert!(!world.closed(0));
}

/// The same however the bytes are cut.
#[test]
fn cut_anywhere() {
    let play = |split| {
        let mut world = connected(
            World::new(&[bidi(a()), bidi(Server { certificate: vec!["b.example"], ..b() })]).split(split),
        );
        world.assert(0, true, &ca());
        world.assert(0, true, &c_rooms());
        world.assert(0, false, &Pair::new("rooms.a.example", "b.example"));
        world.seconds(3);
        world.say(0, true, &c_rooms(), "1");
        world.say(0, false, &Pair::new("rooms.a.example", "b.example"), "2");
        world.seconds(3);
        world.tell(0, true, Command::Close(None));
        world.seconds(1);
        world.story()
    };
    let whole = play(Split::Whole);
    assert!(whole.iter().any(|line| line.starts_with("stanza 1 1 of")), "{whole:#?}");
    for size in [1, 3, 10, 97] {
        assert_eq!(play(Split::Each(size)), whole, "cut into {size}");
    }
}
