//! CPIM (RFC 3862) and IMDN (RFC 5438): S1-A2.

use bytes::Bytes;
use nuncio_msrp::cpim::{Address, CORE, Cpim, CpimError};
use nuncio_msrp::imdn::{Disposition, NAMESPACE, Notification, Request, Wanted};
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
        disposition: Disposition::Delivered,
    };
    assert_eq!(
        notification.write(),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\"><message-id>34&lt;jk&gt;&amp;324j</message-id><datetime>2008-04-04T12:16:49-05:00</datetime><recipient-uri>im:bob@example.com</recipient-uri><delivery-notification><status><delivered/></status></delivery-notification></imdn>"
    );
}

proptest! {
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
