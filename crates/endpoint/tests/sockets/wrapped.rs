//! Messages inside CPIM, and notifications of what became of them (RFC 3862, RFC 5438).

use bytes::Bytes;
use nuncio_endpoint::{CPIM, Incoming, Message, Notified, Outgoing, Session};
use nuncio_msrp::cpim::{Address, Cpim};
use nuncio_msrp::endpoint::Reports;
use nuncio_msrp::head::Field;
use nuncio_msrp::imdn::{Disposition, Notification, Request, Wanted};

use crate::common::{endpoint, listen, message, session, soon};

fn head(id: &str, wanted: &[Wanted]) -> Cpim {
    let address = |uri| Address::new(uri).expect("a URI");
    let (from, to) = (address("im:alice@example.com"), address("im:bob@example.com"));
    let mut head = Cpim::new(from, vec![to], String::new(), Bytes::new());
    head.date_time = Some("2008-04-04T12:16:49-05:00".to_owned());
    head.headers = Request { message_id: id.to_owned(), wanted: wanted.to_vec() }.headers();
    head
}

async fn notified(session: &mut Session) -> Notified {
    match soon(session.next()).await {
        Some(Incoming::Notification(notified)) => notified,
        other => unreachable!("no notification: {other:?}"),
    }
}

async fn unwrapped(message: Message) -> (Cpim, Message) {
    let (head, inner) = message.unwrapped().await.expect("readable");
    (head.expect("CPIM"), inner)
}

/// RFC 5438 §7.1, §7.2, §13: a sender that asks to be told is told, of that message, and once; who does not ask is not told.
#[tokio::test]
async fn a_sender_is_told_what_it_asked_for() {
    for reports in [Reports::Automatic, Reports::Host] {
        let (alice, bob) = (endpoint(|config| config.reports = reports), endpoint(|_| ()));
        let at = listen(&bob, "127.0.0.1", true);
        let (mut one, mut there) = session(&alice, &bob, &at).await;
        let both = [Wanted::PositiveDelivery, Wanted::NegativeDelivery, Wanted::Display];
        let first = Outgoing::text("Hello").inside(head("first1", &both));
        let first = soon(one.send(first)).await.expect("delivered");
        let second = Outgoing::text("Bob").inside(head("second2", &[Wanted::NegativeDelivery]));
        let second = soon(one.send(second)).await.expect("delivered");
        let third = Outgoing::text("!").inside(head("third3", &[]));
        soon(one.send(third)).await.expect("delivered");
        let mut heads = Vec::new();
        for text in ["Hello", "Bob", "!"] {
            let (head, inner) = unwrapped(message(&mut there).await).await;
            assert_eq!((inner.text(), &*inner.content_type), (Some(text), "text/plain"));
            assert_eq!(head.from.uri, "im:alice@example.com");
            heads.push(head);
        }
        let telling = there.sender();
        for (about, disposition, asked) in [
            (1, Disposition::Delivered, false),
            (2, Disposition::Delivered, false),
            (2, Disposition::DeliveryFailed, false),
            (0, Disposition::Delivered, true),
            (1, Disposition::DeliveryFailed, true),
            (0, Disposition::Displayed, true),
        ] {
            let told = soon(telling.notify(&heads[about], disposition)).await.expect("sent");
            assert_eq!(told, asked, "{about} {disposition:?}");
        }
        for (id, disposition) in [
            (first.id, Disposition::Delivered),
            (second.id, Disposition::DeliveryFailed),
            (first.id, Disposition::Displayed),
        ] {
            let told = notified(&mut one).await;
            assert_eq!((told.message, told.notification.disposition), (id, disposition));
            assert_eq!(told.notification.date_time, "2008-04-04T12:16:49-05:00");
            assert_eq!(told.notification.recipient.as_deref(), Some("im:bob@example.com"));
        }
    }
}

/// RFC 5438 §14.1, S1-A2: what nobody asked for, what was told before and what cannot be read are messages like all, and say nothing of ours.
#[tokio::test]
async fn notifications_that_nobody_asked_for() {
    let (alice, bob) = (endpoint(|_| ()), endpoint(|_| ()));
    let at = listen(&bob, "127.0.0.1", true);
    let (mut one, mut there) = session(&alice, &bob, &at).await;
    let asked = head("asked1", &[Wanted::PositiveDelivery]);
    let sent = soon(one.send(Outgoing::text("Hello").inside(asked.clone()))).await.expect("delivered");
    message(&mut there).await;
    let told = Notification::about(&asked, Disposition::Delivered).expect("asked for");
    let of_another = Notification { message_id: "another".to_owned(), ..told.clone() };
    let failed = Notification { disposition: Disposition::DeliveryFailed, ..told.clone() };
    let mut broken = told.message(&asked, "id1");
    broken.content = Bytes::from_static(b"<!DOCTYPE imdn [<!ENTITY a \"b\">]><imdn/>");
    for forged in [of_another.message(&asked, "id2"), failed.message(&asked, "id3"), broken] {
        soon(there.send(Outgoing::bytes(CPIM, forged.write()))).await.expect("delivered");
        assert_eq!(&*message(&mut one).await.content_type, CPIM);
    }
    for again in [false, true] {
        let right = told.message(&asked, "id4").write();
        soon(there.send(Outgoing::bytes(CPIM, right))).await.expect("delivered");
        if again {
            assert_eq!(&*message(&mut one).await.content_type, CPIM);
        } else {
            assert_eq!(notified(&mut one).await.message, sent.id);
        }
    }
}

/// RFC 3862 §3: files inside CPIM, in memory and not, streamed and not; their MIME fields are inside, and reports are on all that came.
#[tokio::test]
async fn contents_of_all_kinds_and_lengths() {
    let folder = tempfile::tempdir().expect("a folder");
    let (alice, bob) = (endpoint(|_| ()), endpoint(|config| config.reports = Reports::Host));
    let at = listen(&bob, "127.0.0.1", true);
    let (one, mut there) = session(&alice, &bob, &at).await;
    for length in [0, 1, 70_000, 600_000] {
        let content: Vec<u8> = (0..=255).cycle().take(length).collect();
        let file = folder.path().join("sent");
        std::fs::write(&file, &content).expect("written");
        let reader = std::io::Cursor::new(content.clone());
        let kind = "application/octet-stream";
        for (number, outgoing) in [
            Outgoing::bytes(kind, content.clone()),
            Outgoing::file(kind, &file).expect("a file"),
            Outgoing::reader(kind, None, reader.clone()),
            Outgoing::reader(kind, Some(length as u64), reader),
        ]
        .into_iter()
        .enumerate()
        {
            let field = Field::new("Content-Disposition", "attachment; filename=\"it\"").expect("a field");
            let own = Field::new("X-Own", "of MSRP").expect("a field");
            let sending = one.send(outgoing.field(field).field(own).inside(head("it", &[])));
            let receiving = async {
                let came = message(&mut there).await;
                let receipt = came.receipt();
                assert!(came.fields.iter().any(|it| it.is("X-Own")));
                let (head, inner) = unwrapped(came).await;
                assert_eq!((head.content_type.as_str(), &*inner.content_type), (kind, kind));
                assert!(inner.fields.iter().any(|it| it.value().contains("filename")));
                assert_eq!(inner.body.len(), length as u64);
                assert_eq!(inner.body.bytes(length).await.expect("bytes"), content);
                let saved = folder.path().join(format!("{length}-{number}"));
                inner.body.save(saved.clone()).await.expect("saved");
                assert_eq!(std::fs::read(saved).expect("a file"), content);
                receipt.report(nuncio_msrp::Status::OK);
            };
            let (sent, ()) = soon(async { tokio::join!(sending, receiving) }).await;
            assert!(sent.expect("delivered").delivered, "{length} {number}");
        }
    }
    // What only says that it is CPIM stays as it is.
    let sending = one.send(Outgoing::bytes(CPIM, "no headers").unreported());
    let (sent, came) = soon(async { tokio::join!(sending, message(&mut there)) }).await;
    sent.expect("sent");
    let (head, same) = came.unwrapped().await.expect("readable");
    assert_eq!((head, &*same.content_type, same.body.len()), (None, CPIM, 10));
}
