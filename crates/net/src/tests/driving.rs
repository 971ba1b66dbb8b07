//! The driver, in virtual time over a pipe.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nuncio_sansio::{Close, Eof, Output};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::toy::{Ear, Heard, Order, PLENTY, Toy, host};
use crate::driver::Why;
use crate::{Clock, Ended, NetMetrics, Options, Rate, RateLimit, Settings, drive};

struct Run {
    peer: DuplexStream,
    ear: Ear,
    metrics: Arc<NetMetrics>,
    task: JoinHandle<Ended>,
}

fn run(toy: Toy, pipe: usize, permits: usize, set: impl FnOnce(&mut Settings)) -> Run {
    let (peer, io) = duplex(pipe);
    let (host, ear) = host(permits);
    let metrics = Arc::new(NetMetrics::default());
    let mut settings = Settings::new(Clock::start(), Arc::clone(&metrics));
    set(&mut settings);
    let task = tokio::spawn(drive(io, toy, host, Options::new(Arc::new(settings))));
    Run { peer, ear, metrics, task }
}

async fn line(peer: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.push(peer.read_u8().await.unwrap());
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

async fn heard_line(ear: &mut Ear) -> String {
    match ear.next().await {
        Heard::Line(line) => line,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn questions_events_commands_and_the_end() {
    let greeting = vec![Output::Send(Bytes::from_static(b"welcome\n"))];
    let mut run = run(Toy::greeting(greeting), 1024, PLENTY, |_| ());
    assert_eq!(line(&mut run.peer).await, "welcome");
    run.peer.write_all(b"ask\n").await.unwrap();
    assert_eq!(heard_line(&mut run.ear).await, "ask");
    assert!(matches!(run.ear.next().await, Heard::Answer(answer) if answer == "that"));
    assert_eq!(line(&mut run.peer).await, "echo ask");
    run.ear.orders.send(Order::Send(Bytes::from_static(b"told\n"))).await.unwrap();
    assert_eq!(line(&mut run.peer).await, "told");
    run.ear.orders.send(Order::Close(Close::Orderly)).await.unwrap();
    assert_eq!(run.peer.read(&mut [0; 1]).await.unwrap(), 0);
    drop(run.peer);
    assert!(matches!(run.ear.next().await, Heard::Closed));
    let ended = run.task.await.unwrap();
    assert_eq!(ended, Ended { why: Why::Closed(Close::Orderly), bytes_in: 4, bytes_out: 22 });
    assert!(run.ear.heard.recv().await.is_none(), "closed is said once");
}

#[tokio::test(start_paused = true)]
async fn an_orderly_close_flushes_and_waits_in_bounded_time() {
    let mut run = run(Toy::default(), 64, PLENTY, |_| ());
    let body = Bytes::from(vec![b'x'; 1000]);
    run.ear.orders.send(Order::Send(body)).await.unwrap();
    run.ear.orders.send(Order::Close(Close::Orderly)).await.unwrap();
    let mut all = Vec::new();
    run.peer.read_to_end(&mut all).await.unwrap();
    assert_eq!(all.len(), 1000);
    // The peer does not end its direction.
    let start = Instant::now();
    assert!(matches!(run.ear.next().await, Heard::Closed));
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_abort_writes_nothing() {
    let mut run = run(Toy::default(), 1024, PLENTY, |_| ());
    run.peer.write_all(b"abort\n").await.unwrap();
    let mut all = Vec::new();
    run.peer.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"");
    assert_eq!(run.task.await.unwrap().why, Why::Closed(Close::Abort));
}

#[tokio::test(start_paused = true)]
async fn deadlines_come_even_while_a_write_is_stuck() {
    let mut run = run(Toy::default(), 16, PLENTY, |_| ());
    let start = Instant::now();
    run.peer.write_all(b"wake 3000\n").await.unwrap();
    assert_eq!(heard_line(&mut run.ear).await, "wake 3000");
    run.ear.orders.send(Order::Send(Bytes::from(vec![b'x'; 1000]))).await.unwrap();
    assert!(matches!(run.ear.next().await, Heard::Time));
    assert_eq!(start.elapsed().as_secs(), 3);
}

/// A slow reader fills its own queue, costs bounded memory, and loses its connection; whoever sends to it learns at once.
#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_stops_the_commands() {
    let mut run = run(Toy::default(), 16, PLENTY, |settings| {
        settings.out_watermark = 4096;
        settings.write_stall = Duration::from_secs(20);
    });
    let piece = Bytes::from(vec![b'x'; 1024]);
    let start = Instant::now();
    let mut taken = 0;
    while timeout(Duration::from_secs(1), run.ear.orders.send(Order::Send(piece.clone()))).await.is_ok() {
        taken += 1;
        assert!(taken < 100, "the queue never fills");
    }
    // Four wait in the driver, four in the queue, one may be under way.
    assert!((8..=10).contains(&taken), "{taken}");
    assert!(matches!(run.ear.next().await, Heard::Eof(Eof::Reset)));
    assert_eq!(start.elapsed().as_secs(), 20);
    assert!(matches!(run.ear.next().await, Heard::Closed));
    assert_eq!(run.metrics.budget_hits("write_stall"), 1);
    drop(run.peer);
}

/// Requests of a peer that reads no answers: at last they are not read any more, so the answers cannot pile up.
#[tokio::test(start_paused = true)]
async fn answers_that_nobody_reads_do_not_pile_up() {
    let mut run = run(Toy::default(), 16, PLENTY, |settings| {
        settings.out_watermark = 1024;
        settings.out_limit = 4096;
    });
    let request = [[b'x'; 99].as_slice(), b"\n"].concat();
    let mut read = 0;
    while timeout(Duration::from_secs(1), run.peer.write_all(&request)).await.is_ok() {
        read += 1;
        assert!(read < 1000, "nothing stops the requests");
    }
    assert!((30..=50).contains(&read), "{read}");
}

/// A peer that reads slowly keeps its connection.
#[tokio::test(start_paused = true)]
async fn progress_is_no_stall() {
    let mut run = run(Toy::default(), 100, PLENTY, |_| ());
    run.ear.orders.send(Order::Send(Bytes::from(vec![b'x'; 1000]))).await.unwrap();
    let mut buffer = [0; 100];
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(59)).await;
        run.peer.read_exact(&mut buffer).await.unwrap();
    }
    run.ear.orders.send(Order::Send(Bytes::from_static(b"end\n"))).await.unwrap();
    assert_eq!(line(&mut run.peer).await, "end");
}

/// While the host thinks, what the peer is owed still goes out.
#[tokio::test(start_paused = true)]
async fn output_flows_while_the_host_thinks() {
    let greeting = vec![
        Output::Send(Bytes::from(vec![b'x'; 500])),
        Output::Event(Heard::Line("slow".to_owned())),
        Output::Send(Bytes::from_static(b"after\n")),
        Output::Ask("what?".to_owned()),
    ];
    let mut run = run(Toy::greeting(greeting), 16, 0, |_| ());
    let mut buffer = [0; 500];
    run.peer.read_exact(&mut buffer).await.unwrap();
    run.ear.permits.add_permits(1);
    assert_eq!(heard_line(&mut run.ear).await, "slow");
    assert_eq!(line(&mut run.peer).await, "after");
    run.ear.permits.add_permits(PLENTY);
    assert!(matches!(run.ear.next().await, Heard::Answer(_)));
}

#[tokio::test(start_paused = true)]
async fn bytes_stay_in_the_socket_while_the_machine_wants_none() {
    let mut run = run(Toy::default(), 64, PLENTY, |_| ());
    run.peer.write_all(b"deaf\n").await.unwrap();
    assert_eq!(heard_line(&mut run.ear).await, "deaf");
    assert_eq!(line(&mut run.peer).await, "echo deaf");
    run.peer.write_all(b"later\n").await.unwrap();
    // The pipe fills up: that is what slows the peer down.
    let filling = [b'x'; 200];
    assert!(timeout(Duration::from_secs(1), run.peer.write_all(&filling)).await.is_err());
    assert!(run.ear.heard.try_recv().is_err());
    run.ear.orders.send(Order::WantBytes(true)).await.unwrap();
    assert_eq!(heard_line(&mut run.ear).await, "later");
}

#[tokio::test(start_paused = true)]
async fn a_fast_peer_is_slowed_until_its_rate_is_raised() {
    let rate = Arc::new(RateLimit::new(Rate { per_second: 1000, burst: 100 }));
    let limit = Arc::clone(&rate);
    let mut run = run(Toy::default(), 100, PLENTY, |settings| settings.rate = Some(limit));
    let start = Instant::now();
    let mut text = vec![b'x'; 3000];
    text.push(b'\n');
    run.peer.write_all(&text).await.unwrap();
    heard_line(&mut run.ear).await;
    let took = start.elapsed();
    assert!((Duration::from_millis(2700)..Duration::from_millis(3300)).contains(&took), "{took:?}");
    assert!(run.metrics.budget_hits("bytes_per_second") >= 1);
    rate.set(Rate::UNLIMITED);
    let start = Instant::now();
    let (mut reading, mut writing) = tokio::io::split(run.peer);
    tokio::spawn(async move { tokio::io::copy(&mut reading, &mut tokio::io::sink()).await });
    writing.write_all(&text).await.unwrap();
    heard_line(&mut run.ear).await;
    // Nothing but what is left of the old debt.
    assert!(start.elapsed() < Duration::from_millis(200));
}

/// A panic, whosever it is, costs its connection, is counted, and the host is told once that it is over.
#[tokio::test(start_paused = true)]
async fn a_panic_costs_one_connection() {
    for word in ["panic", "host-panic"] {
        let mut other = run(Toy::default(), 1024, PLENTY, |_| ());
        let mut run = run(Toy::default(), 1024, PLENTY, |_| ());
        run.peer.write_all(format!("{word}\n").as_bytes()).await.unwrap();
        let mut end = Vec::new();
        run.peer.read_to_end(&mut end).await.unwrap();
        assert!(matches!(run.ear.next().await, Heard::Closed), "{word}");
        assert!(run.ear.heard.recv().await.is_none());
        assert_eq!(run.task.await.unwrap().why, Why::Panicked);
        assert_eq!(run.metrics.panics(), 1);
        other.peer.write_all(b"well\n").await.unwrap();
        assert_eq!(heard_line(&mut other.ear).await, "well");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_peer_is_heard_and_answers_still_go_out() {
    let mut run = run(Toy::default(), 1024, PLENTY, |_| ());
    let mut lines = BufReader::new(&mut run.peer);
    lines.write_all(b"one\n").await.unwrap();
    lines.shutdown().await.unwrap();
    assert_eq!(heard_line(&mut run.ear).await, "one");
    assert!(matches!(run.ear.next().await, Heard::Eof(Eof::Clean)));
    let mut text = String::new();
    lines.read_line(&mut text).await.unwrap();
    assert_eq!(text, "echo one\n");
    assert!(matches!(run.ear.next().await, Heard::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_does_not_close_after_the_end_is_closed() {
    let mut run = run(Toy::stubborn(), 1024, PLENTY, |_| ());
    let start = Instant::now();
    drop(run.peer);
    assert!(matches!(run.ear.next().await, Heard::Eof(Eof::Clean)));
    assert!(matches!(run.ear.next().await, Heard::Closed));
    assert_eq!(start.elapsed().as_secs(), 5);
    assert_eq!(run.task.await.unwrap().why, Why::Broken);
}

/// Many small writes of one drain leave as one.
#[tokio::test(start_paused = true)]
async fn writes_are_coalesced() {
    let greeting = (0..100).map(|_| Output::Send(Bytes::from_static(b"12345678\n"))).collect();
    let mut run = run(Toy::greeting(greeting), 4096, PLENTY, |_| ());
    let mut buffer = [0; 4096];
    let first = run.peer.read(&mut buffer).await.unwrap();
    assert_eq!(first, 900);
}
