//! The stream machine alone, logged in by a real server.

use bytes::Bytes;
use nuncio_router::stream::c2s::{C2s, Command, Event};
use nuncio_sansio::{Input, Machine as _, Output};
use nuncio_xmpp::ns;

use crate::client::{Client, NOW, alone, server, stanza};
use crate::words::chat;

/// Drains the machine; the number of the stanza that came, if one did, and how many bytes left.
fn drain(machine: &mut C2s) -> (Option<u64>, usize) {
    let (mut number, mut sent) = (None, 0);
    loop {
        match machine.poll(NOW) {
            Output::Event(Event::Stanza { number: at, stanza }) => {
                number = Some(at);
                drop(std::hint::black_box(stanza));
            }
            Output::Send(bytes) => sent += bytes.len(),
            Output::Event(Event::Acked { .. }) => {}
            Output::Wait(_) => return (number, sent),
            other => panic!("not expected: {other:?}"),
        }
    }
}

fn into(times: u64, managed: bool) {
    alone(async {
        let mut machine = Client::login(&server().await, "juliet", "balcony", managed).await.machine;
        let message = chat("romeo@shakespeare.example/orchard");
        let bytes = if managed { message + "<r xmlns='urn:xmpp:sm:3'/>" } else { message };
        for _ in 0..times {
            machine.handle(NOW, Input::Bytes(bytes.as_bytes()));
            let number = drain(&mut machine).0.unwrap();
            machine.handle(NOW, Input::Command(Command::Handled { number }));
            assert_eq!(drain(&mut machine).1 > 0, managed, "only <r/> is answered");
        }
    });
}

fn out(times: u64, managed: bool) {
    alone(async {
        let mut machine = Client::login(&server().await, "juliet", "balcony", managed).await.machine;
        let bytes: Bytes = stanza(&chat("juliet@shakespeare.example/balcony")).bytes(ns::CLIENT);
        // Her own presence came before.
        let mut count = 1;
        for _ in 0..times {
            machine.handle(NOW, Input::Command(Command::Stanza(bytes.clone())));
            assert!(drain(&mut machine).1 >= bytes.len());
            count += 1;
            if managed && count % 5 == 0 {
                let ack = format!("<a xmlns='urn:xmpp:sm:3' h='{count}'/>");
                machine.handle(NOW, Input::Bytes(ack.as_bytes()));
                drain(&mut machine);
            }
        }
    });
}

pub(crate) fn inward(times: u64) {
    into(times, false);
}

pub(crate) fn inward_managed(times: u64) {
    into(times, true);
}

pub(crate) fn outward(times: u64) {
    out(times, false);
}

pub(crate) fn outward_managed(times: u64) {
    out(times, true);
}
