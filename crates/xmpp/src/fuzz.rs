//! Invariants that hold for whatever bytes arrive, for fuzzers and property tests; and a generator of streams that are nearly right.
//!
//! The functions panic when an invariant is broken. `fuzz/` calls them from coverage-guided targets, `tests/mutate.rs` from a
//! deterministic runner. Nothing else uses them.

use std::fmt::Write as _;

use crate::jid::{BareJid, Jid};
use crate::ns;
use crate::stanza::Stanza;
use crate::xml::{Builder, Content, Element, ElementRef, Frame, Limits, Tokenizer, XmlError};

/// An element as every parser must understand it. Attributes are sorted by namespace and name, texts are joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The namespace name.
    pub ns: String,
    /// The name without prefix.
    pub name: String,
    /// Namespace, name and value.
    pub attrs: Vec<(String, String, String)>,
    /// What stands between the tags.
    pub content: Vec<Part>,
}

/// A part of an element's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A child.
    Element(Node),
    /// Character data, never empty, never next to another.
    Text(String),
}

impl Node {
    /// Appends character data.
    pub fn push_text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(Part::Text(last)) = self.content.last_mut() {
            last.push_str(text);
        } else {
            self.content.push(Part::Text(text.into()));
        }
    }

    /// What a received element says.
    pub fn of(element: ElementRef<'_>) -> Self {
        let attr = |attr: crate::xml::Attribute<'_>| {
            (attr.ns.to_owned(), attr.name.to_owned(), attr.value.into_owned())
        };
        let mut attrs: Vec<_> = element.attrs().map(attr).collect();
        attrs.sort();
        let mut node =
            Self { ns: element.ns().into(), name: element.name().into(), attrs, content: Vec::new() };
        for part in element.content() {
            match part {
                Content::Element(child) => node.content.push(Part::Element(Self::of(child))),
                Content::Text(text) => node.push_text(&text),
            }
        }
        node
    }

    /// The same with all content namespaces taken for one.
    fn leveled(mut self) -> Self {
        if ns::is_content(&self.ns) {
            self.ns = "content".into();
        }
        for part in &mut self.content {
            if let Part::Element(child) = part {
                *child = std::mem::take(child).leveled();
            }
        }
        self
    }
}

/// What a stream said, and how it went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Its frames in words, keep-alive whitespace left out.
    pub frames: Vec<String>,
    /// How it went wrong.
    pub error: Option<XmlError>,
    /// Bytes that wait for more.
    pub held: usize,
}

/// Feeds `pieces` one after the other, and checks that memory and work are bounded.
pub fn feed<'a>(
    limits: Limits,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    mut each: impl FnMut(&Element),
) -> Said {
    let mut tokenizer = Tokenizer::new(limits);
    let mut said = Said::default();
    let mut fed = 0_u64;
    let mut frames = 0_u64;
    let most = limits.stanza_bytes.max(limits.header_bytes);
    for piece in pieces {
        tokenizer.push(piece);
        fed += piece.len() as u64;
        assert!(tokenizer.buffered() <= most + piece.len(), "holds {} bytes", tokenizer.buffered());
        while said.error.is_none() {
            frames += 1;
            match tokenizer.next() {
                Ok(Some(Frame::Header(header))) => {
                    let mut line = String::from("header");
                    let described = write!(line, " {:?} {} {:?}", header.ns(), header.name(), header.raw());
                    assert!(described.is_ok());
                    said.frames.push(line);
                }
                Ok(Some(Frame::Element(element))) => {
                    each(&element);
                    said.frames.push(format!("{:?} {:?}", Node::of(element.root()), element.raw()));
                }
                Ok(Some(Frame::Text)) => {}
                Ok(Some(Frame::End)) => said.frames.push("end".into()),
                Ok(None) => break,
                Err(error) => {
                    said.error = Some(error);
                    assert!(
                        matches!(tokenizer.next(), Err(again) if again == error),
                        "a failure does not last"
                    );
                }
            }
        }
        assert!(tokenizer.buffered() <= most, "{} bytes wait", tokenizer.buffered());
    }
    // Validated, looked at and moved once each; a byte that declares or uses a name costs a bounded number of comparisons; a
    // sequence that is cut is validated again with each of its bytes.
    let each_byte = 8 + u64::from(limits.namespaces) + u64::from(limits.attributes);
    assert!(
        tokenizer.work() <= each_byte * fed + 4 * frames,
        "{} units of work for {fed} bytes",
        tokenizer.work()
    );
    said.held = tokenizer.buffered();
    said
}

fn check_element(element: &Element) {
    let root = element.root();
    let said = Node::of(root);
    for inherited in ["", ns::CLIENT, "u"] {
        let mut closed = Vec::new();
        root.write_closed(&mut closed, inherited);
        let again = Element::parse_in(inherited, closed.clone());
        // A closed copy repeats declarations, so only the size may be too much.
        match again {
            Ok(again) => assert_eq!(Node::of(again.root()), said, "closed under {inherited:?}"),
            Err(error) => assert!(
                matches!(error, XmlError::Limit { .. }),
                "{error}: {}",
                String::from_utf8_lossy(&closed)
            ),
        }
    }
    assert_eq!(Node::of(root.to_builder().element().root()), said, "rebuilt");
    let wrapped = Builder::new("w", "v").copy(root).element();
    assert_eq!(wrapped.children().map(Node::of).collect::<Vec<_>>(), [said], "copied into another element");
    check_stanza(element);
}

/// What must leave for what came in: children of the stanza's own namespace stay in the stream's, others stay as they were.
fn check_stanza(element: &Element) {
    let stanza = match Stanza::from_element(element.clone()) {
        Ok(stanza) => stanza,
        Err(fault) => {
            if let Some(reply) = fault.reply(element) {
                assert!(Element::parse_in(ns::CLIENT, reply.bytes(ns::CLIENT)).is_ok(), "{fault}");
            }
            return;
        }
    };
    let own = element.ns();
    let expected: Vec<Node> = stanza.children().map(|child| Node::of(child).leveled()).collect();
    for stream_ns in [ns::CLIENT, ns::SERVER, ""] {
        let bytes = stanza.bytes(stream_ns);
        let again = Element::parse_in(stream_ns, bytes.clone());
        let Ok(again) = again else {
            let limit = matches!(again, Err(XmlError::Limit { .. }));
            assert!(limit, "rendered for {stream_ns:?}: {again:?}: {}", String::from_utf8_lossy(&bytes));
            continue;
        };
        let content = if stream_ns.is_empty() { ns::CLIENT } else { stream_ns };
        let found: Vec<Node> = again.children().map(|child| Node::of(child).leveled()).collect();
        assert_eq!(found, expected, "rendered for {stream_ns:?}");
        assert_eq!(again.ns(), content);
        for (before, after) in stanza.children().zip(again.children()) {
            let expected = if before.ns() == own { content } else { before.ns() };
            assert_eq!(after.ns(), expected, "namespace of a child rendered for {stream_ns:?}");
        }
        let reread = Stanza::from_element(again);
        assert_eq!(reread.as_ref().map(Stanza::kind).ok(), Some(stanza.kind()));
        assert_eq!(reread.as_ref().ok().and_then(Stanza::to), stanza.to());
        assert_eq!(reread.as_ref().ok().and_then(Stanza::id), stanza.id());
        assert_eq!(reread.map(|reread| reread.marks()).ok(), Some(stanza.marks()));
    }
    if let Some(error) = stanza.error(crate::error::Condition::ServiceUnavailable) {
        let read = Element::parse_in(ns::CLIENT, error.bytes(ns::CLIENT)).map(Stanza::from_element);
        assert!(matches!(read, Ok(Ok(_)) | Err(XmlError::Limit { .. })), "error of a stanza: {read:?}");
    }
}

fn tight() -> Limits {
    Limits {
        stanza_bytes: 400,
        header_bytes: 200,
        depth: 5,
        attributes: 6,
        name_bytes: 24,
        attribute_bytes: 64,
        namespaces: 8,
        nodes: 24,
    }
}

/// Bytes of a stream: however they are cut, the tokenizer says the same, in bounded memory and linear time, and what it accepts can
/// be copied and rendered without a change of meaning.
pub fn tokenizer(data: &[u8]) {
    let mut rng = Rng::of(data);
    for limits in [Limits::default(), tight()] {
        let whole = feed(limits, [data], check_element);
        let bytewise = feed(limits, data.chunks(1), |_| {});
        assert_eq!(bytewise, whole, "byte by byte: {}", String::from_utf8_lossy(data));
        let mut pieces = Vec::new();
        let mut rest = data;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rng.below(rest.len().min(40)) + 1);
            pieces.push(piece);
            rest = after;
        }
        assert_eq!(feed(limits, pieces, |_| {}), whole, "in pieces: {}", String::from_utf8_lossy(data));
    }
}

/// An address: what is accepted is prepared, and stays as it is when it is prepared again (RFC 7622 §3).
pub fn jid(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(jid) = Jid::new(text) else { return };
    let again = Jid::new(jid.as_str());
    assert_eq!(again.as_ref().map(Jid::as_str).ok(), Some(jid.as_str()), "prepared twice: {text:?}");
    let parts = Jid::from_parts(jid.local(), jid.domain(), jid.resource());
    assert_eq!(parts.as_ref().ok(), Some(&jid), "from parts: {text:?}");
    assert!(!jid.domain().is_empty() && jid.domain().len() <= 1023);
    assert!(jid.local().is_none_or(|local| !local.is_empty() && local.len() <= 1023));
    assert!(jid.resource().is_none_or(|resource| !resource.is_empty() && resource.len() <= 1023));
    let bare: BareJid = jid.bare();
    assert_eq!(BareJid::new(bare.as_str()).ok(), Some(bare));
}

/// xorshift64*: the same numbers for the same seed on every machine.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// From a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn of(data: &[u8]) -> Self {
        let hash = data.iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3)
        });
        Self::new(hash)
    }

    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    /// A number below `bound`; 0 for the bound 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number()).unwrap_or(0).checked_rem(bound).unwrap_or(0)
    }

    /// Whether one in `n` came up.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of `choices`.
    pub fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices.get(self.below(choices.len())).copied().unwrap_or("")
    }
}

const NAMES: &[&str] = &[
    "a",
    "b",
    "message",
    "presence",
    "iq",
    "body",
    "subject",
    "error",
    "x",
    "query",
    "\u{E9}t\u{E9}",
    "\u{4E00}-1.2",
    "_",
    "forwarded",
];
const ATTRS: &[&str] = &["to", "from", "id", "type", "a", "b", "stamp", "\u{E9}"];
const VALUES: &[&str] = &[
    "",
    "a@b.c/d",
    "b.c",
    "get",
    "set",
    "result",
    "error",
    "chat",
    "1",
    "&amp;",
    "&lt;&#x27;",
    "x\ty\r\nz",
    "&#10;",
    "\u{1F600}",
    "&gt;>",
    "jabber:client",
];
const URIS: &[&str] = &[
    "u",
    "v",
    "u&#118;",
    "uv",
    "jabber:client",
    "jabber:server",
    "urn:xmpp:delay",
    "urn:xmpp:hints",
    "http://etherx.jabber.org/streams",
    "\u{E9}",
];
const PREFIXES: &[&str] = &["p", "q", "stream", "\u{E9}"];
const TEXTS: &[&str] = &[
    "x",
    " ",
    "\r\n",
    "\r",
    "&amp;",
    "&#65;",
    "&#x1F600;",
    "]]",
    "]&gt;",
    "text and more text",
    "\u{1F600}\u{E9}\u{2028}",
    "<![CDATA[a]]b&<]]>",
    "<![CDATA[]]>",
    "<![CDATA[\r\n]]]]>",
    "'\"",
];

/// A stream that is mostly well-formed, with everything that makes reading hard.
pub fn stream(rng: &mut Rng) -> Vec<u8> {
    let mut out = String::new();
    out.push_str(rng.pick(&[
        "",
        "<?xml version='1.0'?>",
        "<?xml version=\"1.0\" encoding='utf-8' ?>\n",
        " ",
    ]));
    out.push_str(rng.pick(&[
        "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='b.c' version='1.0'>",
        "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:p='v'>",
        "<stream xmlns='http://etherx.jabber.org/streams' xmlns:q='jabber:client'>",
    ]));
    let declared: Vec<&str> =
        ["stream", "p", "q"].into_iter().filter(|p| out.contains(&format!("xmlns:{p}="))).collect();
    for _ in 0..=rng.below(3) {
        element(rng, &mut out, &declared, 0);
        out.push_str(rng.pick(&["", "", "\n", "  "]));
    }
    if !rng.one_in(3) {
        out.push_str(if out.contains("<stream:stream") { "</stream:stream>" } else { "</stream>" });
    }
    out.into_bytes()
}

/// One element that stands alone, mostly well-formed.
pub fn document(rng: &mut Rng) -> Vec<u8> {
    let mut out = String::new();
    element(rng, &mut out, &[], 0);
    out.into_bytes()
}

fn element(rng: &mut Rng, out: &mut String, declared: &[&str], depth: usize) {
    let mut declared = declared.to_vec();
    let mut attrs = String::new();
    let space = |rng: &mut Rng| rng.pick(&[" ", " ", " ", "\n", "\t "]);
    for _ in 0..rng.below(3) {
        let quote = rng.pick(&["'", "\""]);
        if rng.one_in(2) {
            let prefix = rng.pick(PREFIXES);
            if !attrs.contains(&format!("xmlns:{prefix}=")) {
                attrs += &format!("{}xmlns:{prefix}={quote}{}{quote}", space(rng), rng.pick(URIS));
                declared.push(prefix);
            }
        } else if !attrs.contains("xmlns=") {
            attrs += &format!(
                "{}xmlns={quote}{}{quote}",
                space(rng),
                if rng.one_in(4) { "" } else { rng.pick(URIS) }
            );
        }
    }
    for _ in 0..rng.below(4) {
        let name = rng.pick(ATTRS);
        let prefix = match rng.below(6) {
            0 if !declared.is_empty() => format!("{}:", rng.pick(&declared)),
            1 => "xml:".into(),
            _ => String::new(),
        };
        if !attrs.contains(&format!("{prefix}{name}")) {
            attrs += &format!(
                "{}{prefix}{name}{}'{}'",
                space(rng),
                rng.pick(&["=", "=", " = "]),
                rng.pick(VALUES).replace('\'', "")
            );
        }
    }
    let prefix = if declared.is_empty() || !rng.one_in(3) {
        String::new()
    } else {
        format!("{}:", rng.pick(&declared))
    };
    let name = if depth == 0 { rng.pick(&["message", "presence", "iq", "a"]) } else { rng.pick(NAMES) };
    out.push_str(&format!("<{prefix}{name}{attrs}"));
    if rng.one_in(3) {
        out.push_str(rng.pick(&["/>", " />"]));
        return;
    }
    out.push('>');
    for _ in 0..rng.below(4) {
        if depth < 4 && rng.one_in(2) {
            element(rng, out, &declared, depth + 1);
        } else {
            out.push_str(rng.pick(TEXTS));
        }
    }
    out.push_str(&format!("</{prefix}{name}{}>", rng.pick(&["", "", " "])));
}

const SPLINTERS: &[&[u8]] = &[
    b"<",
    b">",
    b"/>",
    b"</",
    b"&",
    b";",
    b"'",
    b"\"",
    b"=",
    b":",
    b" ",
    b"]]>",
    b"<!--",
    b"-->",
    b"<![CDATA[",
    b"<?xml version='1.0'?>",
    b"<!DOCTYPE a>",
    b"<?x?>",
    b"&#0;",
    b"&#xFFFE;",
    b"&#xD800;",
    b"&nbsp;",
    b"&#x110000;",
    b"\0",
    b"\x01",
    b"\xEF\xBF\xBE",
    b"\xEF\xBF\xBF",
    b"\xEF\xBB\xBF",
    b"\xC0\x80",
    b"\xED\xA0\x80",
    b"\x80",
    b"\xFF",
    b"\xE2\x82",
    b" xmlns=''",
    b" xmlns:p=''",
    b" xmlns='u'",
    b" xmlns:p='u'",
    b" p:x='' q:x=''",
    b" a='' a=''",
    b" xmlns:xml='u'",
    b" xmlns:p='http://www.w3.org/XML/1998/namespace'",
    b"<p:a/>",
    b"<a b=c/>",
    b"\r",
    b"\xC3\x97",
];

/// Damages `data` in up to four places.
pub fn damage(rng: &mut Rng, data: &mut Vec<u8>) {
    for _ in 0..rng.below(5) {
        let at = rng.below(data.len() + 1);
        let until = (at + 1 + rng.below(6)).min(data.len());
        match rng.below(5) {
            0 => drop(data.drain(at..until)),
            1 => {
                let piece = data.get(at..until).unwrap_or_default().to_vec();
                let to = rng.below(data.len() + 1);
                data.splice(to..to, piece);
            }
            2 => {
                #[expect(clippy::cast_possible_truncation, reason = "any byte will do")]
                let byte = rng.number() as u8;
                if let Some(slot) = data.get_mut(at) {
                    *slot = byte;
                }
            }
            _ => {
                let splinter = SPLINTERS.get(rng.below(SPLINTERS.len())).copied().unwrap_or_default();
                data.splice(at..at, splinter.iter().copied());
            }
        }
    }
}
