//! Listeners and their budget.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::toy::PATIENCE;
use crate::listen::network_of;
use crate::{Budget, BudgetLimits, Listener, NetMetrics, Rate};

fn budget(limits: BudgetLimits) -> (Budget, Arc<NetMetrics>) {
    let metrics = Arc::new(NetMetrics::default());
    (Budget::new(limits, Arc::clone(&metrics)), metrics)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn addresses_are_budgeted_by_network() {
    for (one, other, same) in [
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("192.0.2.1", "::ffff:192.0.2.1", true),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
    ] {
        assert_eq!(network_of(ip(one)) == network_of(ip(other)), same, "{one} {other}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_budget_refuses_by_its_name_and_gives_back() {
    let limits = BudgetLimits {
        total: 5,
        per_network: 3,
        unauthenticated_per_network: 2,
        rate_per_network: Rate { per_second: 1, burst: 4 },
        rate: Rate::UNLIMITED,
    };
    let (budget, metrics) = budget(limits);
    let (here, there) = (ip("192.0.2.1"), ip("2001:db8::1"));
    let mut held = vec![budget.admit(here).unwrap(), budget.admit(here).unwrap()];
    assert_eq!(budget.admit(here).unwrap_err(), "unauthenticated_per_network");
    held[0].authenticated();
    held[0].authenticated();
    held.push(budget.admit(here).unwrap());
    assert_eq!(budget.admit(here).unwrap_err(), "connections_per_network");
    held.push(budget.admit(there).unwrap());
    held.push(budget.admit(ip("2001:db8:0:0:1::")).unwrap());
    assert_eq!(budget.open(), 5);
    assert_eq!(budget.admit(ip("192.0.2.9")).unwrap_err(), "connections");
    drop(held);
    assert_eq!(budget.open(), 0);
    // One of the four is left; then it takes a second for each.
    let last = budget.admit(here).unwrap();
    last.authenticated();
    assert_eq!(budget.admit(here).unwrap_err(), "connection_rate_per_network");
    tokio::time::advance(std::time::Duration::from_millis(1100)).await;
    budget.admit(here).unwrap();
    for name in [
        "unauthenticated_per_network",
        "connections_per_network",
        "connections",
        "connection_rate_per_network",
    ] {
        assert_eq!(metrics.budget_hits(name), 1, "{name}");
    }
}

#[tokio::test]
async fn a_listener_has_many_addresses_and_refuses_by_closing() {
    let limits = BudgetLimits { per_network: 2, ..BudgetLimits::default() };
    let (budget, metrics) = budget(limits);
    let wanted: [SocketAddr; 2] = ["127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()];
    let mut listener = Listener::bind("toy", &wanted, 128, budget).unwrap();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let scrape = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    };
    let fresh = scrape();
    for row in [
        "connections{listener=\"c2s\"}",
        "accepted_total{listener=\"c2s_tls\"}",
        "refused_total{reason=\"connections_per_network\"}",
        "budget_hits_total{budget=\"connections\"}",
        "budget_hits_total{budget=\"write_stall\"}",
        "tls_handshakes_total{version=\"1.3\",result=\"resumed\"}",
        "tls_handshakes_total{version=\"none\",result=\"timeout\"}",
        "transferred_bytes_total{direction=\"in\"}",
    ] {
        assert!(fresh.contains(&format!("net_{row} 0\n")), "{row}: {fresh}");
    }
    let real = listener.addresses().to_vec();
    assert!(real.iter().all(|address| address.port() != 0) && real[0] != real[1]);

    let _one = TcpStream::connect(real[0]).await.unwrap();
    let first = timeout(PATIENCE, listener.accept()).await.unwrap();
    assert_eq!(first.local, real[0]);
    let _two = TcpStream::connect(real[1]).await.unwrap();
    let second = timeout(PATIENCE, listener.accept()).await.unwrap();
    assert_eq!(second.local, real[1]);

    let mut three = TcpStream::connect(real[0]).await.unwrap();
    let mut buffer = [0; 1];
    let end = tokio::select! {
        _third = listener.accept() => panic!("a third was accepted"),
        end = timeout(PATIENCE, three.read(&mut buffer)) => end.unwrap(),
    };
    assert!(matches!(end, Ok(0) | Err(_)), "it is closed");
    assert_eq!(metrics.budget_hits("connections_per_network"), 1);

    drop(first);
    let _four = TcpStream::connect(real[0]).await.unwrap();
    let fourth = timeout(PATIENCE, listener.accept()).await.unwrap();
    drop((second, fourth));
    let text = scrape();
    assert!(text.contains("net_accepted_total{listener=\"toy\"} 3"), "{text}");
    assert!(text.contains("net_connections{listener=\"toy\"} 0"), "{text}");
    assert!(text.contains("net_refused_total{reason=\"connections_per_network\"} 1"), "{text}");
}

#[test]
fn what_cannot_be_bound_is_named() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let (budget, _) = budget(BudgetLimits::default());
    let first = Listener::bind("toy", &["127.0.0.1:0".parse().unwrap()], 16, budget.clone()).unwrap();
    let taken = first.addresses()[0];
    let error = Listener::bind("toy", &[taken], 16, budget).unwrap_err();
    assert_eq!(error.address, taken);
    assert!(error.to_string().starts_with(&format!("cannot listen on {taken}: ")), "{error}");
}
