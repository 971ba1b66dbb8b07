//! The routes of operation, byte for byte.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::toy::PATIENCE;
use crate::http::{HttpLimits, HttpServer, Reply, Routes};

async fn server(limits: HttpLimits) -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
    let mut registry = Registry::default();
    let counter: Counter = Counter::default();
    counter.inc();
    registry.register("things", "Things", counter);
    let registry = Arc::new(registry);
    let routes = Routes::new()
        .get("/healthz", || async { Reply::text(200, "ok") })
        .get("/stuck", || async { std::future::pending().await })
        .get("/metrics", move || {
            let registry = Arc::clone(&registry);
            async move { Reply::metrics(&registry) }
        });
    let server = HttpServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.address();
    let task = tokio::spawn(async move {
        server.serve(routes, limits).await;
    });
    (address, task)
}

async fn say(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn routes_answer() {
    let (address, _task) = server(HttpLimits::default()).await;
    let end = "HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for (request, status, has) in [
        ("GET /healthz", "200 OK", "\r\n\r\nok\n"),
        ("GET /healthz?x=1", "200 OK", "\r\n\r\nok\n"),
        ("HEAD /healthz", "200 OK", "content-length: 3\r\n"),
        ("GET /metrics", "200 OK", "things_total 1\n# EOF\n"),
        (
            "GET /metrics",
            "200 OK",
            "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n",
        ),
        ("GET /else", "404 Not Found", "not found\n"),
        ("POST /healthz", "405 Method Not Allowed", "allow: GET, HEAD\r\n"),
    ] {
        let answer = say(address, &format!("{request} {end}")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request}: {answer}");
        assert!(answer.contains(has), "{request}: {answer}");
    }
    assert!(!say(address, &format!("HEAD /healthz {end}")).await.contains("ok\n"));
}

#[tokio::test]
async fn limits_end_what_is_slow_or_big() {
    let limits = HttpLimits {
        head_time: Duration::from_millis(50),
        handling: Duration::from_millis(50),
        ..HttpLimits::default()
    };
    let (address, _task) = server(limits).await;
    // A head that never ends: the connection does.
    let answer = say(address, "GET /healthz HTTP/1.1\r\nHost: local").await;
    assert!(!answer.contains("200"), "{answer}");
    let answer = say(address, "GET /stuck HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let big = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(7000));
    assert!(say(address, &big).await.starts_with("HTTP/1.1 200"), "below the limit");
    let many = "a: b\r\n".repeat(65);
    let answer = say(address, &format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}
