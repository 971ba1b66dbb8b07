//! Nanoseconds for one stanza of 302 bytes: tokenizing, reading, rendering. `cargo bench -p nuncio-xmpp`.

use std::hint::black_box;
use std::time::Instant;

use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::Stanza;
use nuncio_xmpp::xml::{Element, Frame, Limits, Tokenizer};

const HEADER: &[u8] =
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
const STANZA: &str = "<message to='juliet@capulet.example/balcony' from='romeo@montague.example/orchard' id='ktx72v49' \
    type='chat'><body>Art thou not Romeo, and a Montague? Neither, fair saint.</body><active xmlns='http://jabber.org/protocol/chatstates'/>\
    <origin-id xmlns='urn:xmpp:sid:0' id='de305d54-75b4-431b-adb2-eb6b9e5460'/></message>";
const ROUNDS: u32 = 400_000;

fn measure(what: &str, per_round: u32, mut round: impl FnMut()) {
    // The best of some short runs: other programs only ever make it slower.
    let mut ns = u128::MAX;
    for _ in 0..40 {
        let begin = Instant::now();
        for _ in 0..ROUNDS / 40 {
            round();
        }
        ns = ns.min(begin.elapsed().as_nanos() / u128::from(ROUNDS / 40 * per_round));
    }
    println!("{what:<40} {ns:>6} ns");
}

fn opened() -> Tokenizer {
    let mut tokenizer = Tokenizer::new(Limits::default());
    tokenizer.push(HEADER);
    while let Ok(Some(_)) = tokenizer.next() {}
    tokenizer
}

fn drain(tokenizer: &mut Tokenizer, mut each: impl FnMut(Element)) {
    while let Ok(Some(frame)) = tokenizer.next() {
        if let Frame::Element(element) = frame {
            each(element);
        }
    }
}

fn main() {
    println!("{} bytes", STANZA.len());
    let mut tokenizer = opened();
    measure("tokenize, one stanza a push", 1, || {
        tokenizer.push(STANZA.as_bytes());
        drain(&mut tokenizer, |element| drop(black_box(element)));
    });
    let ten = STANZA.repeat(10);
    measure("tokenize, ten stanzas a push", 10, || {
        tokenizer.push(ten.as_bytes());
        drain(&mut tokenizer, |element| drop(black_box(element)));
    });
    measure("rxml, for comparison", 1, || {
        use rxml::Parse as _;
        let mut parser = rxml::Parser::default();
        let mut rest = STANZA.as_bytes();
        while let Ok(Some(event)) = parser.parse(&mut rest, true) {
            black_box(event);
        }
    });
    let long = STANZA.replace("Neither", &"x".repeat(10_000));
    measure("tokenize, 10 kB of text", 1, || {
        tokenizer.push(long.as_bytes());
        drain(&mut tokenizer, |element| drop(black_box(element)));
    });
    let Ok(element) = Element::parse_in(ns::CLIENT, STANZA) else { return };
    measure("read as a stanza", 1, || {
        let _ = black_box(Stanza::from_element(element.clone()));
    });
    let Ok(stanza) = Stanza::from_element(element) else { return };
    let to = Jid::new("juliet@capulet.example/chamber").ok();
    let mut out = Vec::with_capacity(1024);
    measure("clone, readdress and render", 1, || {
        out.clear();
        let mut copy = stanza.clone();
        copy.set_to(to.clone());
        copy.render(&mut out, ns::SERVER);
        black_box(&out);
    });
}
