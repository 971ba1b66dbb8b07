//! Linear time and bounded memory, measured in work done and bytes held, never in seconds.

use nuncio_xmpp::xml::{Frame, Limits, Tokenizer, XmlError};

const HEADER: &[u8] =
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

fn roomy() -> Limits {
    Limits {
        stanza_bytes: 1 << 24,
        depth: u16::MAX,
        attribute_bytes: 1 << 24,
        nodes: 1 << 24,
        ..Limits::default()
    }
}

/// Work for the input in pieces of `piece` bytes; it must be accepted or wait for more.
fn work(input: &[u8], piece: usize) -> u64 {
    let mut tokenizer = Tokenizer::new(roomy());
    tokenizer.push(HEADER);
    for piece in input.chunks(piece) {
        tokenizer.push(piece);
        while let Some(frame) = tokenizer.next().expect("accepted, or waiting for more") {
            drop(frame);
        }
    }
    tokenizer.work()
}

/// S0, issue "linear time": twice the input is at most twice the work, for everything that makes other parsers slow, however it is
/// cut.
#[test]
fn issue_linear_time_in_depth_attributes_prefixes_texts_and_pieces() {
    let nested = |n: usize| "<a>".repeat(n);
    let nested_closed = |n: usize| "<a>".repeat(n) + &"</a>".repeat(n);
    let nested_prefixed = |n: usize| format!("<p:r xmlns:p='u'>{}", "<p:a p:b='c'>".repeat(n));
    let declaring = |n: usize| {
        let declarations: String = (0..60).map(|i| format!(" xmlns:p{i}='{:040}'", i)).collect();
        format!("<r{declarations}>{}", "<p0:a/>".repeat(n))
    };
    let attributes = |n: usize| {
        let attributes: String = (0..64).map(|i| format!(" a{i}=''")).collect();
        format!("<r>{}", format!("<a{attributes}/>").repeat(n.div_ceil(64)))
    };
    let long_text = |n: usize| format!("<r>{}", "x]]&amp;\u{E9}".repeat(n));
    let long_value = |n: usize| format!("<r a='{}", "x&amp;\n".repeat(n));
    let long_cdata = |n: usize| format!("<r><![CDATA[{}", "]".repeat(n));
    let long_reference = |n: usize| format!("<r>&#{}", "0".repeat(n));
    let whitespace = |n: usize| " ".repeat(n);
    let stanzas = |n: usize| "<message><body>x</body></message>".repeat(n);
    type Make<'a> = (&'a str, &'a dyn Fn(usize) -> String);
    let makes: [Make<'_>; 11] = [
        ("depth", &nested),
        ("depth and back", &nested_closed),
        ("depth with prefixes", &nested_prefixed),
        ("many declarations", &declaring),
        ("many attributes", &attributes),
        ("text", &long_text),
        ("attribute value", &long_value),
        ("CDATA section", &long_cdata),
        ("reference", &long_reference),
        ("whitespace", &whitespace),
        ("stanzas", &stanzas),
    ];
    for (what, make) in makes {
        for piece in [1, 7, usize::MAX] {
            let (small, large) = (make(4_000), make(8_000));
            let (less, more) = (work(small.as_bytes(), piece), work(large.as_bytes(), piece));
            let ratio = more as f64 / less as f64;
            assert!(ratio < 2.1, "{what} in pieces of {piece}: {less}, then {more}");
            assert!(
                more < 80 * large.len() as u64,
                "{what} in pieces of {piece}: {more} for {} bytes",
                large.len()
            );
        }
    }
}

/// What a peer can make us hold is the limit and what was pushed last; a peer that is refused holds nothing.
#[test]
fn issue_bad_input_memory_is_bounded() {
    let limits = Limits::before_authentication();
    for piece in [1, 100, 4096, 20_000] {
        for filler in ["<a>", "x", " a=''", "&amp;", "\u{1F600}", "<a/>"] {
            let mut tokenizer = Tokenizer::new(limits);
            tokenizer.push(HEADER);
            tokenizer.push(b"<message>");
            let input = filler.repeat(60_000 / filler.len());
            let mut refused = None;
            for piece_bytes in input.as_bytes().chunks(piece) {
                tokenizer.push(piece_bytes);
                assert!(tokenizer.buffered() <= limits.stanza_bytes + piece + HEADER.len() + 9);
                loop {
                    match tokenizer.next() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(error) => {
                            refused = Some(error);
                            break;
                        }
                    }
                }
                assert!(tokenizer.buffered() <= limits.stanza_bytes);
            }
            assert!(
                matches!(refused, Some(XmlError::Limit { .. })),
                "{filler} in pieces of {piece}: {refused:?}"
            );
            tokenizer.push(input.as_bytes());
            assert_eq!(tokenizer.buffered(), 0, "a refused peer's bytes are dropped");
        }
    }
}

/// RFC 6120 §4.3.3, §5.4.3.3: what was pipelined before a restart is never read as part of the new stream, and is told.
#[test]
fn rfc6120_5_4_3_3_reset_drops_what_was_not_read() {
    let mut tokenizer = Tokenizer::new(Limits::default());
    tokenizer.push(HEADER);
    tokenizer.push(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><evil/>");
    assert!(matches!(tokenizer.next(), Ok(Some(Frame::Header(_)))));
    assert!(matches!(tokenizer.next(), Ok(Some(Frame::Element(element))) if element.name() == "starttls"));
    assert_eq!(tokenizer.reset(), b"<evil/>".len());
    assert!(matches!(tokenizer.next(), Ok(None)));
    tokenizer.push(b"<?xml version='1.0'?>");
    tokenizer.push(HEADER);
    assert!(matches!(tokenizer.next(), Ok(Some(Frame::Header(header))) if header.is_stream()));
    // After a failure too.
    tokenizer.push(b"<a></b>");
    assert!(tokenizer.next().is_err() && tokenizer.next().is_err());
    assert_eq!(tokenizer.reset(), 0);
    tokenizer.push(HEADER);
    assert!(matches!(tokenizer.next(), Ok(Some(Frame::Header(_)))));
}

/// Limits can be raised within a stream, when the peer is known.
#[test]
fn limits_follow_the_peer() {
    let mut tokenizer = Tokenizer::new(Limits::before_authentication());
    tokenizer.push(HEADER);
    assert!(matches!(tokenizer.next(), Ok(Some(Frame::Header(_)))));
    tokenizer.set_limits(Limits::default());
    tokenizer.push(format!("<a>{}</a>", "x".repeat(200_000)).as_bytes());
    assert!(matches!(tokenizer.next(), Ok(Some(Frame::Element(_)))));
    tokenizer.set_limits(Limits::before_authentication());
    tokenizer.push(format!("<a>{}</a>", "x".repeat(200_000)).as_bytes());
    assert!(tokenizer.next().is_err());
}
