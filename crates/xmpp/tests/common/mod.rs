//! What the tests of the tokenizer share: a plain model of what a document says, and its readings by three parsers.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::fmt::Write as _;

use nuncio_xmpp::xml::{Content, ElementRef, Frame, Limits, Tokenizer, XmlError};

pub mod oracles;

/// An element as every parser must understand it. Attributes are sorted by namespace and name, texts are joined.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Node {
    pub ns: String,
    pub name: String,
    pub attrs: Vec<(String, String, String)>,
    pub content: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Element(Node),
    Text(String),
}

impl Node {
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
}

/// The reading of Nuncio's own tokenizer.
pub fn own(element: ElementRef<'_>) -> Node {
    let mut attrs: Vec<_> =
        element.attrs().map(|attr| (attr.ns.to_owned(), attr.name.to_owned(), attr.value.into_owned())).collect();
    attrs.sort();
    let mut node =
        Node { ns: element.ns().into(), name: element.name().into(), attrs, content: Vec::new() };
    for part in element.content() {
        match part {
            Content::Element(child) => node.content.push(Part::Element(own(child))),
            Content::Text(text) => node.push_text(&text),
        }
    }
    node
}

/// What a stream said: its frames in words, keep-alive whitespace left out, and how it went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub frames: Vec<String>,
    pub error: Option<XmlError>,
    /// Bytes that wait for more.
    pub held: usize,
}

/// Takes every frame that is complete.
pub fn drain(tokenizer: &mut Tokenizer, said: &mut Said) {
    while said.error.is_none() {
        match tokenizer.next() {
            Ok(Some(Frame::Header(header))) => {
                let mut line = format!("header {{{}}}{}", header.ns(), header.name());
                write!(line, " default={} raw={:?}", header.default_ns(), header.raw()).unwrap();
                said.frames.push(line);
            }
            Ok(Some(Frame::Element(element))) => {
                said.frames.push(format!("{:?} {:?}", own(element.root()), element.raw()));
            }
            Ok(Some(Frame::Text)) => {}
            Ok(Some(Frame::End)) => said.frames.push("end".into()),
            Ok(None) => break,
            Err(error) => said.error = Some(error),
        }
    }
    said.held = tokenizer.buffered();
}

/// Feeds `pieces` one after the other.
pub fn feed<'a>(limits: Limits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Said {
    let mut tokenizer = Tokenizer::new(limits);
    let mut said = Said { frames: Vec::new(), error: None, held: 0 };
    for piece in pieces {
        tokenizer.push(piece);
        drain(&mut tokenizer, &mut said);
    }
    said
}

/// Feeds the whole input; then cut at every point, and byte by byte: all must say the same.
pub fn feed_everyhow(limits: Limits, input: &[u8]) -> Said {
    let whole = feed(limits, [input]);
    for cut in 1..input.len() {
        let (left, right) = input.split_at(cut);
        assert_eq!(feed(limits, [left, right]), whole, "cut at {cut}: {:?}", String::from_utf8_lossy(input));
    }
    assert_eq!(feed(limits, input.chunks(1)), whole, "byte by byte: {:?}", String::from_utf8_lossy(input));
    whole
}

pub const HEADER: &str =
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";
