//! XEP-0198 §5 between servers: the connection between two of them is lost, and nobody who writes over it notices.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use nuncio_client::Session;
use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::ns;
use nuncio_xmpp::xml::Builder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::federated::{Site, address};
use crate::harness::{PATIENCE, Running, bodies, chat};

/// What becomes of the bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Line {
    Good,
    /// What the called server says gets lost.
    Deaf,
    /// Everything gets lost.
    Dead,
    /// It is reset at the caller; the called server hears nothing of that.
    Half,
    /// It is reset at both.
    Cut,
}

/// A way to a server, on which bytes and connections can get lost.
struct Wire {
    at: SocketAddr,
    lines: Arc<Mutex<Vec<watch::Sender<Line>>>>,
}

impl Wire {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((address(), 0)).await.unwrap();
        let (at, lines) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<_>>>::default());
        let all = Arc::clone(&lines);
        tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                // It may be away; the caller then hears that.
                let Ok(called) = TcpStream::connect(server).await else { continue };
                let (line, state) = watch::channel(Line::Good);
                all.lock().unwrap().push(line);
                tokio::spawn(carry(caller, called, state));
            }
        });
        Self { at, lines }
    }

    /// From now on, for all connections that there are.
    fn set(&self, line: Line) {
        for one in &*self.lines.lock().unwrap() {
            one.send_replace(line);
        }
    }

    /// Connections that there were.
    fn count(&self) -> usize {
        self.lines.lock().unwrap().len()
    }
}

fn now(state: &mut watch::Receiver<Line>) -> Line {
    *state.borrow_and_update()
}

async fn carry(mut caller: TcpStream, mut called: TcpStream, mut state: watch::Receiver<Line>) {
    let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            biased;
            _ = state.changed() => match now(&mut state) {
                Line::Half => {
                    caller.set_zero_linger().unwrap();
                    drop(caller);
                    return std::future::pending().await;
                }
                Line::Cut => {
                    caller.set_zero_linger().unwrap();
                    called.set_zero_linger().unwrap();
                    return;
                }
                _ => {}
            },
            read = caller.read(&mut there) => {
                let Ok(count @ 1..) = read else { return };
                let passes = matches!(*state.borrow(), Line::Good | Line::Deaf);
                if passes {
                    called.write_all(&there[..count]).await.unwrap();
                }
            }
            read = called.read(&mut back) => {
                let Ok(count @ 1..) = read else { return };
                let passes = *state.borrow() == Line::Good;
                if passes {
                    caller.write_all(&back[..count]).await.unwrap();
                }
            }
        }
    }
}

/// Two servers, of which one calls the other over a wire, and somebody on each.
struct Two {
    one: Site,
    two: Site,
    first: Running,
    second: Running,
    wire: Wire,
    juliet: Session,
    romeo: Session,
}

impl Two {
    async fn new(more: &[&str]) -> Self {
        let (one, two) = (Site::new("one.example", more), Site::new("two.example", more));
        two.finish(&[&one], true, false);
        let second = two.place.serve();
        let wire = Wire::to((two.ip, 5269).into()).await;
        one.finish_at(&[(&two, wire.at.to_string())], true);
        let first = one.place.serve();
        one.accounts(&["juliet"]);
        two.accounts(&["romeo"]);
        let juliet = one.online(&first, "juliet").await;
        let romeo = two.online(&second, "romeo").await;
        Self { one, two, first, second, wire, juliet, romeo }
    }

    async fn juliet_says(&mut self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.juliet.send(&chat("romeo@two.example", &number.to_string())).await.unwrap();
        }
    }

    async fn romeo_says(&mut self, numbers: std::ops::Range<u32>) {
        let to = self.juliet.jid().unwrap().to_string();
        for number in numbers {
            self.romeo.send(&chat(&to, &number.to_string())).await.unwrap();
        }
    }
}

fn numbers(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

/// What arrived and was not acknowledged is not sent again, what got lost is, in order and in both directions, and a request is answered as if nothing had been;
/// also if the other server does not know yet that the connection is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_loses_nothing() {
    for lost in [Line::Cut, Line::Half] {
        let mut two = Two::new(&[]).await;
        two.juliet_says(0..1).await;
        assert_eq!(bodies(&mut two.romeo, 1).await, ["0"]);
        two.romeo_says(0..1).await;
        assert_eq!(bodies(&mut two.juliet, 1).await, ["0"]);
        two.wire.set(Line::Deaf);
        two.juliet_says(1..20).await;
        assert_eq!(bodies(&mut two.romeo, 19).await, numbers(1..20));
        two.romeo_says(1..20).await;
        two.wire.set(Line::Dead);
        two.juliet_says(20..40).await;
        let server = Jid::new("two.example").unwrap();
        let asked = two.juliet.get(Some(&server), Builder::new("ping", ns::PING));
        two.wire.set(lost);
        tokio::time::timeout(PATIENCE, asked).await.unwrap().expect("the request is answered");
        two.juliet_says(40..41).await;
        two.romeo_says(20..21).await;
        assert_eq!(bodies(&mut two.romeo, 21).await, numbers(20..41), "{lost:?}");
        assert_eq!(bodies(&mut two.juliet, 20).await, numbers(1..21), "{lost:?}");
        for server in [&two.first, &two.second] {
            assert_eq!(server.metric("nuncio_federation_resumed_total"), 1.0, "{lost:?}");
            assert_eq!(server.metric("nuncio_federation_streams"), 1.0, "{lost:?}");
        }
        assert_eq!((two.wire.count(), two.second.metric("nuncio_federation_dials_total")), (2, 0.0));
        let rows = two.one.list();
        assert_eq!((rows.len(), &rows[0]["stanzas"]), (1, &"both".into()), "{rows:#?}");
        // And again, by the same name.
        two.wire.set(Line::Dead);
        two.juliet_says(41..50).await;
        two.wire.set(lost);
        assert_eq!(bodies(&mut two.romeo, 9).await, numbers(41..50));
        assert_eq!(two.second.metric("nuncio_federation_resumed_total"), 2.0);
    }
}

/// Where streams are not resumed, whatever was not acknowledged is sent again, whether it has arrived or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_resumed_where_that_is_off() {
    let mut two = Two::new(&["federation.resume_seconds = 0"]).await;
    two.juliet_says(0..1).await;
    assert_eq!(bodies(&mut two.romeo, 1).await, ["0"]);
    two.romeo_says(0..1).await;
    assert_eq!(bodies(&mut two.juliet, 1).await, ["0"]);
    two.wire.set(Line::Deaf);
    two.juliet_says(1..10).await;
    assert_eq!(bodies(&mut two.romeo, 9).await, numbers(1..10));
    two.wire.set(Line::Cut);
    // The first may have been acknowledged before.
    let mut again = bodies(&mut two.romeo, 9).await;
    if again[0] == "0" {
        again.remove(0);
        again.extend(bodies(&mut two.romeo, 1).await);
    }
    assert_eq!(again, numbers(1..10));
    for server in [&two.first, &two.second] {
        assert_eq!(server.metric("nuncio_federation_resumed_total"), 0.0);
    }
}

/// XEP-0198 §5: whoever has lost its memory with its process says so; then a new stream begins on the same connection, with whatever was not acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_memory() {
    let mut two = Two::new(&[]).await;
    two.juliet_says(0..1).await;
    assert_eq!(bodies(&mut two.romeo, 1).await, ["0"]);
    two.wire.set(Line::Dead);
    two.juliet_says(1..10).await;
    two.second.kill();
    two.wire.set(Line::Cut);
    let second = two.two.place.serve();
    let mut romeo = two.two.online(&second, "romeo").await;
    let mut got = bodies(&mut romeo, 9).await;
    if got[0] == "0" {
        got.remove(0);
        got.extend(bodies(&mut romeo, 1).await);
    }
    assert_eq!(got, numbers(1..10));
    assert_eq!(second.metric("nuncio_federation_resumed_total"), 0.0);
}
