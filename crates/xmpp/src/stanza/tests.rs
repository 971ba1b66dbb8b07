//! Tests of stanzas.

use super::*;
use crate::error::{Condition, ErrorType, StanzaError};
use crate::xml::{Frame, Limits, Tokenizer};

/// The first element of a stream with this header.
fn received(header: &str, xml: &str) -> Element {
    let mut tokenizer = Tokenizer::new(Limits::default());
    tokenizer.push(format!("{header}{xml}").as_bytes());
    loop {
        match tokenizer.next() {
            Ok(Some(Frame::Element(element))) => return element,
            Ok(Some(_)) => {}
            other => panic!("{xml}: {other:?}"),
        }
    }
}

fn client(xml: &str) -> Stanza {
    let header = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:h='urn:header'>";
    Stanza::from_element(received(header, xml)).unwrap_or_else(|fault| panic!("{xml}: {fault}"))
}

fn fault(xml: &str) -> StanzaFault {
    let element = Element::parse_in(ns::CLIENT, xml.to_owned()).unwrap();
    Stanza::from_element(element).expect_err(xml)
}

fn text(stanza: &Stanza, stream_ns: &str) -> String {
    String::from_utf8(stanza.bytes(stream_ns).to_vec()).unwrap()
}

/// RFC 6120 §4.8.3, §8.4: what leaves is right for the stream that it leaves on. The columns: the stream it came on, the stanza, and
/// how it leaves for a client, for a server, and where nothing is inherited.
#[test]
fn rfc6120_4_8_3_namespaces_on_every_stream() {
    const STREAMS: &str = "xmlns:stream='http://etherx.jabber.org/streams'";
    let table = [
        // The default namespace of the header, inherited.
        (
            "xmlns='jabber:client'",
            "<message to='b'><body>x</body></message>",
            "<message to='b'><body>x</body></message>",
        ),
        // The same, declared by the stanza.
        (
            "xmlns='jabber:client'",
            "<message xmlns='jabber:client' to='b'><body>x</body></message>",
            "<message to='b'><body>x</body></message>",
        ),
        // Declared by the stanza only.
        (
            "xmlns='urn:other'",
            "<message xmlns='jabber:client'><body>x</body></message>",
            "<message><body>x</body></message>",
        ),
        // From another server.
        (
            "xmlns='jabber:server'",
            "<message from='a' to='b'><body>x</body></message>",
            "<message from='a' to='b'><body>x</body></message>",
        ),
        // A prefix instead of the default namespace.
        (
            "xmlns:c='jabber:client'",
            "<c:message><c:body a='1'>x&amp;<![CDATA[<]]></c:body></c:message>",
            "<message><body a='1'>x&amp;&lt;</body></message>",
        ),
        (
            "xmlns='urn:d' xmlns:c='jabber:client'",
            "<c:message><c:body>x</c:body><y/></c:message>",
            "<message><body>x</body><y xmlns='urn:d'/></message>",
        ),
        (
            "xmlns:c='jabber:client'",
            "<c:iq type='set' id='1'><y/></c:iq>",
            "<iq type='set' id='1'><y xmlns=''/></iq>",
        ),
        // A child that says its namespace itself.
        (
            "xmlns='jabber:client'",
            "<message><body xmlns='jabber:client'>x</body></message>",
            "<message><body>x</body></message>",
        ),
        // A prefix of the header is declared where it is used.
        (
            "xmlns='jabber:client' xmlns:h='urn:h'",
            "<message><h:x/></message>",
            "<message xmlns:h='urn:h'><h:x/></message>",
        ),
        (
            "xmlns='jabber:client' xmlns:h='urn:h' xmlns:i='i'",
            "<message h:a='1'><x xmlns='y' h:b='2'/></message>",
            "<message h:a='1' xmlns:h='urn:h'><x xmlns='y' h:b='2'/></message>",
        ),
        // A prefix of the stanza stays.
        (
            "xmlns='jabber:client'",
            "<message xmlns:p='u' p:a=\"1\" other='2'><p:x/></message>",
            "<message xmlns:p='u' p:a=\"1\" other='2'><p:x/></message>",
        ),
        // A forwarded stanza stays in the namespace that it says.
        (
            "xmlns='jabber:client'",
            "<message><f xmlns='u'><message xmlns='jabber:client'/></f></message>",
            "<message><f xmlns='u'><message xmlns='jabber:client'/></f></message>",
        ),
        // What would turn into the stanza's own on another stream is left out.
        (
            "xmlns='jabber:client'",
            "<message><body xmlns='jabber:server'>x</body><z xmlns='u'/></message>",
            "<message><z xmlns='u'/></message>",
        ),
        (
            "xmlns='jabber:server'",
            "<message><c:body xmlns:c='jabber:client'>x</c:body></message>",
            "<message/>",
        ),
        // Language and emptiness.
        ("xmlns='jabber:client'", "<presence xml:lang='de' />", "<presence xml:lang='de'/>"),
        ("xmlns='jabber:client'", "<presence></presence>", "<presence/>"),
    ];
    for (declarations, xml, leaves) in table {
        let element = received(&format!("<stream:stream {declarations} {STREAMS}>"), xml);
        let stanza = Stanza::from_element(element).unwrap();
        assert_eq!(text(&stanza, ns::CLIENT), leaves, "{xml}");
        assert_eq!(text(&stanza, ns::SERVER), leaves, "{xml}");
        let name = stanza.name();
        let standing = leaves.replacen(&format!("<{name}"), &format!("<{name} xmlns='jabber:client'"), 1);
        assert_eq!(text(&stanza, ""), standing, "{xml}");
    }
}

#[test]
fn a_stanza_is_edited_without_touching_its_clones() {
    let stanza = client(
        "<message from='old@x' to='b@y/r' type='chat' id='1'> <body>x</body><delay xmlns='urn:xmpp:delay'/>\n<stanza-id xmlns='urn:xmpp:sid:0' id='z'/><h:k/></message>",
    );
    let mut edited = stanza.clone();
    edited.set_from(Jid::new("a@x/\"<'&").ok());
    edited.set_to(None);
    edited.set_id(Some("i'd"));
    edited.set_lang(Some("en"));
    edited.strip(|child| child.ns() == ns::SID);
    edited.strip(|child| child.ns() == ns::DELAY);
    edited.add(&Builder::new("stanza-id", ns::SID).attr("id", "new"));
    edited.add(&Builder::new("error", ns::CLIENT));
    edited.add_closed(Bytes::from_static(b"<q xmlns='w'/>"));
    assert_eq!(
        text(&edited, ns::SERVER),
        "<message xmlns:h='urn:header' from='a@x/&#34;&lt;&#39;&amp;' type='chat' id='i&#39;d' xml:lang='en'> <body>x</body>\n<h:k/>\
         <stanza-id xmlns='urn:xmpp:sid:0' id='new'/><error/><q xmlns='w'/></message>"
    );
    assert_eq!(edited.children().map(ElementRef::name).collect::<Vec<_>>(), ["body", "k"]);
    assert!(edited.marks().all(Marks::BODY) && !edited.marks().any(Marks::DELAY | Marks::STANZA_ID));
    assert!(edited.child("delay", ns::DELAY).is_none() && edited.has_added());
    edited.clear_added();
    edited.set_kind(Kind::Message(MessageType::Normal));
    edited.strip(|_| true);
    assert!(
        text(&edited, ns::CLIENT).contains("xml:lang='en'> \n</message>"),
        "{}",
        text(&edited, ns::CLIENT)
    );

    assert!(stanza.child("delay", ns::DELAY).is_some() && stanza.id() == Some("1"));
    assert_eq!(stanza.to().map(Jid::as_str), Some("b@y/r"));
    assert!(stanza.size() >= stanza.bytes(ns::CLIENT).len() && stanza.size() < 500);
}

/// RFC 6120 §8.1, §8.2.3, §8.3.3, RFC 6121 §4.7.1: what is refused, and the condition that says so.
#[test]
fn rfc6120_8_faults_and_their_answers() {
    type Is = fn(&StanzaFault) -> bool;
    let table: [(&str, Is, Condition); 15] = [
        (
            "<message to='@'/>",
            |f| matches!(f, StanzaFault::BadAddress { attr: "to", .. }),
            Condition::JidMalformed,
        ),
        (
            "<message to=''/>",
            |f| matches!(f, StanzaFault::BadAddress { attr: "to", .. }),
            Condition::JidMalformed,
        ),
        (
            "<presence from='a@@b'/>",
            |f| matches!(f, StanzaFault::BadAddress { attr: "from", .. }),
            Condition::JidMalformed,
        ),
        ("<presence type='strange'/>", |f| *f == StanzaFault::BadType, Condition::BadRequest),
        ("<presence type=''/>", |f| *f == StanzaFault::BadType, Condition::BadRequest),
        ("<presence type='available'/>", |f| *f == StanzaFault::BadType, Condition::BadRequest),
        ("<iq id='1'><x xmlns='u'/></iq>", |f| *f == StanzaFault::BadType, Condition::BadRequest),
        ("<iq type='GET' id='1'><x xmlns='u'/></iq>", |f| *f == StanzaFault::BadType, Condition::BadRequest),
        ("<iq type='get'><x xmlns='u'/></iq>", |f| *f == StanzaFault::MissingId, Condition::BadRequest),
        ("<iq type='get' id='1'/>", |f| matches!(f, StanzaFault::IqShape(_)), Condition::BadRequest),
        ("<iq type='set' id='1'>text</iq>", |f| matches!(f, StanzaFault::IqShape(_)), Condition::BadRequest),
        (
            "<iq type='set' id='1'><x xmlns='u'/><y xmlns='u'/></iq>",
            |f| matches!(f, StanzaFault::IqShape(_)),
            Condition::BadRequest,
        ),
        (
            "<iq type='result' id='1'><x xmlns='u'/><y xmlns='u'/></iq>",
            |f| matches!(f, StanzaFault::IqShape(_)),
            Condition::BadRequest,
        ),
        ("<iq type='error' id='1'/>", |f| matches!(f, StanzaFault::IqShape(_)), Condition::BadRequest),
        (
            "<iq type='error' id='1'><error xmlns='u'/></iq>",
            |f| matches!(f, StanzaFault::IqShape(_)),
            Condition::BadRequest,
        ),
    ];
    for (xml, is, condition) in table {
        let fault = fault(xml);
        assert!(is(&fault) && fault.condition() == condition, "{xml}: {fault:?}");
        let element = Element::parse_in(ns::CLIENT, xml.to_owned()).unwrap();
        let reply = fault.reply(&element);
        // RFC 6120 §8.3.1: no error answers an error, none a result.
        assert_eq!(reply.is_none(), xml.contains("'error'") || xml.contains("'result'"), "{xml}");
        if let Some(reply) = reply {
            let read = reply.own_child("error").and_then(StanzaError::parse).map(|error| error.condition);
            assert_eq!(
                (reply.is_error(), reply.name(), reply.id(), read),
                (true, element.name(), element.attr("id").as_deref(), Some(condition))
            );
        }
    }
    for xml in ["<message xmlns='u'/>", "<pubsub/>", "<Message/>", "<p:message xmlns:p='u'/>"] {
        let fault = fault(xml);
        assert!(matches!(fault, StanzaFault::NotAStanza { .. }), "{xml}: {fault:?}");
        assert!(fault.reply(&Element::parse_in(ns::CLIENT, xml.to_owned()).unwrap()).is_none());
    }
    // The sender stays the one who is answered although its stanza is not valid.
    let element = Element::parse_in(ns::CLIENT, "<iq from='a@b/c' to='d' type='get' id='1'/>").unwrap();
    let reply = Stanza::from_element(element.clone()).expect_err("no child").reply(&element).unwrap();
    assert_eq!((reply.to().map(Jid::as_str), reply.from().map(Jid::as_str)), (Some("a@b/c"), Some("d")));
}

/// RFC 6121 §5.2.2: an unknown type is `normal`; every known one is read and written.
#[test]
fn rfc6121_types_are_read_and_written() {
    assert_eq!(client("<message type='strange'/>").kind(), Kind::Message(MessageType::Normal));
    for kind in MessageType::ALL {
        let stanza = client(&format!("<message type='{}'/>", kind.as_str()));
        assert_eq!(stanza.kind(), Kind::Message(*kind));
        assert_eq!(client(&text(&stanza, ns::CLIENT)).kind(), stanza.kind());
    }
    for kind in &PresenceType::ALL[1..] {
        let stanza = client(&format!("<presence type='{}'/>", kind.as_str()));
        assert_eq!(stanza.kind(), Kind::Presence(*kind));
        assert_eq!(client(&text(&stanza, ns::CLIENT)).kind(), stanza.kind());
    }
    for kind in IqType::ALL {
        let child = if *kind == IqType::Error { "<error/>" } else { "<x xmlns='u'/>" };
        let stanza = client(&format!("<iq id='1' type='{}'>{child}</iq>", kind.as_str()));
        assert_eq!(stanza.kind(), Kind::Iq(*kind));
        assert_eq!(client(&text(&stanza, ns::CLIENT)).kind(), stanza.kind());
    }
}

/// RFC 6120 §8.3.1, §8.3.2.
#[test]
fn rfc6120_8_3_errors_and_results_go_back() {
    let asked = client("<iq from='a@b/c' to='d@e' type='get' id='7'><h:query><h:x/></h:query></iq>");
    let result = asked.result(Some(Builder::new("query", "urn:header")));
    assert_eq!(
        text(&result, ns::CLIENT),
        "<iq from='d@e' to='a@b/c' type='result' id='7'><query xmlns='urn:header'/></iq>"
    );
    assert!(result.error(Condition::BadRequest).is_none());
    let error = asked.error(StanzaError::new(Condition::Forbidden).with_text("no <way>")).unwrap();
    assert_eq!(
        text(&error, ns::SERVER),
        "<iq from='d@e' to='a@b/c' type='error' id='7'><h:query xmlns:h='urn:header'><h:x/></h:query><error type='auth'>\
         <forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>no &lt;way&gt;</text></error></iq>"
    );
    assert!(error.error(Condition::BadRequest).is_none());
    let read = StanzaError::parse(error.own_child("error").unwrap()).unwrap();
    assert_eq!(
        (read.condition, read.kind, read.text.as_deref()),
        (Condition::Forbidden, ErrorType::Auth, Some("no <way>"))
    );
    assert_eq!(error.payload().map(ElementRef::name), Some("query"));
    let message = client("<message from='a@b/c' to='d@e'><body>x</body></message>")
        .error(Condition::ServiceUnavailable)
        .unwrap();
    assert!(message.body_text().is_none() && message.is_error());
}

#[test]
fn every_stanza_error_condition_round_trips() {
    for condition in Condition::ALL {
        let error = StanzaError { by: Some("x.y".into()), address: None, ..StanzaError::new(*condition) };
        let element = error.builder().element();
        assert_eq!(StanzaError::parse(element.root()), Some(error), "{condition}");
        assert_eq!(Condition::from_word(condition.as_str()), Some(*condition));
    }
    let gone = StanzaError { address: Some("xmpp:new@x".into()), ..StanzaError::new(Condition::Gone) };
    assert_eq!(StanzaError::parse(gone.builder().element().root()), Some(gone));
    let strange = Element::parse_in(
        ns::CLIENT,
        "<error type='new'><new xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>",
    )
    .unwrap();
    assert_eq!(StanzaError::parse(strange.root()), Some(StanzaError::new(Condition::UndefinedCondition)));
}

/// RFC 6120 §4.9.2, §4.9.3.
#[test]
fn every_stream_error_condition_round_trips() {
    use crate::error::{StreamCondition, StreamError};
    for condition in StreamCondition::ALL {
        let mut error = StreamError::new(*condition).with_text("t & u").with_extra(Builder::new("x", "u"));
        if *condition == StreamCondition::SeeOtherHost {
            error.host = Some("[2001:db8::1]:9222".into());
        }
        let mut bytes = Vec::new();
        error.write(&mut bytes);
        let header = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
        let element = received(header, &String::from_utf8(bytes).unwrap());
        assert_eq!(StreamError::parse(element.root()).as_ref(), Some(&error), "{condition}");
        assert_eq!(StreamError::parse(error.builder().element().root()), Some(error), "{condition}");
    }
}

/// B29 of the extension points: XEP-0085, 0160, 0184, 0280, 0313, 0333, 0334, 0352, 0353 in one table.
#[test]
fn b29_class_of_a_message() {
    const BODY: &str = "<body>x</body>";
    const STATE: &str = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    let hint = |name: &str| format!("<{name} xmlns='urn:xmpp:hints'/>");
    // storable, permanent, copyable, urgent, chatter
    let table: Vec<(&str, String, &str)> = vec![
        ("chat", BODY.into(), "spcu-"),
        ("normal", BODY.into(), "spcu-"),
        ("groupchat", BODY.into(), "---u-"),
        ("headline", BODY.into(), "---u-"),
        ("error", BODY.into(), "--cu-"),
        ("error", format!("{BODY}{}{}", hint("no-copy"), hint("store")), "--cu-"),
        ("error", String::new(), "---u-"),
        // XEP-0160 §3: only a chat state is not stored, XEP-0085 §5.
        ("chat", STATE.into(), "--c-c"),
        ("normal", STATE.into(), "--c-c"),
        ("groupchat", STATE.into(), "----c"),
        ("chat", format!("{STATE}<thread>t</thread>"), "--c-c"),
        ("chat", format!("{BODY}{STATE}"), "spcu-"),
        ("chat", String::new(), "--c--"),
        // XEP-0334 §4.
        ("chat", format!("{BODY}{}", hint("no-store")), "--cu-"),
        ("chat", format!("{BODY}{}", hint("no-permanent-store")), "s-cu-"),
        ("chat", format!("{BODY}{}", hint("no-copy")), "sp-u-"),
        ("chat", format!("<x xmlns='u'/>{}", hint("store")), "spc--"),
        ("chat", hint("store"), "spc--"),
        // XEP-0280 §6.1, §9.
        ("chat", format!("{BODY}<private xmlns='urn:xmpp:carbons:2'/>"), "sp-u-"),
        ("chat", "<received xmlns='urn:xmpp:carbons:2'/>".into(), "s----"),
        ("normal", "<x xmlns='u'/>".into(), "s----"),
        ("chat", "<x xmlns='u'/>".into(), "s-c--"),
        // XEP-0184, XEP-0333: kept, but nobody is woken.
        ("normal", "<received xmlns='urn:xmpp:receipts' id='1'/>".into(), "spc--"),
        ("chat", "<request xmlns='urn:xmpp:receipts'/>".into(), "--c--"),
        ("chat", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>".into(), "spc--"),
        ("chat", "<markable xmlns='urn:xmpp:chat-markers:0'/>".into(), "--c--"),
        // XEP-0353: stored, copied, urgent.
        ("chat", "<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>".into(), "spcu-"),
        // XEP-0384, XEP-0380: an encrypted message needs no body.
        ("chat", "<encrypted xmlns='urn:xmpp:omemo:2'/>".into(), "spcu-"),
        ("normal", "<x xmlns='jabber:x:conference' jid='r@m'/>".into(), "spcu-"),
        ("normal", "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@b'/></x>".into(), "spcu-"),
        ("headline", "<event xmlns='http://jabber.org/protocol/pubsub#event'/>".into(), "-----"),
    ];
    for (kind, children, expected) in table {
        let stanza = client(&format!("<message type='{kind}'>{children}</message>"));
        let class = stanza.class();
        let bits = [class.storable, class.permanent, class.copyable, class.urgent, class.chatter];
        let found: String =
            bits.iter().zip("spcuc".chars()).map(|(bit, c)| if *bit { c } else { '-' }).collect();
        assert_eq!(found, expected, "{kind}: {children}");
    }
    for (xml, urgent, chatter) in [
        ("<presence/>", false, true),
        ("<presence type='unavailable'/>", false, true),
        ("<presence type='subscribe'/>", true, false),
        ("<presence type='probe'/>", false, false),
        ("<presence type='error'/>", true, false),
        ("<iq type='get' id='1'><x xmlns='u'/></iq>", true, false),
    ] {
        let class = client(xml).class();
        assert_eq!(
            (class.urgent, class.chatter, class.storable, class.copyable),
            (urgent, chatter, false, false),
            "{xml}"
        );
    }
}

#[test]
fn marks_know_every_child_by_name_and_namespace() {
    let stanza = client(
        "<message><body/><subject/><thread/><delay xmlns='urn:xmpp:delay'/><request xmlns='urn:xmpp:receipts'/>\
         <origin-id xmlns='urn:xmpp:sid:0'/><replace xmlns='urn:xmpp:message-correct:0'/><x xmlns='http://jabber.org/protocol/muc#user'/></message>",
    );
    let expected = [
        Marks::BODY,
        Marks::SUBJECT,
        Marks::THREAD,
        Marks::DELAY,
        Marks::RECEIPT_REQUEST,
        Marks::ORIGIN_ID,
        Marks::CORRECT,
        Marks::MUC_USER,
    ];
    assert_eq!(stanza.marks(), expected.into_iter().fold(Marks::NONE, Marks::or));
    assert_eq!(client("<message><body xmlns='u'/></message>").marks(), Marks::OTHER);
    // Between servers the same children are the stanza's own.
    let header = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'>";
    let between = Stanza::from_element(received(header, "<message><body/></message>")).unwrap();
    assert_eq!(between.marks(), Marks::BODY);
}

#[test]
fn builders_write_well_formed_xml_whatever_they_are_given() {
    let nasty = "\0\u{1}\u{FFFE}\u{FFFF}<>&'\"]]>\r\n\t\u{1F600}\u{EFFF}\u{F000}";
    let clean = "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}<>&'\"]]>\r\n\t\u{1F600}\u{EFFF}\u{F000}";
    let stanza = message(MessageType::Chat)
        .to(Jid::new("a@b/<&'\"").ok())
        .id(nasty)
        .lang(nasty)
        .child(
            Builder::new("x", "u&'<v")
                .attr("a", nasty)
                .attr("a", nasty)
                .attr_ns("b", "w'&", nasty)
                .text(nasty),
        )
        .body(nasty)
        .build();
    for stream_ns in [ns::CLIENT, ns::SERVER, ""] {
        let again = Element::parse_in(stream_ns, stanza.bytes(stream_ns)).unwrap();
        let again = Stanza::from_element(again).unwrap();
        assert_eq!(
            (again.id(), again.lang(), again.body_text().as_deref()),
            (Some(clean), Some(clean), Some(clean))
        );
        let x = again.child("x", "u&'<v").unwrap();
        assert_eq!(
            (x.attr("a").as_deref(), x.attr_ns("b", "w'&").as_deref(), x.text().as_ref()),
            (Some(clean), Some(clean), clean)
        );
        assert_eq!(again.to(), stanza.to());
    }
}

/// What is only passed on is written into exactly the room it needs: no second piece of memory.
#[test]
fn the_room_is_exact() {
    for xml in [
        "<message to='romeo@example.net' id='a' type='chat'><body>Art thou not Romeo?</body></message>",
        "<message xml:lang='en' from='juliet@example.com/balcony'><x xmlns='urn:x'/><body/></message>",
        "<presence/>",
        "<iq type='get' id='p' to='example.com'><ping xmlns='urn:xmpp:ping'/></iq>",
    ] {
        let element = Element::parse_in(ns::CLIENT, xml.as_bytes().to_vec()).unwrap();
        let mut stanza = Stanza::from_element(element).unwrap();
        for stream_ns in [ns::CLIENT, ns::SERVER, ""] {
            assert_eq!(stanza.bytes(stream_ns).len(), stanza.room(stream_ns), "{xml} on {stream_ns:?}");
        }
        stanza.add_closed("<delay xmlns='urn:xmpp:delay'/>".into());
        assert_eq!(stanza.bytes(ns::CLIENT).len(), stanza.room(ns::CLIENT), "{xml} with a child");
    }
}
