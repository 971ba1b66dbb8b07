//! What a machine has yet to put out, in order, and whether it may still say anything.

use std::collections::VecDeque;

use bytes::Bytes;
use nuncio_sansio::{Close, Output};
use nuncio_xmpp::error::StreamError;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::Stanza;
use nuncio_xmpp::xml::Builder;

use crate::header::{self, Words};

/// The outputs of a stream.
pub(crate) struct Wire<Q, E> {
    content: Content,
    out: VecDeque<Output<Q, E>>,
    /// Bytes that follow everything in `out`.
    tail: Vec<u8>,
    /// Our header of the present stream is sent: what is closed has to have been opened (RFC 6120 §4.9.1.2).
    header_sent: bool,
    /// Our closing tag is sent: nothing may follow it (RFC 6120 §4.4).
    close_sent: bool,
}

/// The content namespace of a stream (RFC 6120 §4.8.2).
#[derive(Clone, Copy)]
pub(crate) enum Content {
    /// Between client and server.
    Client,
    /// Between servers.
    Server,
}

impl Content {
    const fn ns(self) -> &'static str {
        match self {
            Self::Client => ns::CLIENT,
            Self::Server => ns::SERVER,
        }
    }
}

impl<Q, E> Wire<Q, E> {
    pub(crate) fn new(content: Content) -> Self {
        Self { content, out: VecDeque::new(), tail: Vec::new(), header_sent: false, close_sent: false }
    }

    /// The next output, if one is due.
    pub(crate) fn pop(&mut self) -> Option<Output<Q, E>> {
        match self.out.pop_front() {
            None if self.tail.is_empty() => {
                // An idle stream holds no buffer.
                self.out = VecDeque::new();
                None
            }
            None => Some(Output::Send(std::mem::take(&mut self.tail).into())),
            some => some,
        }
    }

    pub(crate) fn push(&mut self, output: Output<Q, E>) {
        if self.out.capacity() == 0 {
            // Most often there is one, and room for more would be a large piece of memory each time.
            self.out.reserve_exact(1);
        }
        if !self.tail.is_empty() {
            self.out.push_back(Output::Send(std::mem::take(&mut self.tail).into()));
        }
        self.out.push_back(output);
    }

    pub(crate) fn event(&mut self, event: E) {
        self.push(Output::Event(event));
    }

    /// Sends, unless our stream is closed already.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        if !self.close_sent {
            self.tail.extend_from_slice(bytes);
        }
    }

    /// Sends without copying. Whether it was sent.
    pub(crate) fn send_bytes(&mut self, bytes: Bytes) -> bool {
        if self.close_sent || bytes.is_empty() {
            return false;
        }
        self.push(Output::Send(bytes));
        true
    }

    pub(crate) fn send_builder(&mut self, builder: &Builder) {
        if !self.close_sent {
            builder.write(&mut self.tail, self.content.ns());
        }
    }

    pub(crate) fn send_stanza(&mut self, stanza: &Stanza) {
        if !self.close_sent {
            stanza.render(&mut self.tail, self.content.ns());
        }
    }

    pub(crate) fn send_header(&mut self, words: Words<'_>) {
        if !self.close_sent {
            match self.content {
                Content::Client => header::write_client(&mut self.tail, words),
                Content::Server => header::write_server(&mut self.tail, words),
            }
            self.header_sent = true;
        }
    }

    pub(crate) fn header_sent(&self) -> bool {
        self.header_sent
    }

    /// A new stream follows on this connection.
    pub(crate) fn restart(&mut self) {
        self.header_sent = false;
    }

    /// Closes our stream, which must be open. Nothing is sent after it.
    pub(crate) fn close_stream(&mut self, error: Option<&StreamError>) {
        if self.close_sent {
            return;
        }
        if let Some(error) = error {
            error.write(&mut self.tail);
        }
        self.tail.extend_from_slice(header::CLOSE);
        self.close_sent = true;
    }

    /// The last fact, and the end of the connection.
    pub(crate) fn end(&mut self, ended: E, close: Close) {
        self.event(ended);
        self.push(Output::Close(close));
    }
}
