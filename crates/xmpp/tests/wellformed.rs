//! Well-formedness, restricted XML and limits (RFC 6120 §11, §4.9.3; XML 1.0; Namespaces in XML 1.0).
//!
//! Every input is fed whole, cut at every point, and byte by byte.

mod common;

use common::oracles;
use nuncio_xmpp::error::StreamCondition::{self, *};
use nuncio_xmpp::fuzz::{Node, Said, feed};
use nuncio_xmpp::xml::{Element, Limits, Which, XmlError};

const HEADER: &str =
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";

/// Feeds the whole input; then cut at every point, and byte by byte: all must say the same.
fn feed_everyhow(limits: Limits, input: &[u8]) -> Said {
    let whole = feed(limits, [input], |_| {});
    for cut in 1..input.len() {
        let (left, right) = input.split_at(cut);
        let said = feed(limits, [left, right], |_| {});
        assert_eq!(said, whole, "cut at {cut}: {:?}", String::from_utf8_lossy(input));
    }
    let said = feed(limits, input.chunks(1), |_| {});
    assert_eq!(said, whole, "byte by byte: {:?}", String::from_utf8_lossy(input));
    whole
}

/// First-level content of a stream, and the condition that it must be refused with.
#[rustfmt::skip]
const ILL_FORMED: &[(&str, &[u8], StreamCondition)] = &[
    // Tags and names (XML §2.3, §3.1).
    ("mismatched end tag", b"<a><b></a></b>", NotWellFormed),
    ("end tag is a prefix of the start tag", b"<ab></a>", NotWellFormed),
    ("end tag is longer than the start tag", b"<a></ab>", NotWellFormed),
    ("end tag in another case", b"<a></A>", NotWellFormed),
    ("end tag of another prefix", b"<p:a xmlns:p='u' xmlns:q='u'></q:a>", NotWellFormed),
    ("attribute in an end tag", b"<a></a b='c'>", NotWellFormed),
    ("space before a name", b"< a/>", NotWellFormed),
    ("space before the name of an end tag", b"<a></ a>", NotWellFormed),
    ("name begins with a digit", b"<1a/>", NotWellFormed),
    ("name begins with '-'", b"<-a/>", NotWellFormed),
    ("name begins with '.'", b"<.a/>", NotWellFormed),
    ("'$' in a name", b"<a$b/>", NotWellFormed),
    ("U+00D7 in a name", "<a\u{D7}/>".as_bytes(), NotWellFormed),
    ("U+0300 begins a name", "<\u{300}a/>".as_bytes(), NotWellFormed),
    ("U+00B7 begins a name", "<\u{B7}a/>".as_bytes(), NotWellFormed),
    ("U+037E in a name", "<a\u{37E}/>".as_bytes(), NotWellFormed),
    ("U+F0000 in a name", "<a\u{F0000}/>".as_bytes(), NotWellFormed),
    ("no name", b"<>", NotWellFormed),
    ("no name in an end tag", b"<a></>", NotWellFormed),
    ("'/' inside of a tag", b"<a / >", NotWellFormed),
    ("'/' before an attribute", b"<a /b='c'>", NotWellFormed),
    ("'<' inside of a tag", b"<a <b/>", NotWellFormed),
    ("unknown markup", b"<a><!ELEMENT a></a>", NotWellFormed),
    // Attributes (XML §3.1).
    ("attribute without value", b"<a b/>", NotWellFormed),
    ("attribute without quotes", b"<a b=c/>", NotWellFormed),
    ("attribute without '='", b"<a b 'c'/>", NotWellFormed),
    ("other quote closes", b"<a b='c\"/>", NotWellFormed), // ends in the next attribute's '<'
    ("no space between attributes", b"<a b='c'd='e'/>", NotWellFormed),
    ("no space before attributes", b"<a'b'/>", NotWellFormed),
    ("'<' in an attribute value", b"<a b='<'/>", NotWellFormed),
    ("duplicate attribute", b"<a b='c' b='d'/>", NotWellFormed),
    ("name of an attribute begins with a digit", b"<a 1='c'/>", NotWellFormed),
    // Namespaces in XML.
    ("undeclared prefix of an element", b"<foo:a/>", NotWellFormed),
    ("undeclared prefix of an attribute", b"<a foo:b='c'/>", NotWellFormed),
    ("prefix out of scope", b"<a><b xmlns:p='u'/><p:c/></a>", NotWellFormed),
    ("prefix is declared by a sibling", b"<a xmlns:p='u'/><p:c/>", NotWellFormed),
    ("two colons", b"<a:b:c xmlns:a='u'/>", NotWellFormed),
    ("colon begins a name", b"<:a/>", NotWellFormed),
    ("colon ends a name", b"<a: xmlns:a='u'/>", NotWellFormed),
    ("colon alone", b"<:/>", NotWellFormed),
    ("digit after a colon", b"<p:1 xmlns:p='u'/>", NotWellFormed),
    ("colon ends the name of an attribute", b"<a b:='c'/>", NotWellFormed),
    ("xmlns: without prefix", b"<a xmlns:='u'/>", NotWellFormed),
    ("duplicate attribute after resolution", b"<a xmlns:p='u' xmlns:q='u' p:x='1' q:x='2'/>", NotWellFormed),
    ("duplicate attribute, names equal after references", b"<a xmlns:p='u1' xmlns:q='u&#49;' p:x='' q:x=''/>", NotWellFormed),
    ("duplicate attribute, declared outside", b"<a xmlns:p='u'><b xmlns:q='u' p:x='1' q:x='2'/></a>", NotWellFormed),
    ("duplicate attribute of the header's prefix", b"<a xmlns:q='http://etherx.jabber.org/streams' stream:x='1' q:x='2'/>", NotWellFormed),
    ("duplicate xmlns", b"<a xmlns='u' xmlns='v'/>", NotWellFormed),
    ("duplicate xmlns, equal", b"<a xmlns='u' xmlns='u'/>", NotWellFormed),
    ("duplicate xmlns:p", b"<a xmlns:p='u' xmlns:p='v'/>", NotWellFormed),
    ("xmlns:p undeclared", b"<a xmlns:p=''/>", NotWellFormed),
    ("xmlns:xmlns", b"<a xmlns:xmlns='u'/>", NotWellFormed),
    ("xmlns:xmlns with its own name", b"<a xmlns:xmlns='http://www.w3.org/2000/xmlns/'/>", NotWellFormed),
    ("xmlns's name for another prefix", b"<a xmlns:p='http://www.w3.org/2000/xmlns/'/>", NotWellFormed),
    ("xmlns's name as default", b"<a xmlns='http://www.w3.org/2000/xmlns/'/>", NotWellFormed),
    ("xml's name for another prefix", b"<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>", NotWellFormed),
    ("xml's name as default", b"<a xmlns='http://www.w3.org/XML/1998/namespace'/>", NotWellFormed),
    ("xml's name by reference", b"<a xmlns='http://www.w3.org/XML/1998/namespac&#101;'/>", NotWellFormed),
    ("prefix xml for another name", b"<a xmlns:xml='u'/>", NotWellFormed),
    ("element with the prefix xmlns", b"<xmlns:a/>", NotWellFormed),
    ("S0-11: look-alike with an undeclared prefix", b"<ns2:message xmlns:pre='http://example.org/ns2'/>", NotWellFormed),
    // Characters (XML §2.2).
    ("NUL in text", b"<a>\0</a>", NotWellFormed),
    ("NUL in an attribute", b"<a b='\0'/>", NotWellFormed),
    ("NUL in a name", b"<a\0/>", NotWellFormed),
    ("U+0001 in text", b"<a>\x01</a>", NotWellFormed),
    ("U+001F in an attribute", b"<a b='\x1F'/>", NotWellFormed),
    ("U+000B in a CDATA section", b"<a><![CDATA[\x0B]]></a>", NotWellFormed),
    ("U+000C inside of a tag", b"<a\x0C/>", NotWellFormed),
    ("U+FFFE in text", "<a>\u{FFFE}</a>".as_bytes(), NotWellFormed),
    ("U+FFFF in text", "<a>\u{FFFF}</a>".as_bytes(), NotWellFormed),
    ("U+FFFF in an attribute", "<a b='\u{FFFF}'/>".as_bytes(), NotWellFormed),
    ("U+FFFE in a CDATA section", "<a><![CDATA[\u{FFFE}]]></a>".as_bytes(), NotWellFormed),
    ("U+FFFE in a name", "<a\u{FFFE}/>".as_bytes(), NotWellFormed),
    ("']]>' in text", b"<a>]]></a>", NotWellFormed),
    ("']]]>' in text", b"<a>]]]></a>", NotWellFormed),
    ("CDATA in small letters", b"<a><![cdata[]]></a>", NotWellFormed),
    ("CDATA with a space", b"<a><![CDATA []]></a>", NotWellFormed),
    ("conditional section", b"<a><![INCLUDE[]]></a>", NotWellFormed),
    // References (XML §4.1).
    ("'&' alone", b"<a>& </a>", NotWellFormed),
    ("'&' before markup", b"<a>&</a>", NotWellFormed),
    ("reference without ';'", b"<a>&amp</a>", NotWellFormed),
    ("reference without ';' in an attribute", b"<a b='&amp'/>", NotWellFormed),
    ("empty reference", b"<a>&;</a>", NotWellFormed),
    ("empty character reference", b"<a>&#;</a>", NotWellFormed),
    ("empty hexadecimal reference", b"<a>&#x;</a>", NotWellFormed),
    ("capital X", b"<a>&#X41;</a>", NotWellFormed),
    ("letter in a decimal reference", b"<a>&#4A;</a>", NotWellFormed),
    ("signed character reference", b"<a>&#+65;</a>", NotWellFormed),
    ("reference to NUL", b"<a>&#0;</a>", NotWellFormed),
    ("reference to U+0001", b"<a>&#1;</a>", NotWellFormed),
    ("reference to U+0001 in an attribute", b"<a b='&#x1;'/>", NotWellFormed),
    ("reference to a surrogate", b"<a>&#xD800;</a>", NotWellFormed),
    ("reference to U+FFFE", b"<a>&#xFFFE;</a>", NotWellFormed),
    ("reference beyond Unicode", b"<a>&#x110000;</a>", NotWellFormed),
    ("reference that overflows", b"<a>&#x100000041;</a>", NotWellFormed),
    ("reference that overflows 64 bits", b"<a>&#18446744073709551681;</a>", NotWellFormed),
    // What XMPP restricts (RFC 6120 §11.1).
    ("comment", b"<a><!-- x --></a>", RestrictedXml),
    ("comment between stanzas", b"<!-- x --><a/>", RestrictedXml),
    ("processing instruction", b"<a><?x y?></a>", RestrictedXml),
    ("processing instruction between stanzas", b"<?x y?><a/>", RestrictedXml),
    ("late xml declaration", b"<?xml version='1.0'?><a/>", RestrictedXml),
    ("document type declaration", b"<!DOCTYPE a []><a/>", RestrictedXml),
    ("document type declaration inside", b"<a><!DOCTYPE a></a>", RestrictedXml),
    ("undefined entity", b"<a>&foo;</a>", RestrictedXml),
    ("undefined entity, begins like another", b"<a>&ampx;</a>", RestrictedXml),
    ("undefined entity of HTML", b"<a>&nbsp;</a>", RestrictedXml),
    ("undefined entity in an attribute", b"<a b='&foo;'/>", RestrictedXml),
    ("undefined entity with a name outside of ASCII", "<a>&\u{E9};</a>".as_bytes(), RestrictedXml),
    // Encoding (RFC 6120 §11.6).
    ("overlong '/'", b"<a>\xC0\xAF</a>", UnsupportedEncoding),
    ("overlong NUL", b"<a>\xC0\x80</a>", UnsupportedEncoding),
    ("encoded surrogate", b"<a>\xED\xA0\x80</a>", UnsupportedEncoding),
    ("beyond U+10FFFF", b"<a>\xF4\x90\x80\x80</a>", UnsupportedEncoding),
    ("continuation alone", b"<a>\x80</a>", UnsupportedEncoding),
    ("0xFF", b"<a>\xFF</a>", UnsupportedEncoding),
    ("cut sequence", b"<a>\xE2\x82</a>", UnsupportedEncoding),
    ("Latin-1 in an attribute", b"<a b='\xE9'/>", UnsupportedEncoding),
    ("bad UTF-8 between stanzas", b" \xFE ", UnsupportedEncoding),
    // Text between first-level elements.
    ("text between stanzas", b"x<a/>", BadFormat),
    ("no-break space between stanzas", "\u{A0}<a/>".as_bytes(), BadFormat),
    ("byte order mark between stanzas", "\u{FEFF}<a/>".as_bytes(), BadFormat),
    ("reference between stanzas", b"&#32;<a/>", BadFormat),
    ("CDATA section between stanzas", b"<![CDATA[ ]]><a/>", BadFormat),
];

/// Whole documents that must be refused.
#[rustfmt::skip]
const ILL_FORMED_DOCUMENTS: &[(&str, &[u8], StreamCondition)] = &[
    ("text before the root", b"x<a/>", NotWellFormed),
    ("NUL before the root", b"\0<a/>", NotWellFormed),
    ("byte order mark before the root", "\u{FEFF}<a/>".as_bytes(), NotWellFormed),
    ("byte order mark before the declaration", "\u{FEFF}<?xml version='1.0'?><a/>".as_bytes(), NotWellFormed),
    ("UTF-16", b"\xFE\xFF\0<\0a\0/\0>", UnsupportedEncoding),
    ("UTF-16 without byte order mark", b"<\0a\0/\0>\0", NotWellFormed),
    ("end tag first", b"</a>", NotWellFormed),
    ("comment first", b"<!-- x --><a/>", RestrictedXml),
    ("document type declaration first", b"<!DOCTYPE a><a/>", RestrictedXml),
    ("CDATA section first", b"<![CDATA[x]]><a/>", NotWellFormed),
    ("processing instruction first", b"<?x?><a/>", RestrictedXml),
    ("processing instruction that begins like the declaration", b"<?xml-stylesheet href='x'?><a/>", RestrictedXml),
    ("space before the declaration", b" <?xml version='1.0'?><a/>", RestrictedXml),
    ("two declarations", b"<?xml version='1.0'?><?xml version='1.0'?><a/>", RestrictedXml),
    ("declaration without version", b"<?xml encoding='utf-8'?><a/>", NotWellFormed),
    ("declaration with nothing", b"<?xml ?><a/>", NotWellFormed),
    ("version 1.1", b"<?xml version='1.1'?><a/>", NotWellFormed),
    ("version 2", b"<?xml version='2'?><a/>", NotWellFormed),
    ("encoding before version", b"<?xml encoding='utf-8' version='1.0'?><a/>", NotWellFormed),
    ("declaration ends without '?'", b"<?xml version='1.0'><a/>", NotWellFormed),
    ("declaration without space", b"<?xml version='1.0'encoding='utf-8'?><a/>", NotWellFormed),
    ("declaration without quotes", b"<?xml version=1.0?><a/>", NotWellFormed),
    ("declaration with mixed quotes", b"<?xml version='1.0\"?><a/>", NotWellFormed),
    ("declaration with something else", b"<?xml version='1.0' x='y'?><a/>", NotWellFormed),
    ("standalone is neither yes nor no", b"<?xml version='1.0' standalone='maybe'?><a/>", NotWellFormed),
    ("empty encoding", b"<?xml version='1.0' encoding=''?><a/>", NotWellFormed),
    ("encoding ISO-8859-1", b"<?xml version='1.0' encoding='ISO-8859-1'?><a/>", UnsupportedEncoding),
    ("encoding UTF-16", b"<?xml version='1.0' encoding='UTF-16'?><a/>", UnsupportedEncoding),
    ("two roots", b"<a/><b/>", NotWellFormed),
    ("text after the root", b"<a/>x", NotWellFormed),
    ("comment after the root", b"<a/><!-- x -->", NotWellFormed),
];

/// First-level content of a stream that must be read.
#[rustfmt::skip]
const WELL_FORMED: &[&str] = &[
    "<a/>",
    "<a></a >",
    "<a\n\tb = 'c'\r\nd=\"e\" />",
    "<a b='>\"' c=\"'\"/>",
    "<a>]] ]> ]]&gt; ]&#93;></a>",
    "<a>&lt;&gt;&amp;&quot;&apos;&#65;&#x41;&#x10FFFF;&#9;&#xA;&#xd;&#0065;</a>",
    "<a b='&lt;&gt;&amp;&quot;&apos;&#9;&#10;&#13; \t\n\r\r\n'/>",
    "<a>one\r\ntwo\rthree\nfour\r\n\r\n</a>",
    "<a><![CDATA[<b>&amp;]]]]><![CDATA[>\r\n]]>x<![CDATA[]]></a>",
    "<p:a xmlns:p='u'><p:b p:c='d' c='e'/></p:a>",
    "<p:a xmlns:p='u'><p:b xmlns:p='v'/><p:c/></p:a>",
    "<a xmlns='u'><b xmlns=''/><b/></a>",
    "<a xmlns:p='u' xmlns='u' p:x='1' x='2'/>",
    "<a xmlns:p='u' xmlns:q='v' p:x='1' q:x='2'/>",
    "<a xmlns:p='u&amp;v' p:x='1'><p:b/></a>",
    "<a xml:lang='de' xml:space='preserve'/>",
    "<a xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:lang='de'/>",
    "<stream:a><stream:b/></stream:a>",
    "<a p:x='1' xmlns:p='u'/>",
    "<\u{E9}l\u{E9}ment \u{4E00}='\u{1F600}'>\u{FEFF}\u{85}\u{2028}\u{7F}\u{80}\u{FFFD}\u{10FFFF}</\u{E9}l\u{E9}ment>",
    "<a\u{B7}\u{300}\u{203F}_.-9/>",
    "<_ a\u{EFFFF}='x'/>",
    "<a> <b/> text <c/> </a>",
    "<message to='juliet@im.example.com'><body>Hi\u{1F44B}</body><x xmlns='a'><y xmlns='b'><z/></y></x></message>",
    "<a><a><a><a></a></a></a></a>",
    "<xmlfoo/>",
];

#[test]
fn rfc6120_11_ill_formed_content_is_refused_with_its_condition() {
    assert!(ILL_FORMED.len() >= 60);
    for (what, content, condition) in ILL_FORMED {
        let mut input = HEADER.as_bytes().to_vec();
        input.extend_from_slice(content);
        input.extend_from_slice(b"<next/>");
        let said = feed_everyhow(Limits::default(), &input);
        let error = said.error.unwrap_or_else(|| panic!("{what}: accepted as {:?}", said.frames));
        assert_eq!(error.condition(), *condition, "{what}: {error}");
    }
}

#[test]
fn rfc6120_11_ill_formed_documents_are_refused_with_their_condition() {
    for (what, document, condition) in ILL_FORMED_DOCUMENTS {
        let error = Element::parse(*document).expect_err(what);
        assert_eq!(error.condition(), *condition, "{what}: {error}");
        // As a stream whose header is not finished, or is the whole document.
        let said = feed_everyhow(Limits::default(), document);
        let error = said.error.unwrap_or_else(|| panic!("{what}: accepted as {:?}", said.frames));
        assert_eq!(error.condition(), *condition, "{what}: {error}");
    }
}

#[test]
fn well_formed_content_is_read_alike_however_it_is_cut_and_by_all_parsers() {
    for content in WELL_FORMED {
        let input = format!("<?xml version='1.0'?>\n{HEADER} {content}\n{content}</stream:stream>\n");
        let said = feed_everyhow(Limits::default(), input.as_bytes());
        assert_eq!(said.error, None, "{content}");
        assert_eq!(said.frames.len(), 4, "{content}: {:?}", said.frames);
        assert_eq!(said.held, 0, "{content}");
        let document = format!("{HEADER}{content}</stream:stream>");
        let element = Element::parse(document.clone()).unwrap_or_else(|error| panic!("{content}: {error}"));
        oracles::agree(document.as_bytes(), &Node::of(element.root()));
    }
}

#[test]
fn well_formed_prologs_are_read() {
    let prologs = [
        "",
        " \r\n\t",
        "<?xml version='1.0'?>",
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n",
        "<?xml version = '1.0'\n encoding\t=\r'UTF-8' ?>",
        "<?xml version='1.0' encoding='Utf-8' standalone='yes'?>",
        "<?xml version='1.0' standalone='no'?>",
    ];
    for prolog in prologs {
        let said =
            feed_everyhow(Limits::default(), format!("{prolog}{HEADER}<a/></stream:stream> ").as_bytes());
        assert_eq!((said.error, said.frames.len(), said.held), (None, 3, 0), "{prolog:?}");
    }
}

#[test]
fn an_element_that_is_cut_is_incomplete() {
    let whole = "<?xml version='1.0'?><a b='c'>d&amp;\u{1F600}<![CDATA[e]]></a>";
    for cut in 0..whole.len() {
        let error = Element::parse(whole.as_bytes()[..cut].to_vec()).expect_err("cut");
        assert_eq!(error, XmlError::Incomplete, "cut at {cut}");
    }
    assert!(Element::parse(whole).is_ok());
}

#[test]
fn a_stream_that_is_its_own_end_has_a_header_and_an_end() {
    let said =
        feed_everyhow(Limits::default(), b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams'/>");
    assert_eq!(said.frames.len(), 2);
    assert_eq!(said.frames[1], "end");
}

fn small() -> Limits {
    Limits {
        stanza_bytes: 100,
        header_bytes: 120,
        depth: 3,
        attributes: 3,
        name_bytes: 16,
        attribute_bytes: 50,
        namespaces: 4,
        nodes: 6,
    }
}

/// RFC 6120 §13.12: each limit holds to the unit, whatever the cuts.
#[test]
fn limits_are_inclusive_and_exact() {
    let x = |n: usize| "x".repeat(n);
    let pairs = [
        (Which::StanzaBytes, format!("<a>{}</a>", x(93)), format!("<a>{}</a>", x(94))),
        (Which::StanzaBytes, format!("<a>{}</a>", x(93)), format!("<a>{}", x(98))),
        (Which::StanzaBytes, format!("<a>{}\u{E9}</a>", x(91)), format!("<a>{}\u{1F600}</a>", x(91))),
        (Which::Depth, "<a><a><a/></a></a>".into(), "<a><a><a><a/>".into()),
        (Which::Attributes, "<a b='' c='' d=''/>".into(), "<a b='' c='' d='' e=''/>".into()),
        (Which::NameBytes, "<aaaaaaaaaaaaaaaa/>".into(), "<aaaaaaaaaaaaaaaaa/>".into()),
        (Which::NameBytes, "<aaaaaaaaaaaaaa\u{E9}/>".into(), "<aaaaaaaaaaaaaaa\u{E9}/>".into()),
        (Which::NameBytes, "<a aaaaaaaaaaaaaaaa=''/>".into(), "<a aaaaaaaaaaaaaaaaa=''/>".into()),
        (Which::AttributeBytes, format!("<a b='{}'/>", x(50)), format!("<a b='{}'/>", x(51))),
        (Which::AttributeBytes, format!("<a b='{}&lt;'/>", x(46)), format!("<a b='{}&lt;'/>", x(47))),
        (
            Which::Namespaces,
            "<a xmlns='u'><b xmlns='v'/><b xmlns='v'/></a>".into(),
            "<a xmlns='u'><b xmlns='v'><c xmlns='w'/>".into(),
        ),
        (Which::Nodes, "<a>t<b/>t<b/>t</a>".into(), "<a>t<b/>t<b/>t<b/></a>".into()),
    ];
    for (which, allowed, refused) in pairs {
        let said = feed_everyhow(small(), format!("{HEADER}{allowed}{allowed}").as_bytes());
        assert_eq!((said.error, said.frames.len()), (None, 3), "{which}: {allowed}");
        let said = feed_everyhow(small(), format!("{HEADER}{refused}").as_bytes());
        assert!(
            matches!(said.error, Some(XmlError::Limit { which: found, .. }) if found == which),
            "{refused}: {said:?}"
        );
        assert_eq!(said.error.map(|error| error.condition()), Some(PolicyViolation));
    }
}

#[test]
fn the_header_has_its_own_limit() {
    let header = |n: usize| {
        format!("{}<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>", " ".repeat(n))
    };
    let fits = 120 - header(0).len();
    assert_eq!(feed_everyhow(small(), header(fits).as_bytes()).error, None);
    let said = feed_everyhow(small(), header(fits + 1).as_bytes());
    assert_eq!(said.error, Some(XmlError::Limit { which: Which::HeaderBytes, limit: 120 }));
    // Whitespace between stanzas is never too much.
    let said = feed_everyhow(small(), format!("{}{}<a/>", header(0), "\n".repeat(500)).as_bytes());
    assert_eq!((said.error, said.frames.len(), said.held), (None, 2, 0));
}

/// An invalid byte is found after what stands before it, and a character that crosses a limit is beyond it.
#[test]
fn the_order_of_findings_does_not_depend_on_cuts() {
    let said = feed_everyhow(Limits::default(), &[HEADER.as_bytes(), b"<a/>\x80"].concat());
    assert_eq!(
        (said.frames.len(), said.error.map(|error| error.condition())),
        (2, Some(UnsupportedEncoding))
    );
    let refused = (80..100).map(|len| {
        let filler = "x".repeat(len);
        let text = feed_everyhow(small(), format!("{HEADER}<a>{filler}\u{1F600}</a>").as_bytes());
        let tag = feed_everyhow(small(), format!("{HEADER}<a>{filler}<a b=''\u{1F600}/>").as_bytes());
        assert!(tag.error.is_some());
        usize::from(text.error.is_some())
    });
    assert_eq!(refused.sum::<usize>(), 10, "of 20 lengths around the limit of 100");
}
