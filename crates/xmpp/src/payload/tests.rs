//! Tests of the shared payloads.

use super::*;
use crate::ns;
use crate::stanza::{MessageType, Stanza, message};
use crate::xml::{Builder, Element};

fn parse(xml: &str) -> Element {
    Element::parse(xml.to_owned()).unwrap_or_else(|error| panic!("{xml}: {error}"))
}

/// XEP-0115 §5.2: the simple example.
#[test]
fn xep0115_5_2_simple_verification_string() {
    let info = parse(
        "<query xmlns='http://jabber.org/protocol/disco#info'>\
         <identity category='client' name='Exodus 0.9.1' type='pc'/>\
         <feature var='http://jabber.org/protocol/muc'/>\
         <feature var='http://jabber.org/protocol/disco#info'/>\
         <feature var='http://jabber.org/protocol/caps'/>\
         <feature var='http://jabber.org/protocol/disco#items'/></query>",
    );
    let info = Info::parse(info.root()).unwrap();
    assert_eq!(
        caps::verification_string(&info).unwrap(),
        "client/pc//Exodus 0.9.1<http://jabber.org/protocol/caps<http://jabber.org/protocol/disco#info<\
         http://jabber.org/protocol/disco#items<http://jabber.org/protocol/muc<"
    );
}

/// XEP-0115 §5.3: the complex example, and §5.4: what is ill-formed.
#[test]
fn xep0115_5_3_complex_verification_string() {
    let xml = "<query xmlns='http://jabber.org/protocol/disco#info'>\
         <identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>\
         <identity xml:lang='el' category='client' name='\u{3A8} 0.11' type='pc'/>\
         <feature var='http://jabber.org/protocol/caps'/>\
         <x xmlns='jabber:x:data' type='result'>\
         <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>\
         <field var='os'><value>Mac</value></field>\
         <field var='ip_version' type='text-multi'><value>ipv6</value><value>ipv4</value></field></x>\
         <x xmlns='jabber:x:data' type='result'><field var='no'><value>type</value></field></x></query>";
    let info = Info::parse(parse(xml).root()).unwrap();
    assert_eq!(
        caps::verification_string(&info).unwrap(),
        "client/pc/el/\u{3A8} 0.11<client/pc/en/Psi 0.11<http://jabber.org/protocol/caps<\
         urn:xmpp:dataforms:softwareinfo<ip_version<ipv4<ipv6<os<Mac<"
    );
    assert_eq!(Info::parse(info.builder().element().root()).as_ref(), Some(&info));

    let mut twice = info.clone();
    twice.features.push("http://jabber.org/protocol/caps".into());
    assert_eq!(caps::verification_string(&twice), Err(caps::CapsFault::FeatureTwice));
    let mut twice = info.clone();
    twice.identities.push(info.identities[0].clone());
    assert_eq!(caps::verification_string(&twice), Err(caps::CapsFault::IdentityTwice));
    let mut twice = info.clone();
    twice.forms.push(info.forms[0].clone());
    assert_eq!(caps::verification_string(&twice), Err(caps::CapsFault::FormTwice));
    let mut several = info.clone();
    several.forms[0].fields[0].values.push("urn:other".into());
    assert_eq!(caps::verification_string(&several), Err(caps::CapsFault::FormType));
    let mut ambiguous = info;
    ambiguous.features.push("a<b".into());
    assert_eq!(caps::verification_string(&ambiguous), Err(caps::CapsFault::Ambiguous));
}

#[test]
fn xep0082_datetime_reads_what_it_writes() {
    for (ms, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (4_107_542_399_123, "2100-02-28T23:59:59.123Z"),
        (1_795_327_800_456, "2026-11-22T06:10:00.456Z"),
    ] {
        assert_eq!(datetime::format(ms), text);
        assert_eq!(datetime::parse(text), Some(ms), "{text}");
    }
    assert_eq!(datetime::parse("1969-07-21T02:56:15Z"), datetime::parse("1969-07-20T21:56:15-05:00"));
    assert_eq!(datetime::parse("2002-09-10T23:41:07.1234567Z").map(|ms| ms % 1000), Some(123));
    assert_eq!(datetime::parse("2016-12-31T23:59:60Z"), datetime::parse("2016-12-31T23:59:59Z"));
    let day = 86_400_000;
    for days in (-700_000..2_900_000_i64).step_by(97) {
        assert_eq!(datetime::parse(&datetime::format(days * day + 1)), Some(days * day + 1));
    }
    for bad in [
        "",
        "2002-09-10",
        "2002-09-10T23:41:07",
        "2002-13-10T23:41:07Z",
        "2002-02-29T23:41:07Z",
        "2002-09-10T24:41:07Z",
        "2002-09-10T23:41:07.Z",
        "2002-09-10T23:41:07+1:00",
        "2002-09-10T23:41:07Z ",
        "2002-09-10 23:41:07Z",
        "20020910T23:41:07",
        "\u{660}002-09-10T23:41:07Z",
    ] {
        assert_eq!(datetime::parse(bad), None, "{bad:?}");
    }
    assert_eq!(datetime::format(i64::MIN), "0000-01-01T00:00:00.000Z");
    assert_eq!(datetime::format(i64::MAX), "9999-12-31T23:59:59.999Z");
}

#[test]
fn xep0203_delay_round_trip() {
    let delay =
        Delay { reason: Some("Offline & gone".into()), ..Delay::new("capulet.com", 1_031_700_067_000) };
    let element = delay.builder().element();
    assert_eq!(element.attr("stamp").as_deref(), Some("2002-09-10T23:21:07.000Z"));
    assert_eq!(Delay::parse(element.root()), Some(delay));
    assert_eq!(Delay::parse(parse("<delay xmlns='urn:xmpp:delay' stamp='yesterday'/>").root()), None);
}

/// XEP-0004 §3: every part of a form survives writing and reading; unknown parts are passed over.
#[test]
fn xep0004_form_round_trip() {
    let form = Form::typed(FormType::Form, "urn:x")
        .title("T <1>")
        .instruction("one")
        .instruction("two")
        .field(
            Field::new(FieldType::ListSingle, "l")
                .label("L")
                .option(Some("A"), "a")
                .option(None, "b")
                .value("a")
                .required(),
        )
        .field(Field::new(FieldType::Boolean, "b").value("true"))
        .field(Field { kind: Some(FieldType::Fixed), values: vec!["read".into()], ..Field::default() });
    let form = Form {
        reported: vec![Field::new(FieldType::TextSingle, "c")],
        items: vec![vec![Field::new(FieldType::TextSingle, "c").value("1")]],
        ..form
    };
    let element = form.builder().element();
    let read = Form::parse(element.root()).unwrap();
    assert_eq!(read, form);
    assert_eq!((read.form_type(), read.value("l"), read.values("none").len()), (Some("urn:x"), Some("a"), 0));
    assert_eq!(read.get("b").and_then(Field::as_bool), Some(true));

    let strange = parse(
        "<x xmlns='jabber:x:data' type='submit'><y xmlns='z'/><field var='FORM_TYPE'><value>u</value></field><field var='a' type='new'/></x>",
    );
    let strange = Form::parse(strange.root()).unwrap();
    assert_eq!((strange.form_type(), strange.fields[1].kind), (Some("u"), None));
    assert_eq!(Form::parse(parse("<x xmlns='jabber:x:data' type='strange'/>").root()), None);
}

#[test]
fn xep0059_requests_and_sets_round_trip() {
    for page in [Page::First, Page::After("a&b".into()), Page::Before("c".into()), Page::Last, Page::Index(7)]
    {
        for max in [None, Some(0), Some(10)] {
            let request = Request { max, page: page.clone() };
            assert_eq!(Request::parse(request.builder().element().root()), Some(request));
        }
    }
    let set = Set { first: Some("f".into()), index: Some(0), last: Some("l".into()), count: Some(800) };
    assert_eq!(Set::parse(set.builder().element().root()), Some(set));
    let bad = parse("<set xmlns='http://jabber.org/protocol/rsm'><max>many</max></set>");
    assert_eq!(Request::parse(bad.root()), None);
}

#[test]
fn xep0297_a_forwarded_stanza_says_its_namespace() {
    let received =
        Element::parse_in(ns::SERVER, "<message from='a@b' to='c@d'><body>x</body></message>").unwrap();
    let mut stanza = Stanza::from_element(received).unwrap();
    stanza.add(&Builder::new("y", "u"));
    let wrapped = forwarded::wrap(&stanza, Some(&Delay::new("d", 0))).element();
    let read = Forwarded::parse(wrapped.root()).unwrap();
    assert_eq!(read.delay.map(|delay| delay.stamp), Some(0));
    assert_eq!((read.stanza.ns(), read.stanza.attr("to").as_deref()), (ns::CLIENT, Some("c@d")));
    assert!(read.stanza.child("body", ns::CLIENT).is_some() && read.stanza.child("y", "u").is_some());
    let inner = Stanza::from_element(read.stanza.to_element()).unwrap();
    assert_eq!(inner.body_text().as_deref(), Some("x"));
    // As a child of a stanza that leaves for another server it still says so.
    let carbon = message(MessageType::Chat)
        .child(Builder::new("sent", ns::CARBONS).child(forwarded::wrap(&stanza, None)));
    let bytes = carbon.build().bytes(ns::SERVER);
    assert!(String::from_utf8_lossy(&bytes).contains("<message xmlns='jabber:client'"));
}

#[test]
fn xep0030_items_round_trip() {
    let items = parse(
        "<query xmlns='http://jabber.org/protocol/disco#items' node='n'><item jid='a.b' name='N'/><item jid='@'/><item jid='c' node='m'/></query>",
    );
    let items = Items::parse(items.root()).unwrap();
    assert_eq!(items.items.len(), 2);
    assert_eq!(Items::parse(items.builder().element().root()), Some(items));
}

#[test]
fn xep0115_caps_round_trip() {
    let caps = Caps {
        hash: "sha-1".into(),
        node: "http://psi-im.org".into(),
        ver: "q07IKJEyjvHSyhy//CH0CxmKi8w=".into(),
    };
    assert_eq!(Caps::parse(caps.builder().element().root()).as_ref(), Some(&caps));
    assert_eq!(caps.disco_node(), "http://psi-im.org#q07IKJEyjvHSyhy//CH0CxmKi8w=");
}
