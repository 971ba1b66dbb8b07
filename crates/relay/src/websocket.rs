//! WebSocket (RFC 6455) around a machine, for MSRP over it (RFC 7977): the receiving role, without extensions.
//!
//! A machine like any other, so that the driver's TLS, limits and idle memory are the same as for TCP. What a message carries is handed to
//! the inner machine as it comes; each of the inner machine's [`Output::Send`]s goes out as one message.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, Bytes, BytesMut};
use nuncio_sansio::{Close, Eof, Input, Machine, Output, Time};
use sha1::{Digest as _, Sha1};

/// Where the resource is (RFC 7977 §5.1 leaves that to us).
const PATH: &str = "/msrp";
/// The subprotocol (RFC 7977 §4.1).
const PROTOCOL: &str = "msrp";
/// The longest request, in bytes.
const REQUEST: usize = 8_192;
/// What the key is hashed with (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The longest payload of a control frame.
const CONTROL: usize = 125;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Codes of a close frame (RFC 6455 §7.4.1).
#[derive(Clone, Copy)]
enum Code {
    Normal = 1_000,
    Protocol = 1_002,
}

/// A frame whose header was read.
#[derive(Clone, Copy)]
struct Frame {
    opcode: u8,
    mask: [u8; 4],
    /// How many bytes of its payload were taken.
    taken: u64,
    length: u64,
}

impl Frame {
    /// Takes the mask off the next bytes of the payload.
    fn unmask(&mut self, payload: &mut [u8]) {
        // The cut cannot matter: a mask has four bytes.
        let from = usize::try_from(self.taken % 4).unwrap_or_default();
        let mask = self.mask.iter().cycle().skip(from);
        payload.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        self.taken += payload.len() as u64;
    }
}

enum State {
    /// The HTTP request.
    Request,
    /// Frames; inside one, or between two.
    Open(Option<Frame>),
    /// Nothing is read any more.
    Over,
}

/// See the module.
pub(crate) struct WebSocket<M: Machine> {
    inner: M,
    state: State,
    /// What is not yet a whole request, header or control frame.
    buffer: BytesMut,
    /// Whether a message of several frames has begun.
    fragmented: bool,
    out: VecDeque<Bytes>,
    /// What the last ping has asked for.
    pong: Option<Bytes>,
    close: Option<Close>,
}

impl<M: Machine> WebSocket<M> {
    pub(crate) fn new(inner: M) -> Self {
        Self {
            inner,
            state: State::Request,
            buffer: BytesMut::new(),
            fragmented: false,
            out: VecDeque::new(),
            pong: None,
            close: None,
        }
    }

    /// Takes from the buffer what is whole in it, and the payload of messages as it comes.
    fn step(&mut self, now: Time) {
        loop {
            match &mut self.state {
                State::Over => {
                    self.buffer = BytesMut::new();
                    return;
                }
                State::Request => {
                    let end = self.buffer.windows(4).position(|four| four == b"\r\n\r\n");
                    let Some(end) = end.filter(|end| *end <= REQUEST) else {
                        if self.buffer.len() > REQUEST {
                            self.refuse("431 Request Header Fields Too Large", "");
                        }
                        return;
                    };
                    let request = self.buffer.split_to(end + 4);
                    match answer(&request) {
                        Ok(response) => {
                            self.out.push_back(response.into());
                            self.state = State::Open(None);
                        }
                        Err((status, fields)) => self.refuse(status, fields),
                    }
                }
                State::Open(None) => match header(&self.buffer) {
                    Header::More => break,
                    Header::Bad => self.broken(now),
                    Header::Frame { frame, last, length } => {
                        self.buffer.advance(length);
                        if frame.opcode < CLOSE {
                            if (frame.opcode == CONTINUATION) != self.fragmented {
                                self.broken(now);
                                continue;
                            }
                            self.fragmented = !last;
                        }
                        self.state = State::Open(Some(frame));
                    }
                },
                State::Open(Some(frame)) if frame.opcode >= CLOSE => {
                    let length = usize::try_from(frame.length).unwrap_or(usize::MAX);
                    if self.buffer.len() < length {
                        break;
                    }
                    let mut payload = self.buffer.split_to(length);
                    let opcode = frame.opcode;
                    frame.unmask(&mut payload);
                    self.state = State::Open(None);
                    self.control(now, opcode, &payload);
                }
                State::Open(Some(frame)) => {
                    let left = usize::try_from(frame.length - frame.taken).unwrap_or(usize::MAX);
                    let mut payload = self.buffer.split_to(left.min(self.buffer.len()));
                    frame.unmask(&mut payload);
                    let over = frame.taken == frame.length;
                    if !payload.is_empty() {
                        self.inner.handle(now, Input::Bytes(&payload));
                    }
                    if !over {
                        break;
                    }
                    self.state = State::Open(None);
                }
            }
        }
        if self.buffer.is_empty() {
            // An idle connection holds no buffer.
            self.buffer = BytesMut::new();
        }
    }

    /// What came is no frame of a client.
    fn broken(&mut self, now: Time) {
        self.end(Code::Protocol);
        self.inner.handle(now, Input::Eof(Eof::Truncated));
    }

    fn control(&mut self, now: Time, opcode: u8, payload: &[u8]) {
        match opcode {
            PING => {
                // Only the last of several has to be answered (RFC 6455 §5.5.3): so whoever sends many is not owed many.
                self.pong = Some(payload.to_vec().into());
                // Nothing of MSRP has come, but somebody is there: that is what browsers keep connections open with (RFC 7977 §6).
                self.inner.handle(now, Input::Bytes(&[]));
            }
            CLOSE => {
                self.end(Code::Normal);
                self.inner.handle(now, Input::Eof(Eof::Clean));
            }
            // A pong that nobody asked for (RFC 6455 §5.5.3).
            _ => {}
        }
    }

    /// Writes a short frame.
    fn frame(&mut self, opcode: u8, payload: &[u8]) {
        let mut frame = head(opcode, payload.len() as u64);
        frame.extend_from_slice(payload);
        self.out.push_back(frame.into());
    }

    /// Says that nothing follows, and reads nothing more.
    fn end(&mut self, code: Code) {
        if matches!(self.state, State::Open(_)) {
            self.frame(CLOSE, &(code as u16).to_be_bytes());
        }
        self.state = State::Over;
    }

    /// Answers a request that is none for us.
    fn refuse(&mut self, status: &str, fields: &str) {
        let response = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: 0\r\nConnection: close\r\n\r\n");
        self.out.push_back(response.into());
        self.state = State::Over;
        self.close = Some(Close::Orderly);
    }
}

impl<M: Machine> Machine for WebSocket<M> {
    type Question = M::Question;
    type Answer = M::Answer;
    type Event = M::Event;
    type Command = M::Command;

    fn handle(&mut self, now: Time, input: Input<'_, M::Answer, M::Command>) {
        match input {
            Input::Bytes(bytes) => {
                self.buffer.extend_from_slice(bytes);
                self.step(now);
            }
            Input::Eof(eof) => {
                // Without a close frame what came may have been cut (RFC 6455 §7.1.5).
                let cut = !matches!(self.state, State::Over) && eof == Eof::Clean;
                self.state = State::Over;
                self.inner.handle(now, Input::Eof(if cut { Eof::Truncated } else { eof }));
            }
            other => self.inner.handle(now, other),
        }
    }

    fn poll(&mut self, now: Time) -> Output<M::Question, M::Event> {
        if self.out.is_empty()
            && matches!(self.state, State::Open(_))
            && let Some(payload) = self.pong.take()
        {
            self.frame(PONG, &payload);
        }
        if let Some(bytes) = self.out.pop_front() {
            if self.out.is_empty() {
                self.out = VecDeque::new();
            }
            return Output::Send(bytes);
        }
        loop {
            return match self.inner.poll(now) {
                // Nobody hears it: there is no WebSocket yet, or no more.
                Output::Send(_) if matches!(self.state, State::Request | State::Over) => continue,
                Output::Send(bytes) => {
                    let head = head(BINARY, bytes.len() as u64);
                    self.out.push_back(bytes);
                    Output::Send(head.into())
                }
                Output::Close(close) => {
                    if close == Close::Orderly {
                        self.end(Code::Normal);
                    }
                    self.close = Some(close);
                    self.out.pop_front().map_or(Output::Close(close), Output::Send)
                }
                // After a refused request the inner machine is left as it is.
                Output::Wait(deadline) => self.close.map_or(Output::Wait(deadline), Output::Close),
                other => other,
            };
        }
    }

    fn wants_bytes(&self) -> bool {
        match self.state {
            State::Request => true,
            State::Open(_) => self.inner.wants_bytes(),
            State::Over => false,
        }
    }
}

/// The header of one of our frames: whole messages, without a mask.
fn head(opcode: u8, length: u64) -> Vec<u8> {
    const LAST: u8 = 0x80;
    let mut head = vec![LAST | opcode];
    if let Ok(length) = u8::try_from(length)
        && usize::from(length) <= CONTROL
    {
        head.push(length);
    } else if let Ok(length) = u16::try_from(length) {
        head.push(126);
        head.extend_from_slice(&length.to_be_bytes());
    } else {
        head.push(127);
        head.extend_from_slice(&length.to_be_bytes());
    }
    head
}

/// What a buffer begins with.
enum Header {
    /// Nothing whole yet.
    More,
    /// Nothing that a client may send.
    Bad,
    /// A frame.
    Frame {
        frame: Frame,
        /// Whether it is the last of its message.
        last: bool,
        /// The length of the header.
        length: usize,
    },
}

/// RFC 6455 §5.2.
fn header(buffer: &[u8]) -> Header {
    let Some((&[first, second], rest)) = buffer.split_first_chunk::<2>() else { return Header::More };
    let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
    let short = usize::from(second & 0x7f);
    let control = opcode >= CLOSE;
    let known = matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG);
    // Extensions that were not agreed on, no mask, control frames in pieces or long ones.
    if first & 0x70 != 0 || second & 0x80 == 0 || !known || (control && (!last || short > CONTROL)) {
        return Header::Bad;
    }
    let (length, extended) = match short {
        126 => match rest.first_chunk::<2>() {
            Some(bytes) => (u16::from_be_bytes(*bytes).into(), 2),
            None => return Header::More,
        },
        127 => match rest.first_chunk::<8>() {
            Some(bytes) => (u64::from_be_bytes(*bytes), 8),
            None => return Header::More,
        },
        short => (short as u64, 0),
    };
    if length > i64::MAX as u64 {
        return Header::Bad;
    }
    match rest.get(extended..).and_then(|rest| rest.first_chunk::<4>()) {
        Some(mask) => Header::Frame {
            frame: Frame { opcode, mask: *mask, taken: 0, length },
            last,
            length: 2 + extended + 4,
        },
        None => Header::More,
    }
}

/// Answers the request for an upgrade (RFC 6455 §4.2); or the status and fields of why not.
fn answer(request: &[u8]) -> Result<String, (&'static str, &'static str)> {
    const BAD: (&str, &str) = ("400 Bad Request", "");
    let text = std::str::from_utf8(request).map_err(|_| BAD)?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(BAD);
    };
    if method != "GET" {
        return Err(("405 Method Not Allowed", "Allow: GET\r\n"));
    }
    if target.split('?').next() != Some(PATH) {
        return Err(("404 Not Found", ""));
    }
    let mut fields = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or(BAD)?;
        fields.push((name, value.trim()));
    }
    let all = |name: &'static str| {
        fields.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    };
    let lists = |name, word: &str| {
        all(name).flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(word))
    };
    let once = |name| {
        let mut all = all(name);
        all.next().filter(|_| all.next().is_none())
    };
    if once("Host").is_none() || !lists("Connection", "upgrade") {
        return Err(BAD);
    }
    if !lists("Upgrade", "websocket") || once("Sec-WebSocket-Version") != Some("13") {
        return Err(("426 Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"));
    }
    // RFC 7977 §5.1: without the subprotocol there is no MSRP here.
    let offered =
        all("Sec-WebSocket-Protocol").flat_map(|value| value.split(',')).any(|one| one.trim() == PROTOCOL);
    let key = once("Sec-WebSocket-Key").filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == 16));
    let key = key.filter(|_| offered).ok_or(BAD)?;
    let accept = STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize());
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\
         Sec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n"
    ))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Sends back what it gets, piece by piece; says what it heard.
    #[derive(Default)]
    struct Echo {
        out: VecDeque<Output<Infallible, Vec<u8>>>,
        heard: Vec<u8>,
        eof: Option<Eof>,
    }

    impl Machine for Echo {
        type Question = Infallible;
        type Answer = Infallible;
        type Event = Vec<u8>;
        type Command = Bytes;

        fn handle(&mut self, _: Time, input: Input<'_, Infallible, Bytes>) {
            match input {
                Input::Bytes(bytes) => self.heard.extend_from_slice(bytes),
                Input::Eof(eof) => {
                    self.eof = Some(eof);
                    self.out.push_back(Output::Close(Close::Orderly));
                }
                Input::Command(bytes) => self.out.push_back(Output::Send(bytes)),
                _ => {}
            }
        }

        fn poll(&mut self, _: Time) -> Output<Infallible, Vec<u8>> {
            self.out.pop_front().unwrap_or(Output::Wait(None))
        }
    }

    const GOOD: &str = "GET /msrp HTTP/1.1\r\nHost: relay.example\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://app.example\r\nSec-WebSocket-Protocol: chat, msrp\r\n\
         Sec-WebSocket-Version: 13\r\n\r\n";

    /// All that goes out, and how it closes.
    fn drain(socket: &mut WebSocket<Echo>) -> (Vec<u8>, Option<Close>) {
        let mut sent = Vec::new();
        loop {
            match socket.poll(Time::ZERO) {
                Output::Send(bytes) => sent.extend_from_slice(&bytes),
                Output::Close(close) => return (sent, Some(close)),
                Output::Wait(_) => return (sent, None),
                other => panic!("{other:?}"),
            }
        }
    }

    fn say(socket: &mut WebSocket<Echo>, bytes: &[u8]) -> (Vec<u8>, Option<Close>) {
        if !bytes.is_empty() {
            socket.handle(Time::ZERO, Input::Bytes(bytes));
        }
        drain(socket)
    }

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..=125 => frame.push(0x80 | length as u8),
            length @ 126..=65_535 => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        let mask = [1, 2, 250, 4];
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    fn opened() -> WebSocket<Echo> {
        let mut socket = WebSocket::new(Echo::default());
        let (sent, closed) = say(&mut socket, GOOD.as_bytes());
        assert!(sent.starts_with(b"HTTP/1.1 101 ") && closed.is_none());
        socket
    }

    /// RFC 6455 §1.3, §4.2.2; RFC 7977 §4.1, §5.1.
    #[test]
    fn requests() {
        let (sent, _) = say(&mut WebSocket::new(Echo::default()), GOOD.as_bytes());
        let sent = String::from_utf8(sent).expect("text");
        assert!(sent.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{sent}");
        assert!(sent.contains("Sec-WebSocket-Protocol: msrp\r\n"), "{sent}");
        for (from, to, status) in [
            ("GET", "POST", "405"),
            ("/msrp", "/", "404"),
            ("HTTP/1.1", "HTTP/1.0", "400"),
            ("Host: relay.example\r\n", "", "400"),
            ("Upgrade: websocket\r\n", "", "426"),
            ("keep-alive, Upgrade", "close", "400"),
            ("Version: 13", "Version: 8", "426"),
            ("chat, msrp", "chat", "400"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "short", "400"),
            ("Origin: https://app.example", "no field", "400"),
            ("Origin: ", &format!("X: {}", "x".repeat(9_000)), "431"),
        ] {
            let request = GOOD.replacen(from, to, 1);
            let mut socket = WebSocket::new(Echo::default());
            let (sent, closed) = say(&mut socket, request.as_bytes());
            assert!(
                sent.starts_with(format!("HTTP/1.1 {status} ").as_bytes()),
                "{to}: {:?}",
                String::from_utf8(sent)
            );
            assert_eq!(closed, Some(Close::Orderly), "{to}");
            assert!(!socket.wants_bytes());
            // What comes after it is not read.
            assert_eq!(say(&mut socket, b"more"), (Vec::new(), Some(Close::Orderly)));
        }
    }

    /// RFC 7977 §5.2: text and binary messages are bytes; however they are cut, the machine gets the same.
    #[test]
    fn messages_in_any_pieces() {
        let long = vec![b'x'; 70_000];
        let bytes = [
            GOOD.as_bytes().to_vec(),
            frame(0x82, b"one"),
            frame(0x81, b""),
            frame(0x01, b"tw"),
            frame(0x89, b"are you there?"),
            frame(0x80, b"o"),
            frame(0x8a, b"nobody asked"),
            frame(0x82, &[255; 300]),
            frame(0x82, &long),
        ]
        .concat();
        let expected = [&b"onetwo"[..], &[255; 300], &long].concat();
        for size in [1, 2, 3, 7, 125, 4_096, bytes.len()] {
            let mut socket = WebSocket::new(Echo::default());
            let mut sent = Vec::new();
            for piece in bytes.chunks(size) {
                let (more, closed) = say(&mut socket, piece);
                assert_eq!(closed, None);
                sent.extend_from_slice(&more);
            }
            assert!(socket.inner.heard == expected, "cut by {size}");
            assert!(sent.ends_with(b"\x8a\x0eare you there?"), "the ping is answered");
            assert_eq!(socket.buffer.capacity(), 0, "nothing is held while it is idle");
        }
    }

    /// RFC 6455 §5.5.3: of many pings in a row the last is answered; a flood is not answered by a flood.
    #[test]
    fn the_last_ping_is_answered() {
        let mut socket = opened();
        let flood: Vec<u8> = (0..2_000_u16).flat_map(|number| frame(0x89, &number.to_be_bytes())).collect();
        assert_eq!(say(&mut socket, &flood), (b"\x8a\x02\x07\xcf".to_vec(), None));
        // Never between the header and the payload of a message.
        socket.handle(Time::ZERO, Input::Command(b"message"[..].into()));
        assert!(matches!(socket.poll(Time::ZERO), Output::Send(head) if head[..] == *b"\x82\x07"));
        socket.handle(Time::ZERO, Input::Bytes(&frame(0x89, b"?")));
        assert_eq!(drain(&mut socket).0, b"message\x8a\x01?");
    }

    /// RFC 7977 §6, S1-L16: a ping keeps a connection open on which nothing else is said, as long as anything would.
    #[test]
    fn a_ping_keeps_a_connection() {
        use nuncio_msrp::relay::{Config, Direction, Framing, Link, LinkId, NonceKey};
        let entropy = std::sync::Arc::new(nuncio_sansio::pair::Counter::default());
        let seconds = std::time::Duration::from_secs;
        let nonces = std::sync::Arc::new(NonceKey::new(&*entropy, seconds(300)));
        let config = Config {
            framing: Framing::Message,
            probation: seconds(3_600),
            idle_foreign: seconds(300),
            ..Config::new(Vec::new(), nonces)
        };
        let link = Link::new(LinkId(1), Direction::Inbound, config.into(), entropy, Time::ZERO);
        let mut socket = WebSocket::new(link);
        let mut closes = |at: u64, bytes: &[u8]| {
            let now = Time::ZERO + seconds(at);
            socket.handle(now, if bytes.is_empty() { Input::Time } else { Input::Bytes(bytes) });
            loop {
                match socket.poll(now) {
                    Output::Close(_) => return true,
                    Output::Wait(_) => return false,
                    _ => {}
                }
            }
        };
        assert!(!closes(0, GOOD.as_bytes()) && !closes(299, &frame(0x89, b"")));
        assert!(!closes(598, b""), "299 seconds after the ping");
        assert!(closes(599, b""));
    }

    #[test]
    fn what_goes_out_is_one_message_each() {
        let mut socket = opened();
        for (length, head) in [
            (0, &b"\x82\x00"[..]),
            (125, b"\x82\x7d"),
            (126, b"\x82\x7e\x00\x7e"),
            (65_536, b"\x82\x7f\0\0\0\0\0\x01\0\0"),
        ] {
            socket.handle(Time::ZERO, Input::Command(vec![7; length].into()));
            let (sent, _) = drain(&mut socket);
            assert!(sent.starts_with(head) && sent.len() == head.len() + length, "{length}");
        }
    }

    #[test]
    fn both_ways_to_end() {
        let mut socket = opened();
        assert_eq!(
            say(&mut socket, &frame(0x88, &1_000_u16.to_be_bytes())),
            (b"\x88\x02\x03\xe8".to_vec(), Some(Close::Orderly))
        );
        assert_eq!(socket.inner.eof, Some(Eof::Clean));
        let mut socket = opened();
        socket.handle(Time::ZERO, Input::Eof(Eof::Clean));
        drain(&mut socket);
        assert_eq!(socket.inner.eof, Some(Eof::Truncated), "without a close frame");
    }

    /// Nothing that a client may not send gets through, and nothing that it says of lengths is believed.
    #[test]
    fn broken_frames() {
        for bad in [
            b"\x82\x03one".to_vec(),
            frame(0xc2, b"compressed"),
            frame(0x83, b"unknown"),
            frame(0x80, b"continues nothing"),
            [frame(0x02, b"a"), frame(0x82, b"b")].concat(),
            frame(0x09, b"a ping in pieces"),
            frame(0x89, &[0; 126]),
            b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0".to_vec(),
        ] {
            let mut socket = opened();
            let (sent, closed) = say(&mut socket, &bad);
            assert!(sent.ends_with(b"\x88\x02\x03\xea"), "{bad:?}: {sent:?}");
            assert_eq!((closed, socket.inner.eof), (Some(Close::Orderly), Some(Eof::Truncated)), "{bad:?}");
            assert!(!socket.wants_bytes() && socket.inner.heard.len() <= 1);
        }
        // A length that is merely huge costs nothing.
        let mut socket = opened();
        let mut bytes = b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0".to_vec();
        bytes.extend_from_slice(&[9; 1_000]);
        assert_eq!(say(&mut socket, &bytes), (Vec::new(), None));
        assert_eq!((socket.inner.heard.len(), socket.buffer.capacity()), (1_000, 0));
        // Very many very small ones neither.
        let mut socket = opened();
        assert_eq!(say(&mut socket, &frame(0x82, b"x").repeat(10_000)).1, None);
        assert_eq!(socket.inner.heard.len(), 10_000);
    }
}
