//! Web servers that behave, and others (RFC 7711 §10, §11).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nuncio_dna::posh::{FetchFailure, MAX_DOCUMENT};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::toy::Made;
use crate::dns::{DnsConfig, Resolver};
use crate::https::{Https, HttpsConfig};
use crate::tls::{Roots, provider};

/// A web server: what `answer` makes of a path is sent as it is; nothing is silence.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Web {
    pub(crate) async fn start(
        made: &Made,
        answer: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        let read = |file| std::fs::read(file).unwrap();
        let chain = CertificateDer::pem_slice_iter(&read(&made.ca.chain)).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(&read(&made.ca.key)).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
                tokio::spawn(async move {
                    let Ok(mut io) = acceptor.accept(io).await else { return };
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let mut byte = [0];
                        if io.read_exact(&mut byte).await.is_err() {
                            return;
                        }
                        head.push(byte[0]);
                    }
                    let head = String::from_utf8(head).unwrap();
                    let path = head.split(' ').nth(1).unwrap();
                    match answer(path) {
                        Some(bytes) => drop((io.write_all(&bytes).await, io.shutdown().await)),
                        None => std::future::pending().await,
                    }
                });
            }
        });
        Self { address, task }
    }
}

pub(crate) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn status(status: u16, fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} x\r\n{fields}content-length: 0\r\n\r\n").into_bytes()
}

pub(crate) fn config(made: &Made, port: u16) -> HttpsConfig {
    HttpsConfig {
        roots: Roots::Files(vec![made.ca.authority.clone()]),
        timeout: Duration::from_secs(10),
        allow: vec![("127.0.0.0".parse().unwrap(), 8)],
        port,
        ..HttpsConfig::default()
    }
}

fn client(config: HttpsConfig) -> Https {
    Https::new(Resolver::with(DnsConfig::default()), config).unwrap()
}

/// RFC 7711 §3, §10: what is a document, what is a failure and of which kind.
#[tokio::test]
async fn s3_17_documents_are_retrieved_within_bounds() {
    let made = Made::new("a.example");
    let web = Web::start(&made, |path| {
        Some(match path {
            "/ok" => ok("{}"),
            "/chunks" => {
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n".to_vec()
            }
            "/largest" => ok(&"x".repeat(MAX_DOCUMENT)),
            "/large" => ok(&"x".repeat(MAX_DOCUMENT + 1)),
            "/endless" => [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 1 << 20]].concat(),
            "/head" => [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 1 << 20]].concat(),
            "/cut" => b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx".to_vec(),
            "/noise" => b"nonsense".to_vec(),
            "/gone" => status(410, ""),
            "/forbidden" => status(403, ""),
            "/broken" => status(503, ""),
            "/nowhere" => status(302, ""),
            "/away" => status(301, "location: /ok#x\r\n"),
            "/three" => status(302, "location: two\r\n"),
            "/two" => status(307, "location: /away\r\n"),
            "/four" => status(308, "location: /three\r\n"),
            "/loop" => status(303, "location: /loop\r\n"),
            "/plain" => status(302, "location: http://localhost/ok\r\n"),
            "/number" => status(302, "location: https://127.0.0.1/ok\r\n"),
            "/odd" => status(302, "location: https://user@localhost/ok\r\n"),
            _ => return None,
        })
    })
    .await;
    let port = web.address.port();
    let https = client(HttpsConfig { timeout: Duration::from_secs(3), ..config(&made, port) });
    for (path, expected, redirects) in [
        ("/ok", Ok(2), 0),
        ("/chunks", Ok(2), 0),
        ("/largest", Ok(MAX_DOCUMENT), 0),
        ("/large", Err(FetchFailure::TooLarge), 0),
        ("/endless", Err(FetchFailure::TooLarge), 0),
        ("/head", Err(FetchFailure::Unreachable), 0),
        ("/cut", Err(FetchFailure::Unreachable), 0),
        ("/noise", Err(FetchFailure::Unreachable), 0),
        ("/gone", Err(FetchFailure::NotFound), 0),
        ("/forbidden", Err(FetchFailure::Status(403)), 0),
        ("/broken", Err(FetchFailure::Status(503)), 0),
        ("/nowhere", Err(FetchFailure::Status(302)), 0),
        ("/away", Ok(2), 1),
        ("/three", Ok(2), 3),
        ("/four", Err(FetchFailure::TooManyRedirects), 3),
        ("/loop", Err(FetchFailure::TooManyRedirects), 3),
        ("/plain", Err(FetchFailure::NotHttps), 1),
        ("/number", Err(FetchFailure::NotHttps), 1),
        ("/odd", Err(FetchFailure::NotHttps), 1),
        ("/silence", Err(FetchFailure::Timeout), 0),
    ] {
        let url = format!("https://localhost:{port}{path}");
        let got = https.retrieve(&url).await;
        assert_eq!(got.outcome.map(|body| body.len()), expected, "{path}");
        assert_eq!((got.url, got.redirects.len()), (url, redirects), "{path}");
    }
    assert_eq!(
        https.retrieve("https://localhost/ok").await.outcome,
        Ok(b"{}".to_vec()),
        "the port is the configured one"
    );
}

/// RFC 2818, RFC 7711 §11: the web server must be who it is asked for, and on the Internet.
#[tokio::test]
async fn s3_17_only_public_servers_that_prove_their_name() {
    let (made, other) = (Made::new("a.example"), Made::new("a.example"));
    let web = Web::start(&made, |_| Some(ok("{}"))).await;
    let port = web.address.port();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let good = config(&made, port);
    for (config, host, expected) in [
        (good.clone(), "localhost", Ok(b"{}".to_vec())),
        (good.clone(), "x.localhost", Err(FetchFailure::Untrusted)),
        (config(&other, port), "localhost", Err(FetchFailure::Untrusted)),
        (HttpsConfig { allow: Vec::new(), ..good.clone() }, "localhost", Err(FetchFailure::PrivateAddress)),
        (HttpsConfig { port: nobody, ..good.clone() }, "localhost", Err(FetchFailure::Unreachable)),
        (good, "x.invalid", Err(FetchFailure::Unreachable)),
    ] {
        assert_eq!(client(config).retrieve(&format!("https://{host}/")).await.outcome, expected, "{host}");
    }
}
