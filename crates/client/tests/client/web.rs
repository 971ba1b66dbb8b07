//! A web server of a domain: HTTPS, and one document.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use nuncio_net::{Clock, Options, Security, Settings, TlsHosts, drive};
use nuncio_sansio::{Close, Host, Input, Machine, Output, Time};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// One connection.
struct Answer {
    /// Where the document is, and what it says.
    page: (String, String),
    asked: Vec<u8>,
    out: VecDeque<Output<Infallible, Infallible>>,
}

impl Machine for Answer {
    type Question = Infallible;
    type Answer = Infallible;
    type Event = Infallible;
    type Command = Infallible;

    fn handle(&mut self, _: Time, input: Input<'_, Infallible, Infallible>) {
        let Input::Bytes(bytes) = input else { return };
        self.asked.extend_from_slice(bytes);
        if self.asked.ends_with(b"\r\n\r\n") {
            let (path, text) = &self.page;
            let found = self.asked.starts_with(format!("GET {path} HTTP/1.1\r\n").as_bytes());
            let (status, text) = if found { ("200 OK", text.as_str()) } else { ("404 Not Found", "") };
            let length = text.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
            );
            self.out.extend([Output::Send(answer.into()), Output::Close(Close::Orderly)]);
        }
    }

    fn poll(&mut self, _: Time) -> Output<Infallible, Infallible> {
        self.out.pop_front().unwrap_or(Output::Wait(None))
    }
}

struct Nobody;

impl Host<Answer> for Nobody {
    async fn ask(&mut self, question: Infallible) -> Infallible {
        question
    }

    async fn event(&mut self, event: Infallible) {
        match event {}
    }

    async fn command(&mut self) -> Infallible {
        std::future::pending().await
    }

    async fn closed(&mut self) {}
}

/// Serves a document at a path, with these certificates.
pub(crate) async fn serve(tls: Arc<TlsHosts>, path: &str, text: String) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let page = (path.to_owned(), text);
    let task = tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            let answer = Answer { page: page.clone(), asked: Vec::new(), out: VecDeque::new() };
            let options = Options {
                security: Security::Server(Arc::clone(&tls)),
                direct_tls: true,
                ..Options::new(Arc::new(Settings::new(Clock::start(), Arc::default())))
            };
            tokio::spawn(drive(io, answer, Nobody, options));
        }
    });
    (address, task)
}
