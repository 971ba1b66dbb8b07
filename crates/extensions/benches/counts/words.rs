//! Tokenizer, stanzas and addresses.

use std::hint::black_box;

use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::Stanza;
use nuncio_xmpp::xml::{Element, Frame, Limits, Tokenizer};

/// 100 bytes.
const BODY: &str =
    "Good night, good night! Parting is such sweet sorrow, that I shall say good night till it be morrow.";
const _: () = assert!(BODY.len() == 100);

const HEADER: &[u8] =
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";

/// What a client sends for one line of a chat.
pub(crate) fn chat(to: &str) -> String {
    chat_with(to, BODY)
}

fn chat_with(to: &str, body: &str) -> String {
    format!(
        "<message to='{to}' id='de305d54-75b4' type='chat'><body>{body}</body>\
         <active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/></message>"
    )
}

fn received(to: &str) -> String {
    chat(to).replace("<message ", "<message from='juliet@shakespeare.example/balcony' ")
}

/// Tokenizes what comes in these pieces again and again; each round must give one stanza.
fn read(times: u64, pieces: &[&[u8]]) {
    let mut tokenizer = Tokenizer::new(Limits::default());
    tokenizer.push(HEADER);
    assert!(matches!(tokenizer.next(), Ok(Some(Frame::Header(_)))));
    for _ in 0..times {
        let mut stanzas = 0;
        for piece in pieces {
            tokenizer.push(black_box(piece));
            while let Some(frame) = tokenizer.next().unwrap() {
                if let Frame::Element(element) = frame {
                    black_box(Stanza::from_element(element).unwrap());
                    stanzas += 1;
                }
            }
        }
        assert_eq!(stanzas, 1);
    }
}

pub(crate) fn message(times: u64) {
    read(times, &[received("romeo@shakespeare.example/orchard").as_bytes()]);
}

pub(crate) fn split(times: u64) {
    let text = received("romeo@shakespeare.example/orchard");
    let pieces: Vec<&[u8]> = text.as_bytes().chunks(text.len().div_ceil(3)).collect();
    assert_eq!(pieces.len(), 3);
    read(times, &pieces);
}

pub(crate) fn long(times: u64) {
    let body: String = BODY.chars().cycle().take(8_192).collect();
    read(times, &[chat_with("romeo@shakespeare.example/orchard", &body).as_bytes()]);
}

pub(crate) fn presence(times: u64) {
    let text = "<presence><show>away</show><status>be right back</status><priority>5</priority>\
                <c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://client.example/' \
                ver='QgayPKawpkPSDYmwT/WM94uAlu0='/></presence>";
    read(times, &[text.as_bytes()]);
}

pub(crate) fn roster(times: u64) {
    let items: String = (0..50)
        .map(|n| {
            format!(
                "<item jid='contact{n}@shakespeare.example' name='Contact {n}' subscription='both'>\
                 <group>Friends</group></item>"
            )
        })
        .collect();
    let text =
        format!("<iq type='result' id='r1'><query xmlns='jabber:iq:roster' ver='ver7'>{items}</query></iq>");
    read(times, &[text.as_bytes()]);
}

pub(crate) fn write(times: u64) {
    let text = chat("romeo@shakespeare.example/orchard");
    let stanza = Stanza::from_element(Element::parse_in(ns::CLIENT, text).unwrap()).unwrap();
    let from = Jid::new("juliet@shakespeare.example/balcony").unwrap();
    let to = Jid::new("romeo@shakespeare.example/garden").unwrap();
    for _ in 0..times {
        let mut copy = black_box(&stanza).clone();
        copy.set_from(Some(from.clone()));
        copy.set_to(Some(to.clone()));
        assert!(black_box(copy.bytes(ns::CLIENT)).len() > 200);
    }
}

fn jid(times: u64, text: &str) {
    for _ in 0..times {
        assert!(black_box(Jid::new(black_box(text))).is_ok());
    }
}

pub(crate) fn jid_ascii(times: u64) {
    jid(times, "juliet@shakespeare.example/balcony");
}

pub(crate) fn jid_unicode(times: u64) {
    jid(times, "Ромео@Монтекки.example/в саду");
}
