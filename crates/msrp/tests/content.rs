//! CPIM (RFC 3862) and IMDN (RFC 5438): S1-A2.

use bytes::Bytes;
use nuncio_msrp::cpim::{Address, CORE, Cpim, CpimError};
use nuncio_msrp::imdn::{Asked, Disposition, ImdnError, LONGEST, NAMESPACE, Notification, Request, Wanted};
use proptest::prelude::*;

/// RFC 3862 §5.1, with its line ends.
const EXAMPLE: &str = "From: MR SANDERS <im:piglet@100akerwood.com>\r\n\
To: Depressed Donkey <im:eeyore@100akerwood.com>\r\n\
DateTime: 2000-12-13T13:40:00-08:00\r\n\
Subject: the weather will be fine today\r\n\
Subject:;lang=fr beau temps prevu pour aujourd'hui\r\n\
NS: MyFeatures <mid:MessageFeatures@id.foo.com>\r\n\
Require: MyFeatures.VitalMessageOption\r\n\
MyFeatures.VitalMessageOption: Confirmation-requested\r\n\
MyFeatures.WackyMessageOption: Use-silly-font\r\n\
\r\n\
Content-type: text/xml; charset=utf-8\r\n\
Content-ID: <1234567890@foo.com>\r\n\
\r\n\
<body>\r\nHere is the text of my message.\r\n</body>";

fn parse(text: &str) -> Result<Cpim, CpimError> {
    Cpim::parse(&Bytes::from(text.to_owned()))
}

/// Read, understood, written, read again as the same.
#[test]
fn the_example_of_rfc_3862() {
    let cpim = parse(EXAMPLE).expect("§5.1");
    assert_eq!(cpim.from.name.as_deref(), Some("MR SANDERS"));
    assert_eq!(cpim.from.uri, "im:piglet@100akerwood.com");
    assert_eq!(cpim.date_time.as_deref(), Some("2000-12-13T13:40:00-08:00"));
    let subjects: Vec<_> =
        cpim.get(CORE, "Subject").map(|it| (it.parameters.clone(), it.value.clone())).collect();
    assert_eq!(subjects[1].0, [("lang".to_owned(), "fr".to_owned())]);
    assert_eq!(subjects[1].1, "beau temps prevu pour aujourd'hui");
    let mine = "mid:MessageFeatures@id.foo.com";
    assert_eq!(cpim.namespace("MyFeatures"), Some(mine));
    assert_eq!(cpim.get(mine, "VitalMessageOption").count(), 1);
    assert_eq!(cpim.not_understood(&[]), ["MyFeatures.VitalMessageOption"]);
    assert!(cpim.not_understood(&[(mine, "VitalMessageOption")]).is_empty());
    assert_eq!(cpim.content_type, "text/xml; charset=utf-8");
    assert_eq!(cpim.content_fields, [("Content-ID".to_owned(), "<1234567890@foo.com>".to_owned())]);
    assert!(cpim.content.starts_with(b"<body>\r\n") && cpim.content.ends_with(b"</body>"));
    assert_eq!(Cpim::parse(&cpim.write().into()), Ok(cpim));
}

/// RFC 4975 §11.4: the chunks of the RFC, put together.
#[test]
fn the_example_of_rfc_4975() {
    let text = "To: Bob <sip:bob@example.com>\r\nFrom: Alice <sip:alice@example.com>\r\nDateTime: 2006-05-15T15:02:31-03:00\r\n\r\nContent-Type: text/plain\r\n\r\nABCD1234567890";
    let cpim = parse(text).expect("§11.4, with the empty line that RFC 3862 asks for");
    assert_eq!((&cpim.content[..], cpim.to[0].uri.as_str()), (&b"ABCD1234567890"[..], "sip:bob@example.com"));
    // As printed, the content has no headers of its own: RFC 3862 §3.1 does not allow that.
    assert_eq!(parse(&text.replace("-03:00\r\n\r\n", "-03:00\r\n")), Err(CpimError::Unended));
}

/// S1-A2: what RFC 3862 and RFC 4975 §13 do not allow is not read.
#[test]
fn strictness() {
    use CpimError::*;
    let good = "From: <im:a@x.example>\r\nTo: <im:b@x.example>\r\n\r\nContent-Type: text/plain\r\n\r\nhi";
    assert!(parse(good).is_ok());
    let with = |header: &str| good.replace("\r\n\r\nContent", &format!("\r\n{header}\r\n\r\nContent"));
    let cases: Vec<(String, CpimError)> = vec![
        (good.replace("From: <im:a@x.example>\r\n", ""), From),
        (with("From: <im:c@x.example>"), From),
        (good.replace("To: <im:b@x.example>\r\n", ""), To),
        (with("from: <im:c@x.example>").replace("From: <im:a@x.example>\r\n", ""), From),
        (with("To: im:c@x.example"), Address),
        (with("To: <c@x.example>"), Address),
        (with("To: \"open <im:c@x.example>"), Address),
        (with("To: \"a\\q\" <im:c@x.example>"), Address),
        (with("To: <im:c@x.example> more"), Address),
        (with("To: <im:c d@x.example>"), Address),
        (with("DateTime: yesterday"), DateTime),
        (with("DateTime: 2000-13-13T13:40:00Z"), DateTime),
        (with("DateTime: 2000-12-13T13:40:00"), DateTime),
        (with("DateTime: 2000-12-13T13:40:00.Z"), DateTime),
        (with("DateTime: 2000-12-13T13:40:00Z\r\nDateTime: 2000-12-13T13:40:00Z"), Repeated),
        (with("Subject: a\r\nSubject: b"), Repeated),
        (with("X.Y: undefined"), Namespace),
        (with("NS: X urn:x"), Namespace),
        (with("NoSpace:value"), Header),
        (with("No colon"), Header),
        (with(" Folded: x"), Header),
        (with("A.B.C: x"), Header),
        (with("S:;lang x"), Header),
        (with("S:;lang= x"), Header),
        (with("X: \u{7}"), Text),
        (with("X: a\nb"), Text),
        (good.replace("Content-Type: text/plain", "Content-ID: <x@y>"), NoContentType),
        (good.replace("text/plain", "text"), NoContentType),
        (good.replace("\r\n\r\nContent", "\r\nContent"), Unended),
        (with(&"X: y\r\n".repeat(4_000)), Unended),
        (String::new(), Unended),
    ];
    for (text, error) in cases {
        assert_eq!(parse(&text), Err(error), "{text}");
    }
    assert_eq!(Cpim::parse(&Bytes::from_static(b"X: \xff\r\n\r\n\r\n\r\n")), Err(Text));
}

/// RFC 5438 §7.1.1 and §7.2.1: what is asked for, and what is told.
#[test]
fn notifications() {
    let mut cpim = Cpim::new(
        Address::new("im:alice@example.com").expect("a URI"),
        vec![Address::new("im:bob@example.com").expect("a URI")],
        "text/plain".to_owned(),
        Bytes::from_static(b"Hello World"),
    );
    assert_eq!(Request::of(&cpim), None);
    let request = Request {
        message_id: "34jk324j".to_owned(),
        wanted: vec![Wanted::PositiveDelivery, Wanted::NegativeDelivery],
    };
    cpim.headers = request.headers();
    let text = String::from_utf8(cpim.write()).expect("text");
    assert!(text.contains("NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: 34jk324j\r\nimdn.Disposition-Notification: positive-delivery, negative-delivery\r\n"), "{text}");
    let read = parse(&text).expect("ours");
    assert_eq!(Request::of(&read), Some(request.clone()));
    // The prefix is the sender's choice; the namespace is what counts.
    let renamed =
        text.replace("NS: imdn", "NS: i").replace("imdn.", "i.").replace("delivery,", "delivery;x=y,");
    assert_eq!(Request::of(&parse(&renamed).expect("the same")), Some(request));
    let other = text.replace(NAMESPACE, "urn:something:else");
    assert_eq!(Request::of(&parse(&other).expect("another namespace")), None);
    let notification = Notification {
        message_id: "34<jk>&324j".to_owned(),
        date_time: "2008-04-04T12:16:49-05:00".to_owned(),
        recipient: Some("im:bob@example.com".to_owned()),
        original_recipient: None,
        subject: None,
        disposition: Disposition::Delivered,
    };
    assert_eq!(Notification::read(notification.write().as_bytes()).as_ref(), Ok(&notification));
    assert_eq!(
        notification.write(),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\"><message-id>34&lt;jk&gt;&amp;324j</message-id><datetime>2008-04-04T12:16:49-05:00</datetime><recipient-uri>im:bob@example.com</recipient-uri><delivery-notification><status><delivered/></status></delivery-notification></imdn>"
    );
}

/// A payload as RFC 5438 §7.2.1.1 to §8.1 print it, its line ends and its broken tag included.
fn printed(told: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\">\n      \
         <message-id>34jk324j</message-id>\n      <datetime>2008-04-04T12:16:49-05:00</datetime>\n     \
         <recipient-uri>im:bob@example.com</recipient-uri>\n\n      <original-recipient-uri\n        \
         >im:bob@example.com</original-recipient-uri>\n      {told}\n    </imdn>\n"
    )
}

/// RFC 5438 §7.2.1.1, §7.2.1.2, §8.1: the examples, and every other status of §11.1.7.
#[test]
fn the_notifications_of_rfc_5438() {
    let kinds = [
        (
            "delivery-notification",
            &[
                ("delivered", Disposition::Delivered),
                ("failed", Disposition::DeliveryFailed),
                ("forbidden", Disposition::DeliveryForbidden),
                ("error", Disposition::DeliveryError),
            ][..],
        ),
        (
            "display-notification",
            &[
                ("displayed", Disposition::Displayed),
                ("forbidden", Disposition::DisplayForbidden),
                ("error", Disposition::DisplayError),
            ],
        ),
        (
            "processing-notification",
            &[
                ("processed", Disposition::Processed),
                ("stored", Disposition::Stored),
                ("forbidden", Disposition::ProcessingForbidden),
                ("error", Disposition::ProcessingError),
            ],
        ),
    ];
    for (kind, all) in kinds {
        for (status, disposition) in all {
            let told = format!("<{kind}>\n   <status>\n      <{status}/>\n   </status>\n </{kind}>");
            let read = Notification::read(printed(&told).as_bytes());
            let expected = Notification {
                message_id: "34jk324j".to_owned(),
                date_time: "2008-04-04T12:16:49-05:00".to_owned(),
                recipient: Some("im:bob@example.com".to_owned()),
                original_recipient: Some("im:bob@example.com".to_owned()),
                subject: None,
                disposition: *disposition,
            };
            assert_eq!(read, Ok(expected), "{told}");
        }
    }
    // §7.2.1.1: its CPIM, with the empty line that RFC 3862 asks for; §9: what makes it a notification.
    let delivered = printed("<delivery-notification><status><delivered/></status></delivery-notification>");
    let example = format!(
        "From: Bob <im:bob@example.com>\r\nTo: Alice <im:alice@example.com>\r\nNS: imdn <urn:ietf:params:imdn>\r\n\
         imdn.Message-ID: d834jied93rf\r\n\r\nContent-type: message/imdn+xml\r\nContent-Disposition: notification\r\n\
         Content-length: {}\r\n\r\n{delivered}",
        delivered.len()
    );
    let of = |text: &str| Notification::of(&parse(text).expect("CPIM"));
    assert!(matches!(of(&example), Some(Ok(told)) if told.disposition == Disposition::Delivered));
    assert_eq!(of(&example.replace("Content-Disposition: notification\r\n", "")), None);
    assert_eq!(of(&example.replace("message/imdn+xml", "application/xml")), None);
    let cut = example.replace("</imdn>", "");
    assert!(matches!(of(&cut), Some(Err(ImdnError::Xml(_)))), "said to be one, and is none");
}

/// RFC 5438 §11.1, S1-A2: what the schema does not have is refused; what it leaves to extensions is passed over; XML's dangers are none.
#[test]
fn payloads_that_are_refused() {
    let status = "<delivery-notification><status><delivered/></status></delivery-notification>";
    let good = printed(status);
    let read = |text: &str| Notification::read(text.as_bytes()).map(|told| told.message_id);
    assert_eq!(read(&good).as_deref(), Ok("34jk324j"));
    for (from, to) in [
        ("<message-id>34jk324j</message-id>", "<message-id>\n  34jk324j\n </message-id>"),
        ("34jk324j", "&#51;4<![CDATA[jk]]>324j"),
        ("<delivered/>", "<delivered></delivered><x xmlns=\"urn:x\"><delivered/>text</x>"),
        ("</imdn>", "<later xmlns=\"urn:x\" a=\"b\"/></imdn>"),
        ("<message-id>", "<subject>Hello</subject><message-id>"),
        ("<?xml version=\"1.0\" encoding=\"UTF-8\"?>", ""),
        ("<imdn xmlns", "<imdn lang=\"en\" xmlns"),
    ] {
        let changed = good.replace(from, to);
        assert_ne!(changed, good);
        assert_eq!(read(&changed).as_deref(), Ok("34jk324j"), "{changed}");
    }
    let entities = "<!DOCTYPE imdn [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]><imdn";
    for (from, to, expected) in [
        ("<imdn", entities, None),
        ("<imdn", "<!DOCTYPE imdn SYSTEM \"file:///etc/passwd\"><imdn", None),
        ("34jk324j", "&b;", None),
        ("34jk324j", "34jk<!-- -->324j", None),
        ("<imdn", "<?php exit ?><imdn", None),
        ("UTF-8", "ISO-8859-1", None),
        ("</imdn>", "", None),
        ("</imdn>", "</imdn><imdn/>", None),
        ("</imdn>", "&#0;</imdn>", None),
        ("urn:ietf:params:xml:ns:imdn", "urn:ietf:params:imdn", Some(ImdnError::Root)),
        ("34jk324j", "", Some(ImdnError::Missing)),
        ("<message-id>34jk324j</message-id>", "", Some(ImdnError::Missing)),
        ("<datetime>2008-04-04T12:16:49-05:00</datetime>", "", Some(ImdnError::Missing)),
        (status, "", Some(ImdnError::Missing)),
        ("<status><delivered/></status>", "", Some(ImdnError::Missing)),
        ("<delivered/>", "", Some(ImdnError::Status)),
        ("<delivered/>", "<displayed/>", Some(ImdnError::Status)),
        ("<delivered/>", "<delivered/><failed/>", Some(ImdnError::Element)),
        ("<delivered/>", "<delivered>x</delivered>", Some(ImdnError::Element)),
        ("<delivered/>", "<delivered/><x xmlns=\"\"/>", Some(ImdnError::Element)),
        ("<delivered/>", "delivered", Some(ImdnError::Text)),
        ("34jk324j", "34<b/>", Some(ImdnError::Element)),
        ("34jk324j", "34&#x85;", Some(ImdnError::Text)),
        ("</imdn>", "<message-id>other</message-id></imdn>", Some(ImdnError::Element)),
        (
            "</imdn>",
            "<display-notification><status><displayed/></status></display-notification></imdn>",
            Some(ImdnError::Element),
        ),
        ("</imdn>", "<unknown/></imdn>", Some(ImdnError::Element)),
        ("</imdn>", "text</imdn>", Some(ImdnError::Text)),
    ] {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good);
        match (read(&changed), expected) {
            (Err(ImdnError::Xml(_)), None) => {}
            (told, expected) => assert_eq!(told.err(), expected, "{changed}"),
        }
    }
    let long = good.replace("34jk324j", &"x".repeat(LONGEST));
    assert_eq!(read(&long), Err(ImdnError::Long));
    let deep = format!(
        "{}{}",
        "<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\">".to_owned(),
        "<x xmlns=\"urn:x\">".repeat(500)
    );
    assert!(matches!(read(&deep), Err(ImdnError::Xml(_))));
    assert!(matches!(Notification::read(b"\xff\xfe<"), Err(ImdnError::Xml(_))));
}

/// RFC 5438 §7.1, §7.2: who is told, of what, and once; a notification that nobody asked for speaks of nothing.
#[test]
fn told_to_whoever_asked() {
    let ask = |wanted: &[Wanted]| {
        let mut message = Cpim::new(
            Address::new("im:alice@example.com").expect("a URI"),
            vec![Address::new("im:bob@example.com").expect("a URI")],
            "text/plain".to_owned(),
            Bytes::from_static(b"Hello World"),
        );
        message.date_time = Some("2008-04-04T12:16:49-05:00".to_owned());
        message.headers = Request { message_id: "34jk324j".to_owned(), wanted: wanted.to_vec() }.headers();
        message
    };
    let both = ask(&[Wanted::PositiveDelivery, Wanted::NegativeDelivery]);
    let told = Notification::about(&both, Disposition::Delivered).expect("asked for");
    assert_eq!(told.recipient.as_deref(), Some("im:bob@example.com"));
    let mut routed = both.clone();
    for (name, value) in [
        ("Original-To", "Friends <im:list@example.com>"),
        ("IMDN-Record-Route", "<im:second@example.com>"),
        ("IMDN-Record-Route", "<im:first@example.com>"),
    ] {
        let mut line = routed.headers[1].clone();
        (line.name, line.value) = (name.to_owned(), value.to_owned());
        routed.headers.push(line);
    }
    let about = Notification::about(&routed, Disposition::DeliveryFailed).expect("asked for");
    assert_eq!(about.original_recipient.as_deref(), Some("im:list@example.com"), "§11.1.4");
    let answer = parse(&String::from_utf8(about.message(&routed, "d834jied93rf").write()).expect("text"))
        .expect("CPIM");
    assert_eq!(
        (answer.from.uri.as_str(), answer.to[0].uri.as_str()),
        ("im:bob@example.com", "im:alice@example.com")
    );
    assert_eq!(
        Request::of(&answer).map(|own| (own.message_id, own.wanted)),
        Some(("d834jied93rf".to_owned(), vec![]))
    );
    let routes: Vec<_> = answer.get(NAMESPACE, "IMDN-Route").map(|it| it.value.as_str()).collect();
    assert_eq!(routes, ["<im:second@example.com>", "<im:first@example.com>"], "§7.2.1: in their order");
    assert_eq!(Notification::of(&answer), Some(Ok(about)));
    assert_eq!(
        Notification::about(&answer, Disposition::Delivered),
        None,
        "no notification of a notification"
    );

    for (wanted, disposition, expected) in [
        (&[][..], Disposition::Delivered, false),
        (&[Wanted::PositiveDelivery], Disposition::Delivered, true),
        (&[Wanted::PositiveDelivery], Disposition::DeliveryFailed, false),
        (&[Wanted::NegativeDelivery], Disposition::Delivered, false),
        (&[Wanted::NegativeDelivery], Disposition::DeliveryFailed, true),
        (&[Wanted::NegativeDelivery], Disposition::DeliveryForbidden, true),
        (&[Wanted::Display], Disposition::Delivered, false),
        (&[Wanted::Display], Disposition::DisplayError, true),
        (&[Wanted::Processing], Disposition::Stored, true),
        (&[Wanted::Processing], Disposition::Displayed, false),
    ] {
        assert_eq!(
            Notification::about(&ask(wanted), disposition).is_some(),
            expected,
            "{wanted:?} {disposition:?}"
        );
        let mut asked = Asked::new(8);
        asked.ask(Request { message_id: "34jk324j".to_owned(), wanted: wanted.to_vec() }, 7);
        let told = Notification { disposition, ..told.clone() };
        assert_eq!(asked.told(&told), expected.then_some(7), "{wanted:?} {disposition:?}");
        assert_eq!(asked.told(&told), None, "once");
        assert_eq!(asked.is_empty(), expected || wanted.is_empty());
    }
    // One of each kind, whatever it says; another message's is nobody's; the oldest is forgotten.
    let mut asked = Asked::new(2);
    let request = |id: &str| Request {
        message_id: id.to_owned(),
        wanted: vec![Wanted::PositiveDelivery, Wanted::NegativeDelivery, Wanted::Display],
    };
    let note =
        |id: &str, disposition| Notification { message_id: id.to_owned(), disposition, ..told.clone() };
    for (number, id) in ["a", "b", "c"].into_iter().enumerate() {
        asked.ask(request(id), number);
    }
    assert_eq!((asked.len(), asked.told(&note("a", Disposition::Delivered))), (2, None));
    assert_eq!(asked.told(&note("d", Disposition::Delivered)), None);
    assert_eq!(asked.told(&note("b", Disposition::Delivered)), Some(1));
    assert_eq!(asked.told(&note("b", Disposition::DeliveryFailed)), None, "§7.2.1: not another one");
    assert_eq!(asked.told(&note("b", Disposition::Displayed)), Some(1));
    assert_eq!(asked.len(), 1);
}

proptest! {
    /// RFC 5438 §11: whatever stands in a notification is written and read as the same, but for white space.
    #[test]
    fn notifications_are_written_and_read(
        message_id in "[!-~]{1,40}",
        date_time in "[!-~]{0,30}",
        recipient in proptest::option::of("[!-~\u{a1}-\u{2ff}]{1,40}"),
        subject in proptest::option::of("[!-~]{1,9}( [!-~\u{4e00}-\u{4eff}]{1,9}){0,3}"),
        about in 0_usize..4,
    ) {
        let disposition = [
            Disposition::Delivered,
            Disposition::DeliveryError,
            Disposition::Displayed,
            Disposition::ProcessingForbidden,
        ][about];
        let told = Notification {
            message_id, date_time, original_recipient: recipient.clone(), recipient, subject, disposition,
        };
        prop_assert_eq!(Notification::read(told.write().as_bytes()), Ok(told));
    }

    /// Nearly right payloads do not panic, and are read as the same again if they are read.
    #[test]
    fn nearly_right_notifications(at in 0_usize..400, with in "[ -~\\r\\n]{0,4}") {
        let mut text =
            printed("<delivery-notification><status><delivered/></status></delivery-notification>");
        let at = at.min(text.len() - 1);
        text.replace_range(at..at + 1, &with);
        if let Ok(told) = Notification::read(text.as_bytes()) {
            prop_assert_eq!(Notification::read(told.write().as_bytes()), Ok(told));
        }
    }

    /// Names with whatever in them, contents with whatever in them: written and read as the same.
    #[test]
    fn what_is_written_is_read(name: String, content: Vec<u8>) {
        let mut cpim = Cpim::new(
            Address { name: Some(name), uri: "im:a@x.example".to_owned() },
            vec![Address::new("im:b@x.example").expect("a URI")],
            "application/octet-stream".to_owned(),
            content.into(),
        );
        cpim.date_time = Some("2000-12-13T13:40:00.5Z".to_owned());
        prop_assert_eq!(Cpim::parse(&cpim.write().into()), Ok(cpim));
    }

    /// Nothing panics.
    #[test]
    fn any_bytes(data: Vec<u8>) {
        let _read_or_not = Cpim::parse(&data.into());
    }

    /// Nearly right texts do not panic either, and what is read is written so that it is read as the same.
    #[test]
    fn nearly_right(at in 0_usize..EXAMPLE.len(), with in "[ -~\\r\\n]{0,4}") {
        let mut text = EXAMPLE.to_owned();
        text.replace_range(at..at + 1, &with);
        if let Ok(cpim) = parse(&text) {
            prop_assert_eq!(Cpim::parse(&cpim.write().into()), Ok(cpim));
        }
    }
}
