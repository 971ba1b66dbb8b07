//! A name server on loopback that answers as it is told, with real packets.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use domain::base::iana::{Rcode, Rtype};
use domain::base::message_builder::AnswerBuilder;
use domain::base::{Message, MessageBuilder, Serial, Ttl};
use domain::rdata::{A, Aaaa, Cname, Soa, Srv as SrvData};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use crate::dns::{DnsConfig, Name, Resolver};

/// A question that reached the server.
pub(crate) struct Asked {
    pub(crate) message: Message<Vec<u8>>,
    pub(crate) name: String,
    pub(crate) kind: Rtype,
    pub(crate) tcp: bool,
}

pub(crate) type Counts = HashMap<(String, Rtype, bool), usize>;
pub(crate) type Built = AnswerBuilder<Vec<u8>>;

impl Asked {
    pub(crate) fn read(packet: &[u8], tcp: bool) -> Self {
        let message = Message::from_octets(packet.to_vec()).unwrap();
        let question = message.sole_question().unwrap();
        let (name, kind) = (question.qname().to_string(), question.qtype());
        Self { message, name, kind, tcp }
    }

    pub(crate) fn edns(&self) -> bool {
        self.message.opt().is_some()
    }

    pub(crate) fn begin(&self, code: Rcode) -> Built {
        let mut builder = MessageBuilder::new_vec().start_answer(&self.message, code).unwrap();
        builder.header_mut().set_ra(true);
        builder
    }

    /// A reply with these records, in the words of a zone file: `NAME TTL TYPE DATA`.
    pub(crate) fn reply(&self, lines: &[&str]) -> Vec<u8> {
        let mut builder = self.begin(Rcode::NOERROR);
        lines.iter().for_each(|line| push(&mut builder, line));
        builder.finish()
    }

    /// What a server says that cannot answer.
    pub(crate) fn refused(&self) -> Vec<u8> {
        self.begin(Rcode::SERVFAIL).finish()
    }

    /// Nothing of this, or no such name at all, for so many seconds.
    pub(crate) fn nothing(&self, code: Rcode, seconds: u32) -> Vec<u8> {
        with_soa(self.begin(code), seconds)
    }
}

pub(crate) fn with_soa(builder: Built, seconds: u32) -> Vec<u8> {
    let mut builder = builder.authority();
    let (zone, ttl) = (name("example"), Ttl::from_secs);
    let soa = Soa::new(zone.clone(), zone.clone(), Serial::from(1), ttl(1), ttl(1), ttl(1), ttl(seconds));
    builder.push((zone, ttl(3600), soa)).unwrap();
    builder.finish()
}

pub(crate) fn name(text: &str) -> Name {
    if matches!(text, "." | "") { Name::root_vec() } else { Name::vec_from_str(text).unwrap() }
}

pub(crate) fn push(builder: &mut Built, line: &str) {
    let words: Vec<_> = line.split(' ').collect();
    let (owner, ttl) = (name(words[0]), Ttl::from_secs(words[1].parse().unwrap()));
    let number = |at: usize| words[at].parse::<u16>().unwrap();
    match words[2] {
        "A" => builder.push((owner, ttl, A::new(words[3].parse().unwrap()))),
        "AAAA" => builder.push((owner, ttl, Aaaa::new(words[3].parse().unwrap()))),
        "CNAME" => builder.push((owner, ttl, Cname::new(name(words[3])))),
        "SRV" => builder.push((owner, ttl, SrvData::new(number(3), number(4), number(5), name(words[6])))),
        other => panic!("{other}"),
    }
    .unwrap();
}

/// A name server. What `answer` returns is sent back, packet by packet; by TCP only the first.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// How often each name and type was asked for, by UDP and by TCP.
    asked: Arc<Mutex<Counts>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            // The same port for both; if TCP has it for somebody else, another.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let answer = Arc::new(answer);
        let asked: Arc<Mutex<Counts>> = Arc::default();
        let count = {
            let asked = Arc::clone(&asked);
            move |one: &Asked| {
                *asked.lock().unwrap().entry((one.name.clone(), one.kind, one.tcp)).or_default() += 1
            }
        };
        let by_udp = {
            let (answer, count) = (Arc::clone(&answer), count.clone());
            async move {
                let mut packet = vec![0; 4096];
                while let Ok((length, from)) = udp.recv_from(&mut packet).await {
                    let asked = Asked::read(&packet[..length], false);
                    count(&asked);
                    for reply in answer(&asked) {
                        udp.send_to(&reply, from).await.unwrap();
                    }
                }
            }
        };
        let by_tcp = async move {
            while let Ok((mut io, _)) = tcp.accept().await {
                let mut packet = vec![0; usize::from(io.read_u16().await.unwrap())];
                io.read_exact(&mut packet).await.unwrap();
                let asked = Asked::read(&packet, true);
                count(&asked);
                if let Some(reply) = answer(&asked).first() {
                    io.write_u16(reply.len() as u16).await.unwrap();
                    io.write_all(reply).await.unwrap();
                }
            }
        };
        Self { address, asked, tasks: vec![tokio::spawn(by_udp), tokio::spawn(by_tcp)] }
    }

    pub(crate) fn config(&self) -> DnsConfig {
        DnsConfig { servers: vec![self.address], ..DnsConfig::default() }
    }

    pub(crate) fn resolver(&self) -> Resolver {
        Resolver::with(self.config())
    }

    pub(crate) fn asked(&self, name: &str, kind: Rtype, tcp: bool) -> usize {
        self.asked.lock().unwrap().get(&(name.to_owned(), kind, tcp)).copied().unwrap_or(0)
    }

    pub(crate) fn total(&self) -> usize {
        self.asked.lock().unwrap().values().sum()
    }
}
