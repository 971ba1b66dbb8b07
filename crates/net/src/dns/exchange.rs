//! One question, one answer: packets to name servers and back (RFC 1035 §4.2, RFC 5452, RFC 6891, RFC 7766).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use domain::base::iana::{Class, Opcode, Rcode, Rtype};
use domain::base::{Message, MessageBuilder};
use nuncio_sansio::Entropy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{DnsConfig, DnsError, Kind, Name, Validation};

/// The largest answer by UDP that crosses any network in one piece.
const PAYLOAD: u16 = 1232;

/// Packets that answer something else. After so many somebody is guessing, and TCP is harder to guess (RFC 5452 §9.3).
const MOST_STRAYS: usize = 32;

/// A reply that belongs to its question.
pub(super) struct Reply {
    pub(super) message: Message<Vec<u8>>,
    /// Who gave it.
    pub(super) server: SocketAddr,
}

/// Asks name servers.
pub(super) struct Exchange {
    pub(super) config: DnsConfig,
    pub(super) entropy: Arc<dyn Entropy>,
    open: Semaphore,
}

impl Exchange {
    pub(super) fn new(config: DnsConfig, entropy: Arc<dyn Entropy>) -> Self {
        let open = Semaphore::new(config.open.clamp(1, Semaphore::MAX_PERMITS));
        Self { config, entropy, open }
    }

    /// The first answer that is one: what there is, or that there is nothing. A server that cannot answer is as good as none while there
    /// are others.
    pub(super) async fn ask(&self, name: &Name, kind: Rtype) -> Result<Reply, DnsError> {
        let _permit = self.open.acquire().await;
        let mut last = DnsError::Unreachable("none is known".to_owned());
        for _ in 0..self.config.attempts.max(1) {
            for &server in &self.config.servers {
                let problem = match timeout(self.config.timeout, self.ask_one(server, name, kind)).await {
                    Err(_) => DnsError::Timeout,
                    Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => DnsError::Broken,
                    Ok(Err(error)) => DnsError::Unreachable(error.to_string()),
                    Ok(Ok(message)) => match message.header().rcode() {
                        Rcode::NOERROR | Rcode::NXDOMAIN => return Ok(Reply { message, server }),
                        code => DnsError::Refused(code.to_int()),
                    },
                };
                tracing::debug!(%server, %name, %kind, %problem, "a name server did not answer");
                // Of several reasons, a server's own word says most.
                if !matches!(last, DnsError::Refused(_)) {
                    last = problem;
                }
            }
        }
        Err(last)
    }

    async fn ask_one(&self, server: SocketAddr, name: &Name, kind: Rtype) -> io::Result<Message<Vec<u8>>> {
        let reply = self.ask_with(server, &self.question(name, kind, true)?).await?;
        if !matches!(reply.header().rcode(), Rcode::FORMERR | Rcode::NOTIMP) {
            return Ok(reply);
        }
        // RFC 6891 §7: it may be older than EDNS.
        self.ask_with(server, &self.question(name, kind, false)?).await
    }

    async fn ask_with(&self, server: SocketAddr, question: &Question) -> io::Result<Message<Vec<u8>>> {
        match by_udp(server, question).await? {
            Some(reply) if !reply.header().tc() => Ok(reply),
            _ => by_tcp(server, question).await,
        }
    }

    fn question(&self, name: &Name, kind: Rtype, edns: bool) -> io::Result<Question> {
        let mut id = [0; 2];
        self.entropy.fill(&mut id);
        let id = u16::from_be_bytes(id);
        let mut builder = MessageBuilder::new_vec();
        let header = builder.header_mut();
        header.set_id(id);
        header.set_rd(true);
        // RFC 6840 §5.7: "tell me whether you have validated this".
        header.set_ad(self.config.validation == Validation::TrustAd);
        // RFC 6840 §5.9: "give it to me even if you believe that it is bogus".
        header.set_cd(matches!(self.config.validation, Validation::Local(_)));
        let mut builder = builder.question();
        builder.push((name, kind)).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut builder = builder.additional();
        if edns {
            let filled = builder.opt(|opt| {
                opt.set_udp_payload_size(PAYLOAD);
                opt.set_dnssec_ok(self.config.validation != Validation::Off);
                Ok(())
            });
            filled.map_err(|_| io::ErrorKind::InvalidInput)?;
        }
        Ok(Question { id, name: name.clone(), kind, bytes: builder.finish() })
    }
}

/// A question as it is sent.
struct Question {
    id: u16,
    name: Name,
    kind: Rtype,
    bytes: Vec<u8>,
}

impl Question {
    /// The packet, if it answers this question and no other.
    fn answered(&self, packet: &[u8]) -> Option<Message<Vec<u8>>> {
        let message = Message::from_octets(packet.to_vec()).ok()?;
        let header = message.header();
        if !header.qr() || header.opcode() != Opcode::QUERY || header.id() != self.id {
            return None;
        }
        // Who cannot read a question cannot repeat it.
        if header.rcode() == Rcode::FORMERR && message.header_counts().qdcount() == 0 {
            return Some(message);
        }
        let question = message.sole_question().ok()?;
        let same = *question.qname() == self.name && question.qtype() == self.kind;
        (same && question.qclass() == Class::IN).then_some(message)
    }
}

/// By UDP, from a port of its own. None if there is so much that does not belong that TCP had better be asked.
async fn by_udp(server: SocketAddr, question: &Question) -> io::Result<Option<Message<Vec<u8>>>> {
    let own = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(own).await?;
    // Packets from elsewhere never arrive, and a port that nobody listens on is told at once.
    socket.connect(server).await?;
    socket.send(&question.bytes).await?;
    let mut packet = vec![0; usize::from(u16::MAX)];
    for _ in 0..MOST_STRAYS {
        let length = socket.recv(&mut packet).await?;
        if let Some(message) = packet.get(..length).and_then(|packet| question.answered(packet)) {
            return Ok(Some(message));
        }
        tracing::debug!(%server, "a packet that answers another question is ignored");
    }
    Ok(None)
}

/// By TCP, where messages come behind their length.
async fn by_tcp(server: SocketAddr, question: &Question) -> io::Result<Message<Vec<u8>>> {
    let mut io = TcpStream::connect(server).await?;
    let length = u16::try_from(question.bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    io.write_all(&[&length.to_be_bytes(), question.bytes.as_slice()].concat()).await?;
    let mut reply = vec![0; usize::from(io.read_u16().await?)];
    io.read_exact(&mut reply).await?;
    match question.answered(&reply) {
        Some(message) if !message.header().tc() => Ok(message),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

pub(super) const fn rtype(kind: Kind) -> Rtype {
    match kind {
        Kind::A => Rtype::A,
        Kind::Aaaa => Rtype::AAAA,
        Kind::Srv => Rtype::SRV,
        Kind::Tlsa => Rtype::TLSA,
    }
}
