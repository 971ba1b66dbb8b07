//! Offer and answer: RFC 4975 §8, RFC 6135, RFC 6714, RFC 8122; S1-R6.

use std::net::IpAddr;

use nuncio_msrp::media::AcceptTypes;
use nuncio_msrp::sdp::{
    Agreed, Description, Direction, Fingerprint, Hash, Local, Rejected, Role, SdpError, Setup, Target,
    answer, offer,
};
use nuncio_msrp::{Path, Uri};
use sdp_types::Session;

fn nobody(_: &str) -> Vec<IpAddr> {
    Vec::new()
}

fn read(text: &str) -> Result<Description, SdpError> {
    let text = text.replace('\n', "\r\n");
    let session = Session::parse(text.as_bytes()).expect("SDP");
    Description::read(&session.medias[0], &session)
}

const HEAD: &str =
    "v=0\no=usera 2890844526 2890844527 IN IP4 alice.example.com\ns= -\nc=IN IP4 alice.example.com\nt=0 0\n";

fn sdp(media: &str) -> String {
    format!("{HEAD}{media}")
}

fn local(uri: &str) -> Local {
    Local {
        uri: Uri::parse(uri).expect("a URI"),
        relays: None,
        reachable: true,
        accept_types: AcceptTypes::parse("message/cpim text/plain").expect("types"),
        accept_wrapped_types: AcceptTypes::parse("text/plain").expect("types"),
        sends: vec!["text/plain".to_owned()],
        max_size: Some(10_000),
        fingerprints: Vec::new(),
        sha1: false,
        cema: false,
        direction: Direction::SendRecv,
    }
}

fn path(text: &str) -> Path {
    Path::parse(text, 16).expect("a path")
}

/// RFC 4975 §8.7, and the answerer of the old model: whoever offers connects.
#[test]
fn the_example_of_rfc_4975() {
    let text = sdp(
        "m=message 7394 TCP/MSRP *\na=accept-types:message/cpim text/plain text/html\na=path:msrp://alice.example.com:7394/2s93i93idj;tcp\n",
    );
    let from_a = read(&text).expect("§8.7");
    assert_eq!((from_a.port, from_a.tls, from_a.setup, from_a.cema), (7394, false, None, false));
    assert!(from_a.accept_types.prefers_cpim());
    let bob = local("msrp://bob.example.com:8493/si438dsaodes;tcp");
    let (description, agreed) = answer(&bob, &from_a, &nobody).expect("acceptable");
    assert_eq!((description.setup, agreed.role), (Some(Setup::Passive), Role::Passive));
    assert_eq!(agreed.path.to_string(), "msrp://alice.example.com:7394/2s93i93idj;tcp");
    let media = description.write();
    assert_eq!((media.port, media.proto.as_str(), media.fmt.as_str()), (8493, "TCP/MSRP", "*"));
    assert_eq!(media.connections[0].connection_address, "bob.example.com");
    assert!(!media.has_attribute("connection"), "RFC 6135 §4.4");
    let again =
        Description::read(&media, &Session::parse(text.replace('\n', "\r\n").as_bytes()).expect("SDP"));
    assert_eq!(again, Ok(description));
}

/// RFC 4976 §11, and RFC 4975 §8.3: several URIs; only the first is connected to, all are in the To-Path.
#[test]
fn paths_with_relays() {
    let bob = sdp(
        "c=IN IP4 bob.example.com\nm=message 1234 TCP/TLS/MSRP *\na=accept-types:message/cpim text/plain\na=path:msrps://relay.example.com:9000/hjdhfha;tcp msrps://bob.example.com:1234/fuige;tcp\n",
    )
    .replace("c=IN IP4 alice.example.com\n", "");
    let bob = read(&bob.replace("t=0 0\nc=IN IP4 bob.example.com\n", "c=IN IP4 bob.example.com\nt=0 0\n"))
        .expect("§11");
    let mut alice = local("msrp://a.example.com:1234/agic456;tcp");
    let agreed = offer(alice.clone()).answered(&bob, &nobody).expect("acceptable");
    let relay = bob.path.first().expect("two").hop().clone();
    assert_eq!(agreed.role, Role::Active(Target::Path(relay)));
    assert_eq!(agreed.path, bob.path);
    // RFC 4976 §5.1: B C and D E F make B C D E F for sending, C B A for the peer.
    let way = path("msrps://b.example:1/b;tcp msrps://c.example:1/c;tcp");
    alice.relays = Some(way.clone());
    let made = offer(alice);
    assert_eq!(
        made.description.path.to_string(),
        "msrps://c.example:1/c;tcp msrps://b.example:1/b;tcp msrp://a.example.com:1234/agic456;tcp"
    );
    assert_eq!((made.description.setup, made.description.tls), (Some(Setup::Actpass), true));
    let agreed = made.answered(&bob, &nobody).expect("acceptable");
    assert_eq!(agreed.path, way.then(&bob.path));
    let first = way.first().expect("two").hop().clone();
    assert_eq!(agreed.role, Role::Active(Target::Relay(first)), "RFC 6135 §4.5: to our relay in any case");
}

/// RFC 6135 §4.2.2: who connects.
#[test]
fn who_connects() {
    let offered = |setup: &str| {
        let setup = if setup.is_empty() { String::new() } else { format!("a=setup:{setup}\n") };
        let port = if setup.contains(":active") { 9 } else { 7394 };
        read(&sdp(&format!(
            "m=message {port} TCP/MSRP *\na=accept-types:*\na=path:msrp://alice.example.com:7394/abc;tcp\n{setup}a=connection:new\n"
        )))
        .expect("readable")
    };
    for (setup, reachable, active) in [
        ("", true, false),
        ("holdconn", true, false),
        ("active", true, false),
        ("active", false, false),
        ("actpass", true, false),
        ("actpass", false, true),
        ("passive", true, true),
    ] {
        let bob = Local { reachable, ..local("msrp://bob.example.com:8493/def;tcp") };
        let (description, agreed) = answer(&bob, &offered(setup), &nobody).expect("acceptable");
        assert_eq!(matches!(agreed.role, Role::Active(_)), active, "{setup} {reachable}");
        let wanted = if active { (Setup::Active, 9) } else { (Setup::Passive, 8493) };
        assert_eq!((description.setup, description.port), (Some(wanted.0), wanted.1), "{setup} {reachable}");
    }
    for (reachable, setup, answered, active) in [
        (true, Setup::Actpass, Some("passive"), Ok(true)),
        (true, Setup::Actpass, Some("active"), Ok(false)),
        (true, Setup::Actpass, None, Ok(true)),
        (false, Setup::Active, Some("passive"), Ok(true)),
        (false, Setup::Active, Some("active"), Err(Rejected::Setup)),
    ] {
        let made = offer(Local { reachable, ..local("msrp://a.example.com:1234/agic456;tcp") });
        assert_eq!(made.description.setup, Some(setup), "never passive in an offer");
        let result = made.answered(&offered(answered.unwrap_or("")), &nobody);
        assert_eq!(result.map(|agreed| matches!(agreed.role, Role::Active(_))), active, "{answered:?}");
    }
}

/// RFC 4975 §8.2, §8.6: what must be there.
#[test]
fn what_an_offer_must_have() {
    let good = "m=message 7394 TCP/MSRP *\na=accept-types:text/plain\na=path:msrp://alice.example.com:7394/abc;tcp\n";
    assert!(read(&sdp(good)).is_ok());
    for (from, to, error) in [
        ("message 7394", "audio 7394", SdpError::NotMsrp),
        ("TCP/MSRP", "RTP/AVP", SdpError::NotMsrp),
        ("a=path:msrp://alice.example.com:7394/abc;tcp\n", "", SdpError::NoPath),
        (":7394/abc", "/abc", SdpError::IncompleteUri),
        (":7394/abc", ":7394", SdpError::IncompleteUri),
        ("a=accept-types:text/plain\n", "", SdpError::Types),
        ("text/plain", "text plain", SdpError::Types),
        ("a=accept", "a=max-size:many\na=accept", SdpError::MaxSize),
        ("a=accept", "a=max-size:-1\na=accept", SdpError::MaxSize),
        ("a=accept", "a=max-size:\na=accept", SdpError::MaxSize),
    ] {
        assert_eq!(read(&sdp(&good.replace(from, to))), Err(error), "{to}");
    }
    for (size, read_as) in [("20000", 20_000), ("0", 0), ("99999999999999999999999", u64::MAX)] {
        let sized = read(&sdp(&good.replace("a=accept", &format!("a=max-size:{size}\na=accept"))));
        assert_eq!(sized.map(|it| it.max_size), Ok(Some(read_as)));
    }
    let types = |accept: &str| read(&sdp(&good.replace("text/plain", accept))).expect("readable");
    let bob = local("msrp://bob.example.com:8493/def;tcp");
    for (accept, common) in
        [("text/*", true), ("*", true), ("image/png", false), ("image/png text/plain;x=y", true)]
    {
        let result = answer(&bob, &types(accept), &nobody);
        assert_eq!(result.is_ok(), common, "{accept}: 488 where there is no common type");
    }
    let made = offer(bob.clone());
    assert_eq!(
        made.answered(&read(&sdp(&good.replace("7394 TCP", "0 TCP"))).expect("readable"), &nobody).err(),
        Some(Rejected::Peer)
    );
    // RFC 4975 §8.9: a direction is mirrored, and who only receives needs no common type.
    let push = read(&sdp(&good.replace("text/plain", "image/png").replace("a=path", "a=sendonly\na=path")))
        .expect("readable");
    let (description, agreed) = answer(&bob, &push, &nobody).expect("we only receive");
    assert_eq!((description.direction, agreed.direction), (Direction::RecvOnly, Direction::RecvOnly));
}

/// S1-R6, RFC 8122: fingerprints of the peer are what its certificate is held against; never with relays between; SHA-1 by a switch.
#[test]
fn fingerprints() {
    let der = b"a certificate";
    let with = |lines: &str, path: &str| {
        read(&sdp(&format!(
            "m=message 7394 TCP/TLS/MSRP *\na=accept-types:*\na=path:{path}\na=setup:actpass\n{lines}"
        )))
        .expect("readable")
    };
    let line = |hash| format!("a=fingerprint:{}\n", Fingerprint::of(hash, der));
    let direct = "msrps://alice.example.com:7394/abc;tcp";
    let both = with(&(line(Hash::Sha256) + &line(Hash::Sha1)), direct);
    let bob = local("msrps://bob.example.com:8493/def;tcp");
    let prints = |agreed: &Agreed| agreed.fingerprints.iter().map(Fingerprint::hash).collect::<Vec<_>>();
    let (_, agreed) = answer(&bob, &both, &nobody).expect("acceptable");
    assert_eq!(prints(&agreed), [Hash::Sha256]);
    let weak = with(&line(Hash::Sha1), direct);
    assert_eq!(answer(&bob, &weak, &nobody).map(drop), Err(Rejected::Weak));
    let tolerant = Local { sha1: true, ..bob.clone() };
    assert_eq!(answer(&tolerant, &weak, &nobody).map(|(_, agreed)| prints(&agreed)), Ok(vec![Hash::Sha1]));
    let md5 = "a=fingerprint:md5 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\n";
    let besides = with(&(md5.to_owned() + &line(Hash::Sha256)), direct);
    assert_eq!(besides.fingerprints.len(), 1, "RFC 8122 §5");
    let relayed = with(&line(Hash::Sha256), &format!("msrps://relay.example.com:9000/hj;tcp {direct}"));
    let (_, agreed) = answer(&bob, &relayed, &nobody).expect("acceptable");
    assert!(agreed.fingerprints.is_empty(), "RFC 6135 §4.3");
    // For the whole session, where the media line has none (RFC 8122 §5).
    let session = format!(
        "{HEAD}{}m=message 7394 TCP/TLS/MSRP *\na=accept-types:*\na=path:{direct}\n",
        line(Hash::Sha512)
    );
    assert_eq!(read(&session).expect("readable").fingerprints.len(), 1);
    let ours = Local { fingerprints: vec![Fingerprint::of(Hash::Sha256, der)], ..bob };
    let shown = offer(ours).description.write();
    assert_eq!(shown.get_attribute_values("fingerprint").count(), 1);
}

/// RFC 8122 §5, RFC 4975 §14.4: what is promised and cannot be judged is refused, and not forgotten; neither is it guessed whether TLS is meant.
#[test]
fn promises_that_cannot_be_kept() {
    let der = b"a certificate";
    let good = format!("a=fingerprint:{}\n", Fingerprint::of(Hash::Sha256, der));
    let md5 = "a=fingerprint:md5 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\n";
    let told = |session: &str, port: u16, proto: &str, scheme: &str, lines: &str| {
        read(&format!(
            "{HEAD}{session}m=message {port} {proto} *\na=accept-types:*\n\
             a=path:{scheme}://alice.example.com:7394/abc;tcp\n{lines}"
        ))
        .map(|description| description.fingerprints.len())
    };
    let (tls, clear) = ("TCP/TLS/MSRP", "TCP/MSRP");
    for (session, port, proto, scheme, lines, expected) in [
        ("", 7394, tls, "msrps", "", Ok(0)),
        ("", 7394, tls, "msrps", &*good, Ok(1)),
        ("", 7394, tls, "msrp", &*good, Err(SdpError::Mixed)),
        ("", 7394, tls, "msrp", "", Err(SdpError::Mixed)),
        ("", 7394, clear, "msrps", "", Err(SdpError::Mixed)),
        ("", 7394, clear, "msrp", "", Ok(0)),
        ("", 7394, clear, "msrp", &*good, Err(SdpError::Fingerprints)),
        ("", 7394, tls, "msrps", md5, Err(SdpError::Fingerprints)),
        ("", 7394, tls, "msrps", "a=fingerprint:sha-256 AB\n", Err(SdpError::Fingerprints)),
        (md5, 7394, tls, "msrps", "", Err(SdpError::Fingerprints)),
        // Of the whole session, for media that have TLS or DTLS.
        (&*good, 7394, clear, "msrp", "", Ok(0)),
        // Whoever rejects may say anything.
        ("", 0, tls, "msrp", md5, Ok(0)),
    ] {
        assert_eq!(
            told(session, port, proto, scheme, lines),
            expected,
            "{session}{port} {proto} {scheme} {lines}"
        );
    }
}

/// RFC 6714 §4.2 to §4.4: when a middlebox's address is used, when not, and when to offer again.
#[test]
fn connection_establishment_for_media_anchoring() {
    let resolve = |name: &str| match name {
        "alice.example.com" => vec!["192.0.2.1".parse().expect("an address")],
        _ => Vec::new(),
    };
    let described = |address: &str, port: u16, extra: &str, relay: bool| {
        let relay = if relay { "msrps://relay.example.com:9000/hj;tcp " } else { "" };
        let proto = if relay.is_empty() { "TCP/MSRP" } else { "TCP/TLS/MSRP" };
        read(&format!(
            "{}m=message {port} {proto} *\na=accept-types:*\na=path:{relay}msrp://alice.example.com:7394/abc;tcp\n{extra}",
            HEAD.replace("c=IN IP4 alice.example.com", &format!("c=IN IP4 {address}"))
        ))
        .expect("readable")
    };
    let cema = "a=msrp-cema\na=setup:actpass\n";
    let far = Local { cema: true, reachable: false, ..local("msrp://bob.example.com:8493/def;tcp") };
    // §4.3: the answerer that connects uses the middlebox's address; the path stays what it is.
    let (description, agreed) =
        answer(&far, &described("198.51.100.7", 4000, cema, false), &resolve).expect("cema");
    assert!(description.cema && agreed.cema);
    let anchor = Target::Address { host: "198.51.100.7".to_owned(), port: 4000, tls: false };
    assert_eq!(agreed.role, Role::Active(anchor.clone()));
    assert_eq!(agreed.path.to_string(), "msrp://alice.example.com:7394/abc;tcp");
    // §4.3: without CEMA in the offer, a changed address is refused; an equal one is not, be it name or number (§4.4).
    let plain = "a=setup:actpass\n";
    assert_eq!(
        answer(&far, &described("198.51.100.7", 4000, plain, false), &resolve).map(drop),
        Err(Rejected::Middlebox)
    );
    assert_eq!(
        answer(&far, &described("192.0.2.1", 4000, plain, false), &resolve).map(drop),
        Err(Rejected::Middlebox),
        "the port counts"
    );
    for address in ["alice.example.com", "192.0.2.1"] {
        let (description, agreed) =
            answer(&far, &described(address, 7394, plain, false), &resolve).expect("direct");
        assert!(!description.cema);
        assert!(matches!(agreed.role, Role::Active(Target::Path(_))));
    }
    // §4.3 (1), (2): both with relays; a relayed offerer that connects.
    let relayed = Local { relays: Some(path("msrps://r.example:1/r;tcp")), ..far.clone() };
    let both =
        answer(&relayed, &described("198.51.100.7", 4000, cema, true), &resolve).expect("acceptable").0;
    assert!(!both.cema);
    let old = "a=msrp-cema\n";
    assert!(!answer(&far, &described("198.51.100.7", 4000, old, true), &resolve).expect("acceptable").0.cema);
    let one =
        answer(&relayed, &described("198.51.100.7", 4000, cema, false), &resolve).expect("acceptable").0;
    assert!(one.cema && one.setup == Some(Setup::Passive));
    assert_eq!((one.address.as_deref(), one.port), (Some("r.example"), 1), "§4.3 (3): the relay's address");
    // §4.2: the offerer.
    let near = Local { cema: true, ..local("msrp://bob.example.com:8493/def;tcp") };
    let made = offer(near.clone());
    let answered = |setup: &str| described("198.51.100.7", 4000, setup, false);
    let agreed = made.answered(&answered("a=msrp-cema\na=setup:passive\n"), &resolve).expect("cema");
    assert_eq!(agreed.role, Role::Active(anchor));
    assert_eq!(made.answered(&answered("a=setup:active\n"), &resolve).err(), Some(Rejected::OfferAgain));
    let behind = described("198.51.100.7", 4000, "a=setup:passive\n", true);
    assert_eq!(made.answered(&behind, &resolve).err(), Some(Rejected::OfferAgain), "§4.2 (3)");
    assert!(!made.clone().without_cema().description.cema);
    let nothing_between = described("alice.example.com", 7394, "a=msrp-cema\na=setup:passive\n", true);
    let agreed = made.answered(&nothing_between, &resolve).expect("as RFC 4975 has it");
    assert!(!agreed.cema && matches!(agreed.role, Role::Active(Target::Path(_))));
}
