//! A TCP connection to a host with several addresses: "happy eyeballs" (RFC 8305).

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

/// How fast addresses are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Haste {
    /// After how long without a connection the next address is tried beside those that are being tried (RFC 8305 §5: 250 ms).
    pub stagger: Duration,
    /// How long each address may take.
    pub each: Duration,
}

impl Default for Haste {
    fn default() -> Self {
        Self { stagger: Duration::from_millis(250), each: Duration::from_secs(10) }
    }
}

/// A connection to the first of these addresses that takes one. Families take turns, beginning with that of the first address
/// (RFC 8305 §4); the next address is tried when one fails, or beside it when it takes long. Attempts that come too late are closed.
/// Packets leave at once (TCP_NODELAY).
///
/// # Errors
/// No address takes a connection: what the last failure was, and `NotFound` if there is no address.
pub async fn connect(addresses: &[SocketAddr], haste: Haste) -> io::Result<TcpStream> {
    let connected = race(alternate(addresses), haste, TcpStream::connect).await?;
    // A conversation is small packets; none should wait for another.
    drop(connected.set_nodelay(true));
    Ok(connected)
}

/// The addresses with the families taking turns, each in its order.
fn alternate(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let six_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let mut one = addresses.iter().filter(|address| address.is_ipv6() == six_first);
    let mut other = addresses.iter().filter(|address| address.is_ipv6() != six_first);
    let mut mixed = Vec::with_capacity(addresses.len());
    while mixed.len() < addresses.len() {
        mixed.extend(one.next());
        mixed.extend(other.next());
    }
    mixed
}

async fn race<F>(
    addresses: Vec<SocketAddr>,
    haste: Haste,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<F::Io>
where
    F: Attempt,
{
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    let mut waiting = addresses.into_iter();
    // When it is dropped, what still runs in it is ended.
    let mut running = JoinSet::new();
    loop {
        match waiting.next() {
            Some(address) => {
                let attempt = timeout(haste.each, connect(address));
                running.spawn(async move {
                    attempt.await.unwrap_or_else(|_| {
                        Err(io::Error::new(io::ErrorKind::TimedOut, format!("{address} does not answer")))
                    })
                });
            }
            None if running.is_empty() => return Err(last),
            None => {}
        }
        let more = waiting.len() > 0;
        let next = tokio::time::Instant::now() + haste.stagger;
        tokio::select! {
            biased;
            Some(ended) = running.join_next() => match ended {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => last = error,
                Err(error) => last = io::Error::other(error),
            },
            () = sleep_until(next), if more => {}
        }
    }
}

/// What [`race`] runs.
trait Attempt: Future<Output = io::Result<Self::Io>> + Send + 'static {
    type Io: Send + 'static;
}

impl<F, Io> Attempt for F
where
    F: Future<Output = io::Result<Io>> + Send + 'static,
    Io: Send + 'static,
{
    type Io = Io;
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::net::TcpListener;
    use tokio::time::{Instant, sleep};

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// RFC 8305 §4.
    #[test]
    fn families_take_turns() {
        for (given, wanted) in [
            (&[][..], &[][..]),
            (&["192.0.2.1:1"], &["192.0.2.1:1"]),
            (
                &["[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1", "192.0.2.1:1"],
                &["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "[2001:db8::3]:1"],
            ),
            (
                &["192.0.2.1:1", "192.0.2.2:1", "[2001:db8::1]:1"],
                &["192.0.2.1:1", "[2001:db8::1]:1", "192.0.2.2:1"],
            ),
        ] {
            assert_eq!(alternate(&addresses(given)), addresses(wanted));
        }
    }

    /// What became of the attempts: when each began, how many still run.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<(Began, usize)>>);

    /// Ports, and after how many milliseconds each was tried.
    type Began = Vec<(u16, u128)>;

    struct Running(Log);

    impl Drop for Running {
        fn drop(&mut self) {
            self.0.0.lock().unwrap().1 -= 1;
        }
    }

    /// Races ports; the port says what happens: 1xxx takes a connection after xxx ms, 2xxx refuses after xxx ms, 3xxx hangs.
    async fn raced(ports: &[u16]) -> (Result<u16, io::ErrorKind>, Began, u128) {
        let log = Log::default();
        let start = Instant::now();
        let haste = Haste { each: Duration::from_secs(2), ..Haste::default() };
        let attempt = |address: SocketAddr| {
            let (port, log) = (address.port(), log.clone());
            async move {
                let running = {
                    let mut inner = log.0.lock().unwrap();
                    inner.0.push((port, start.elapsed().as_millis()));
                    inner.1 += 1;
                    Running(log.clone())
                };
                sleep(Duration::from_millis(u64::from(port % 1000))).await;
                match port / 1000 {
                    1 => Ok((port, running)),
                    2 => Err(io::ErrorKind::ConnectionRefused.into()),
                    _ => std::future::pending().await,
                }
            }
        };
        let all = ports.iter().map(|port| SocketAddr::from(([192, 0, 2, 1], *port))).collect();
        let result = race(all, haste, attempt).await.map(|(port, _)| port).map_err(|error| error.kind());
        let took = start.elapsed().as_millis();
        tokio::task::yield_now().await;
        let inner = log.0.lock().unwrap();
        assert_eq!(inner.1, 0, "attempts that lost are ended");
        (result, inner.0.clone(), took)
    }

    /// RFC 8305 §5, in virtual time.
    #[tokio::test(start_paused = true)]
    async fn the_first_to_answer_wins() {
        for (ports, winner, began, took) in [
            // One that answers in time is not disturbed.
            (&[1100, 1000][..], Ok(1100), &[(1100, 0)][..], 100),
            // One that takes long gets company, and may still win.
            (&[1300, 1200], Ok(1300), &[(1300, 0), (1200, 250)], 300),
            (&[1900, 1001], Ok(1001), &[(1900, 0), (1001, 250)], 251),
            // One that fails makes way at once.
            (&[2010, 2020, 1030], Ok(1030), &[(2010, 0), (2020, 10), (1030, 30)], 60),
            // One that hangs delays the others no more than the stagger.
            (&[3000, 3001, 1000], Ok(1000), &[(3000, 0), (3001, 250), (1000, 500)], 500),
            // Nobody.
            (&[2010, 2010], Err(io::ErrorKind::ConnectionRefused), &[(2010, 0), (2010, 10)], 20),
            (&[3000, 3001], Err(io::ErrorKind::TimedOut), &[(3000, 0), (3001, 250)], 2250),
            (&[], Err(io::ErrorKind::NotFound), &[], 0),
        ] {
            assert_eq!(raced(ports).await, (winner, began.to_vec(), took), "{ports:?}");
        }
    }

    /// With real sockets: nobody listens on the first, of another family.
    #[tokio::test]
    async fn another_address_helps() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let all = [SocketAddr::new("::1".parse().unwrap(), port), nobody, listener.local_addr().unwrap()];
        let io = connect(&all, Haste::default()).await.unwrap();
        assert_eq!(io.peer_addr().unwrap(), listener.local_addr().unwrap());
        assert!(io.nodelay().unwrap());
        assert!(connect(&[nobody], Haste::default()).await.is_err());
    }
}
