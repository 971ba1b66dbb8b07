//! Two machines joined in virtual time, and one machine alone against a script. For tests: no socket, no sleep.
//!
//! A [`Side`] is a machine with a scripted host ([`Script`]). A [`Pair`] carries what one side sends to the other after a
//! latency, cut as [`Split`] says, lets TLS "happen" when both sides asked for it, and moves the clock to the next
//! thing that is due.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::{Close, Eof, Input, Machine, Output, Time, TlsFacts, TlsVersion};

/// More steps than any finite conversation of a test takes; a run that needs more does not settle.
const STEPS: usize = 1_000_000;

type AskFn<M> = Box<dyn FnMut(Time, <M as Machine>::Question) -> (Duration, <M as Machine>::Answer)>;
type EventFn<M> = Box<dyn FnMut(Time, &<M as Machine>::Event) -> Vec<<M as Machine>::Command>>;

/// A host for tests: answers from a function, keeps every event, and tells the machine what it is told to.
pub struct Script<M: Machine> {
    ask: AskFn<M>,
    react: EventFn<M>,
    events: Vec<(Time, M::Event)>,
}

impl<M: Machine> Script<M> {
    /// A host that answers at once.
    pub fn new(mut ask: impl FnMut(Time, M::Question) -> M::Answer + 'static) -> Self {
        Self::with_delay(move |now, question| (Duration::ZERO, ask(now, question)))
    }

    /// A host that takes the returned time for each answer.
    pub fn with_delay(ask: impl FnMut(Time, M::Question) -> (Duration, M::Answer) + 'static) -> Self {
        Self { ask: Box::new(ask), react: Box::new(|_, _| Vec::new()), events: Vec::new() }
    }

    /// Sets what the host tells the machine when it hears an event.
    #[must_use]
    pub fn react(mut self, react: impl FnMut(Time, &M::Event) -> Vec<M::Command> + 'static) -> Self {
        self.react = Box::new(react);
        self
    }
}

/// One machine with its scripted host, and what left the machine.
pub struct Side<M: Machine> {
    machine: M,
    host: Script<M>,
    sent: Vec<u8>,
    out: VecDeque<Bytes>,
    answer: Option<(Time, M::Answer)>,
    commands: VecDeque<M::Command>,
    tls_asked: bool,
    closed: Option<(Time, Close)>,
    deadline: Option<Time>,
}

impl<M: Machine> Side<M> {
    /// Joins a machine and its host.
    pub fn new(machine: M, host: Script<M>) -> Self {
        Self {
            machine,
            host,
            sent: Vec::new(),
            out: VecDeque::new(),
            answer: None,
            commands: VecDeque::new(),
            tls_asked: false,
            closed: None,
            deadline: None,
        }
    }

    /// The machine.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Everything the machine has sent so far.
    pub fn sent(&self) -> &[u8] {
        &self.sent
    }

    /// What the machine has sent since the last call.
    pub fn take_sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sent)
    }

    /// What the host has heard, with the time of each.
    pub fn events(&self) -> &[(Time, M::Event)] {
        &self.host.events
    }

    /// What the host has heard since the last call.
    pub fn take_events(&mut self) -> Vec<M::Event> {
        std::mem::take(&mut self.host.events).into_iter().map(|(_, event)| event).collect()
    }

    /// When and how the machine closed the connection.
    pub fn closed(&self) -> Option<(Time, Close)> {
        self.closed
    }

    /// Whether the machine has asked for TLS and not got it yet.
    pub fn wants_tls(&self) -> bool {
        self.tls_asked
    }

    /// When the next thing of this side is due: an answer of its host or a deadline of the machine.
    pub fn due(&self) -> Option<Time> {
        if self.closed.is_some() {
            return None;
        }
        [self.answer.as_ref().map(|(at, _)| *at), self.deadline].into_iter().flatten().min()
    }

    /// Drains the machine once; for machines that speak first.
    pub fn start(&mut self, now: Time) {
        self.drain(now);
    }

    /// Hands over bytes of the peer.
    pub fn bytes(&mut self, now: Time, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.input(now, Input::Bytes(bytes));
        }
    }

    /// Ends the peer's direction.
    pub fn eof(&mut self, now: Time, eof: Eof) {
        self.input(now, Input::Eof(eof));
    }

    /// Finishes a TLS handshake.
    pub fn secured(&mut self, now: Time, facts: TlsFacts) {
        self.tls_asked = false;
        self.input(now, Input::Tls(facts));
    }

    /// Tells the machine something.
    pub fn command(&mut self, now: Time, command: M::Command) {
        self.input(now, Input::Command(command));
    }

    /// Does everything of this side alone that is due until `until`, in order of time.
    pub fn run_until(&mut self, until: Time) {
        for _ in 0..STEPS {
            match self.due() {
                Some(at) if at <= until => self.tick(at),
                _ => return,
            }
        }
    }

    /// Gives the host's answer if it is due, else lets time pass.
    pub fn tick(&mut self, now: Time) {
        if self.answer.as_ref().is_some_and(|(at, _)| *at <= now)
            && let Some((_, answer)) = self.answer.take()
        {
            self.input(now, Input::Answer(answer));
        } else {
            self.input(now, Input::Time);
        }
    }

    fn input(&mut self, now: Time, input: Input<'_, M::Answer, M::Command>) {
        if self.closed.is_some() {
            return;
        }
        self.machine.handle(now, input);
        self.drain(now);
        // Commands come in after the machine has been drained, as from a driver, and answers that take no time likewise.
        for _ in 0..STEPS {
            if self.closed.is_some() {
                return;
            }
            if self.answer.as_ref().is_some_and(|(at, _)| *at <= now)
                && let Some((_, answer)) = self.answer.take()
            {
                self.machine.handle(now, Input::Answer(answer));
            } else if let Some(command) = self.commands.pop_front() {
                self.machine.handle(now, Input::Command(command));
            } else {
                return;
            }
            self.drain(now);
        }
    }

    fn drain(&mut self, now: Time) {
        loop {
            match self.machine.poll(now) {
                Output::Send(bytes) => {
                    self.sent.extend_from_slice(&bytes);
                    self.out.push_back(bytes);
                }
                Output::StartTls { .. } => self.tls_asked = true,
                Output::Ask(question) => {
                    let (delay, answer) = (self.host.ask)(now, question);
                    self.answer = Some((now + delay, answer));
                }
                Output::Event(event) => {
                    let commands = (self.host.react)(now, &event);
                    self.host.events.push((now, event));
                    self.commands.extend(commands);
                }
                Output::Close(close) => {
                    self.closed = Some((now, close));
                    self.deadline = None;
                    return;
                }
                Output::Wait(deadline) => {
                    self.deadline = deadline;
                    return;
                }
            }
        }
    }
}

/// How the bytes of one direction are cut on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// As they were sent.
    Whole,
    /// Into pieces of this many bytes (at least one).
    Each(usize),
}

#[derive(Debug)]
enum Packet {
    Bytes(Bytes),
    Eof(Eof),
}

/// Two machines joined in virtual time.
pub struct Pair<A: Machine, B: Machine> {
    /// The first side.
    pub a: Side<A>,
    /// The second side.
    pub b: Side<B>,
    /// What the TLS handshake tells `a`.
    pub tls_a: TlsFacts,
    /// What the TLS handshake tells `b`.
    pub tls_b: TlsFacts,
    /// How long bytes are under way.
    pub latency: Duration,
    /// How bytes are cut.
    pub split: Split,
    /// A cut cable: what is sent is lost, and nobody is told.
    pub cut: bool,
    now: Time,
    to_a: VecDeque<(Time, Packet)>,
    to_b: VecDeque<(Time, Packet)>,
    handshake: Option<Time>,
    ended: (bool, bool),
    lost: usize,
}

impl<A: Machine, B: Machine> Pair<A, B> {
    /// Joins two sides; time begins at the origin. [`Pair::run`] starts them.
    pub fn new(a: Side<A>, b: Side<B>) -> Self {
        Self {
            a,
            b,
            tls_a: facts(),
            tls_b: facts(),
            latency: Duration::from_millis(20),
            split: Split::Whole,
            cut: false,
            now: Time::ZERO,
            to_a: VecDeque::new(),
            to_b: VecDeque::new(),
            handshake: None,
            ended: (false, false),
            lost: 0,
        }
    }

    /// The time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// How many bytes came in clear at a side that had already turned to TLS (or over a cut cable): nobody saw them.
    pub fn lost(&self) -> usize {
        self.lost
    }

    /// A TLS handshake before the first byte (XEP-0368), for both sides.
    pub fn direct_tls(&mut self) {
        self.a.secured(self.now, self.tls_a.clone());
        self.b.secured(self.now, self.tls_b.clone());
        self.collect();
    }

    /// Tells `a` something, now.
    pub fn command_a(&mut self, command: A::Command) {
        self.a.command(self.now, command);
        self.collect();
    }

    /// Tells `b` something, now.
    pub fn command_b(&mut self, command: B::Command) {
        self.b.command(self.now, command);
        self.collect();
    }

    /// Runs for `span`.
    pub fn run(&mut self, span: Duration) {
        self.run_until(self.now + span);
    }

    /// Runs until nothing is due before `until`, then sets the clock there.
    pub fn run_until(&mut self, until: Time) {
        self.a.start(self.now);
        self.b.start(self.now);
        self.collect();
        for _ in 0..STEPS {
            let due = [
                self.to_a.front().map(|(at, _)| *at),
                self.to_b.front().map(|(at, _)| *at),
                self.handshake,
                self.a.due(),
                self.b.due(),
            ];
            let Some(at) = due.into_iter().flatten().min() else { break };
            if at > until {
                break;
            }
            self.now = self.now.max(at);
            self.step();
            self.collect();
        }
        self.now = self.now.max(until);
    }

    fn step(&mut self) {
        let now = self.now;
        if self.to_a.front().is_some_and(|(at, _)| *at <= now) {
            self.lost += deliver(&mut self.a, now, &mut self.to_a);
        } else if self.to_b.front().is_some_and(|(at, _)| *at <= now) {
            self.lost += deliver(&mut self.b, now, &mut self.to_b);
        } else if self.handshake.is_some_and(|at| at <= now) {
            self.handshake = None;
            self.a.secured(now, self.tls_a.clone());
            self.b.secured(now, self.tls_b.clone());
        } else if self.a.due().is_some_and(|at| at <= now) {
            self.a.tick(now);
        } else {
            self.b.tick(now);
        }
    }

    /// Puts what both sides sent on the wire.
    fn collect(&mut self) {
        let arrival = self.now + self.latency;
        let (split, cut) = (self.split, self.cut);
        self.lost += carry(&mut self.a, &mut self.to_b, arrival, split, cut, &mut self.ended.0);
        self.lost += carry(&mut self.b, &mut self.to_a, arrival, split, cut, &mut self.ended.1);
        if self.a.tls_asked && self.b.tls_asked && self.handshake.is_none() {
            // Two flights, as in TLS 1.3.
            self.handshake = Some(arrival + self.latency);
        }
    }
}

fn carry<M: Machine>(
    from: &mut Side<M>,
    wire: &mut VecDeque<(Time, Packet)>,
    arrival: Time,
    split: Split,
    cut: bool,
    ended: &mut bool,
) -> usize {
    let mut lost = 0;
    for mut bytes in from.out.drain(..) {
        if cut {
            lost += bytes.len();
            continue;
        }
        match split {
            Split::Whole => wire.push_back((arrival, Packet::Bytes(bytes))),
            Split::Each(size) => {
                while !bytes.is_empty() {
                    let piece = bytes.split_to(size.clamp(1, bytes.len()));
                    wire.push_back((arrival, Packet::Bytes(piece)));
                }
            }
        }
    }
    if let Some((_, how)) = from.closed
        && !*ended
    {
        *ended = true;
        let eof = if how == Close::Abort { Eof::Reset } else { Eof::Clean };
        if !cut {
            wire.push_back((arrival, Packet::Eof(eof)));
        }
    }
    lost
}

fn deliver<M: Machine>(to: &mut Side<M>, now: Time, wire: &mut VecDeque<(Time, Packet)>) -> usize {
    match wire.pop_front() {
        Some((_, Packet::Bytes(bytes))) if to.tls_asked || to.closed.is_some() => bytes.len(),
        Some((_, Packet::Bytes(bytes))) => {
            to.bytes(now, &bytes);
            0
        }
        Some((_, Packet::Eof(eof))) => {
            to.eof(now, eof);
            0
        }
        None => 0,
    }
}

/// What a plain TLS 1.3 handshake without a client certificate tells: both channel bindings, of fixed bytes.
pub fn facts() -> TlsFacts {
    TlsFacts {
        version: TlsVersion::Tls13,
        suite: "TLS13_AES_128_GCM_SHA256".to_owned(),
        resumed: false,
        server_name: None,
        exporter: Some([7; 32]),
        server_end_point: Some(Bytes::from_static(&[9; 32])),
        client_certificate: None,
        peer_certificates: Vec::new(),
    }
}

/// Entropy for tests: a counter, so that a run can be repeated and no two tokens are alike.
#[derive(Debug, Default)]
pub struct Counter(std::sync::atomic::AtomicU64);

impl crate::Entropy for Counter {
    fn fill(&self, out: &mut [u8]) {
        // A step of SplitMix64 for each word: different and well mixed, though of course predictable.
        for chunk in out.chunks_mut(8) {
            let seed = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, std::sync::atomic::Ordering::Relaxed);
            let mut word = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            chunk.copy_from_slice(word.to_le_bytes().get(..chunk.len()).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests;
