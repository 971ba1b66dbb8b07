//! Tests of elements and of what a stream header says. The tokenizer itself is tested from outside, in `tests/`.

use super::*;
use crate::ns;

fn header(xml: &str) -> Header {
    let mut tokenizer = Tokenizer::new(Limits::default());
    tokenizer.push(xml.as_bytes());
    match tokenizer.next() {
        Ok(Some(Frame::Header(header))) => header,
        other => panic!("{xml}: {other:?}"),
    }
}

/// RFC 6120 §4.7, §4.8.
#[test]
fn rfc6120_4_7_header_accessors() {
    let opened = header(
        "<?xml version='1.0'?><stream:stream from='a&amp;b' to='im.example.com' version='1.0' xml:lang='en' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback'>",
    );
    assert!(opened.is_stream());
    assert_eq!((opened.name(), opened.ns(), opened.prefix()), ("stream", ns::STREAMS, "stream"));
    assert_eq!(opened.attr("from").as_deref(), Some("a&b"));
    assert_eq!((opened.attr("id"), opened.attr("lang"), opened.attr("xmlns")), (None, None, None));
    assert_eq!((opened.lang().as_deref(), opened.default_ns()), (Some("en"), ns::CLIENT));
    assert_eq!(
        (opened.declares("db"), opened.declares("x"), opened.declares("")),
        (Some(ns::DIALBACK), None, None)
    );

    let opened = header("<stream xmlns='http://etherx.jabber.org/streams'>");
    assert!(opened.is_stream() && opened.prefix().is_empty());
    let opened = header("<x:stream xmlns:x='urn:other' xmlns=''>");
    assert!(!opened.is_stream() && opened.default_ns().is_empty());
    assert_eq!(header("<open/>").ns(), "");
}

#[test]
fn element_accessors() {
    let element = Element::parse(
        "<m xmlns='u' xmlns:p='v' a=' x&#9;&lt;\r\ny' p:a='2' xml:lang='de'>one<b/>t&amp;wo<p:b c='d'>in</p:b><![CDATA[<3>]]></m>",
    )
    .unwrap();
    assert!(element.is("m", "u") && !element.is("m", "v"));
    assert_eq!(element.attr("a").as_deref(), Some(" x\t< y"));
    assert_eq!(element.root().attr_ns("a", "v").as_deref(), Some("2"));
    assert_eq!(
        (element.attr("p:a"), element.attr("b"), element.root().attr_ns("a", "u")),
        (None, None, None)
    );
    assert_eq!(element.root().lang().as_deref(), Some("de"));
    assert_eq!(element.text(), "onet&wo<3>");
    assert_eq!(
        element.children().map(|child| (child.name(), child.ns())).collect::<Vec<_>>(),
        [("b", "u"), ("b", "v")]
    );
    let inner = element.child("b", "v").unwrap();
    assert_eq!((inner.prefix(), inner.text().as_ref(), inner.default_ns()), ("p", "in", "u"));
    assert_eq!(inner.raw(), b"<p:b c='d'>in</p:b>");
    let alone = inner.to_element();
    assert_eq!(alone.raw(), b"<p:b xmlns:p='v' c='d'>in</p:b>");
    assert_eq!(element.root().attrs().count(), 3);
    assert!(element.child("b", "w").is_none());
    assert!(matches!(element.child("b", "u").map(ElementRef::text), Some(std::borrow::Cow::Borrowed(""))));
}

/// Design, section 4: what leaves is namespace-correct wherever it is put.
#[test]
fn closed_copies_declare_what_they_inherit_and_nothing_else() {
    let element = Element::parse_in(
        "d",
        "<a xmlns:p='u&amp;' xmlns:q='v'><b/><p:c q:x=''/><p:d xmlns:p='w'/><e xmlns='' p:y=''><f/></e></a>",
    );
    let element = element.unwrap();
    let closed = |name: &str, under: &str| {
        let mut out = Vec::new();
        element.children().find(|child| child.name() == name).unwrap().write_closed(&mut out, under);
        String::from_utf8(out).unwrap()
    };
    for (name, under, expected) in [
        ("b", "", "<b xmlns='d'/>"),
        ("b", "d", "<b/>"),
        ("c", "d", "<p:c xmlns:p='u&amp;' xmlns:q='v' q:x=''/>"),
        ("c", "x", "<p:c xmlns:p='u&amp;' xmlns:q='v' q:x=''/>"),
        ("d", "x", "<p:d xmlns:p='w'/>"),
        ("e", "x", "<e xmlns:p='u&amp;' xmlns='' p:y=''><f/></e>"),
    ] {
        assert_eq!(closed(name, under), expected, "under {under:?}");
    }
    let none = Element::parse("<a><b/></a>").unwrap();
    let mut out = Vec::new();
    none.child("b", "").unwrap().write_closed(&mut out, "x");
    assert_eq!(out, b"<b xmlns=''/>");
}

#[test]
fn builders_write_the_shortest_right_thing() {
    let builder = Builder::new("iq", ns::CLIENT)
        .attr("type", "get")
        .attr("type", "set")
        .attr("max", 3)
        .attr_opt("none", None::<&str>)
        .lang("en")
        .child(Builder::new("query", ns::ROSTER).child(Builder::new("item", ns::ROSTER)).text("a<b"))
        .child_opt(None);
    let expected =
        "<iq type='set' max='3' xml:lang='en'><query xmlns='jabber:iq:roster'><item/>a&lt;b</query></iq>";
    assert_eq!(builder.bytes(ns::CLIENT), expected);
    assert_eq!(builder.bytes(""), expected.replacen("<iq", "<iq xmlns='jabber:client'", 1));
    assert_eq!((builder.name(), builder.ns()), ("iq", ns::CLIENT));
    let copied = Builder::new("w", "v").copy(builder.element().child("query", ns::ROSTER).unwrap());
    assert_eq!(copied.bytes("v"), "<w><query xmlns='jabber:iq:roster'><item/>a&lt;b</query></w>");
}

/// Every error has the stream condition that RFC 6120 §4.9.3 names for it, and says where.
#[test]
fn rfc6120_4_9_3_errors_say_where_and_what() {
    let error = Element::parse("<a>\n</b>").unwrap_err();
    assert_eq!(error.to_string(), "not well-formed at byte 6: closing tag of another element");
    let limits = Limits { depth: 1, ..Limits::default() };
    let mut tokenizer = Tokenizer::new(limits);
    tokenizer.push(b"<s><a><b>");
    while matches!(tokenizer.next(), Ok(Some(_))) {}
    assert_eq!(tokenizer.next().unwrap_err().to_string(), "depth: more than 1");
}
