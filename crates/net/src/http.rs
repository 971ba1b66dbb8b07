//! The few GET routes of operation over HTTP/1.1: metrics, health. Meant for loopback or a network of the operator's own.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::listen::BindError;

/// The content type of OpenMetrics text.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of plain text.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// Where the server listens unless told otherwise: loopback, port 5280.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5280);

/// The answer of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status code, 100 to 999; another one becomes 500.
    pub status: u16,
    /// The content type.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// Plain text, and a line end.
    #[must_use]
    pub fn text(status: u16, text: &str) -> Self {
        Self { status, content_type: TEXT, body: Bytes::from(format!("{text}\n")) }
    }

    /// All metrics of a registry as OpenMetrics text.
    #[must_use]
    pub fn metrics(registry: &Registry) -> Self {
        let mut body = String::new();
        match prometheus_client::encoding::text::encode(&mut body, registry) {
            Ok(()) => Self { status: 200, content_type: OPENMETRICS, body: body.into() },
            Err(_) => Self::text(500, "the metrics cannot be written"),
        }
    }
}

type Handling = Pin<Box<dyn Future<Output = Reply> + Send>>;
type Handler = Box<dyn Fn() -> Handling + Send + Sync>;

/// Routes by exact path. Queries are ignored. HEAD is served as GET without its body.
#[derive(Default)]
pub struct Routes {
    by_path: BTreeMap<&'static str, Handler>,
}

impl Routes {
    /// No route.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves `path` by what `handler` returns. A path given twice is the later one's.
    #[must_use]
    pub fn get<F, R>(mut self, path: &'static str, handler: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        self.by_path.insert(path, Box::new(move || Box::pin(handler())));
        self
    }

    async fn answer(&self, request: &Request<Incoming>, limits: &HttpLimits) -> Response<Full<Bytes>> {
        let handler = self.by_path.get(request.uri().path());
        let reply = match handler {
            None => Reply::text(404, "not found"),
            Some(_) if request.method() != Method::GET && request.method() != Method::HEAD => {
                Reply::text(405, "only GET and HEAD")
            }
            Some(handler) => timeout(limits.handling, handler())
                .await
                .unwrap_or_else(|_| Reply::text(503, "this took too long")),
        };
        let mut response = Response::new(Full::new(reply.body));
        *response.status_mut() =
            StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if reply.status == 405 {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

/// What a request may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Connections at once; more wait in the system's backlog.
    pub connections: usize,
    /// How long a request's head may take to arrive, idle time on a kept connection included.
    pub head_time: Duration,
    /// How many bytes a request's head may have. At least 8192.
    pub head_bytes: usize,
    /// How many header fields.
    pub headers: usize,
    /// How long a route may take.
    pub handling: Duration,
    /// How long a connection may last.
    pub connection_time: Duration,
}

impl Default for HttpLimits {
    /// 64 connections, 10 s and 8 KiB and 64 fields for a head, 10 s to answer, 5 minutes for a connection.
    fn default() -> Self {
        Self {
            connections: 64,
            head_time: Duration::from_secs(10),
            head_bytes: 8192,
            headers: 64,
            handling: Duration::from_secs(10),
            connection_time: Duration::from_secs(300),
        }
    }
}

/// A bound HTTP server.
#[derive(Debug)]
pub struct HttpServer {
    socket: TcpListener,
    address: SocketAddr,
}

impl HttpServer {
    /// Binds; port 0 picks one.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let bound = TcpListener::bind(address).await.and_then(|socket| Ok((socket.local_addr()?, socket)));
        let (address, socket) = bound.map_err(|source| BindError { address, source })?;
        Ok(Self { socket, address })
    }

    /// The address, with its real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is dropped; then its connections end too.
    pub async fn serve(self, routes: Routes, limits: HttpLimits) -> Infallible {
        let routes = Arc::new(routes);
        let places = Arc::new(Semaphore::new(limits.connections.max(1)));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                // Nobody closes the semaphore.
                continue;
            };
            let stream = match self.socket.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an HTTP connection; resting");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let routes = Arc::clone(&routes);
            connections.spawn(async move {
                let _place = place;
                let service = service_fn(|request| {
                    let routes = Arc::clone(&routes);
                    async move { Ok::<_, Infallible>(routes.answer(&request, &limits).await) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(limits.head_time)
                    .max_buf_size(limits.head_bytes.max(8192))
                    .max_headers(limits.headers)
                    .serve_connection(TokioIo::new(stream), service);
                match timeout(limits.connection_time, connection).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection ended badly"),
                    Err(_) => tracing::debug!("an HTTP connection took too long"),
                }
            });
        }
    }
}
