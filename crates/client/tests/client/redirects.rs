//! `<see-other-host/>` (RFC 6120 §4.9.3.19): S0-30 to S0-32.

use std::sync::Arc;
use std::time::Duration;

use nuncio_client::{
    Client, ClientConfig, Decision, Disconnected, LoginError, Reason, Refusal, Server, Start, Why,
};
use tokio::time::timeout;

use crate::fake::{Certificates, DOMAIN, EVIL, Fake, Names, PATIENCE, config, connect, raw};

fn header() -> String {
    format!(
        "<?xml version='1.0'?><stream:stream from='{DOMAIN}' id='x1' version='1.0' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams'>"
    )
}

fn see_other(host: &str) -> String {
    format!(
        "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>{host}</see-other-host></stream:error>\
         </stream:stream>"
    )
}

async fn refused(config: ClientConfig) -> Disconnected {
    match timeout(PATIENCE, Client::connect(config)).await.expect("in time") {
        Err(LoginError::Disconnected(end)) => *end,
        other => panic!("{other:?}"),
    }
}

/// S0-32: who has not proven its identity sends nobody anywhere. Case (a), before TLS.
#[tokio::test]
async fn a_redirect_in_clear_is_not_followed() {
    let certificates = Certificates::new();
    let evil = Fake::start(certificates.hosts(EVIL), Start::Tcp).await;
    let (address, _) = raw(vec![("<stream:stream", header() + &see_other(&evil.address.to_string()))]).await;
    let end = refused(config(&certificates, address)).await;
    let refusal = Decision::Refuse(Refusal::Unauthenticated);
    assert!(matches!(end.why, Why::Stream(Reason::Redirected(decision)) if decision == refusal));
    assert!(!end.may_retry);
    assert_eq!(evil.world.lock().unwrap().connections, 0);
}

/// S0-31, case (a), inside TLS: the certificate must still be for the account's domain, though evil.example has a good one of its own.
#[tokio::test]
async fn a_redirect_changes_no_reference_identifier() {
    let certificates = Certificates::new();
    let good = Fake::start(certificates.hosts(DOMAIN), Start::Tcp).await;
    let evil = Fake::start(certificates.hosts(EVIL), Start::Tcp).await;
    for target in [evil.address.to_string(), format!("{EVIL}:{}", evil.address.port()), EVIL.to_owned()] {
        good.world.lock().unwrap().redirect = Some(target.clone());
        let resolver = Arc::new(Names::one(EVIL, evil.address, Start::Tcp));
        let config = ClientConfig { resolver, ..config(&certificates, good.address) };
        let end = refused(config).await;
        assert!(
            matches!(&end.why, Why::Identity(error) if error.code() == "name-mismatch"),
            "{target}: {:?}",
            end.why
        );
        assert!(!end.may_retry);
    }
    let evil = evil.world.lock().unwrap();
    assert_eq!(evil.connections, 3);
    // Nothing was said to it inside TLS, and the name asked for was the account's domain.
    assert!(evil.to.is_empty());
    assert!(evil.names.iter().all(|name| name.as_deref() == Some(DOMAIN)));
}

/// S0-32, case (b): a loop is left after five.
#[tokio::test]
async fn a_loop_of_redirects_ends() {
    let certificates = Certificates::new();
    let tls = certificates.hosts(DOMAIN);
    let one = Fake::start(Arc::clone(&tls), Start::Tcp).await;
    let two = Fake::start(tls, Start::Tcp).await;
    one.world.lock().unwrap().redirect = Some(two.address.to_string());
    two.world.lock().unwrap().redirect = Some(one.address.to_string());
    let end = refused(config(&certificates, one.address)).await;
    let refusal = Decision::Refuse(Refusal::TooMany);
    assert!(matches!(end.why, Why::Stream(Reason::Redirected(decision)) if decision == refusal));
    let (one, two) = (one.world.lock().unwrap().connections, two.world.lock().unwrap().connections);
    assert_eq!((one, two), (3, 3), "the first and five redirects");
}

/// S0-31, case (c): a redirect does not lower the TLS policy.
#[tokio::test]
async fn a_redirect_does_not_lower_the_policy() {
    let certificates = Certificates::new();
    let good = Fake::start(certificates.hosts(DOMAIN), Start::Tcp).await;
    let plain = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism>\
         <mechanism>SCRAM-SHA-256</mechanism></mechanisms></stream:features>";
    let refusal = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>";
    let (address, mut heard) =
        raw(vec![("<stream:stream", header() + plain), ("<starttls", refusal.to_owned())]).await;
    good.world.lock().unwrap().redirect = Some(address.to_string());
    let mut config = config(&certificates, good.address);
    config.policy.mechanisms = nuncio_client::Mechanism::ALL.to_vec();
    let end = refused(config).await;
    assert!(matches!(end.why, Why::Stream(Reason::NoTls)), "{:?}", end.why);
    let heard = timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();
    assert!(heard.contains("<starttls") && !heard.contains("<auth") && !heard.contains("juliet"), "{heard}");
}

/// Direct TLS stays direct TLS: to somebody who speaks XMPP in clear nothing but a ClientHello is said.
#[tokio::test]
async fn direct_tls_stays_direct() {
    let certificates = Certificates::new();
    let good = Fake::start(certificates.hosts(DOMAIN), Start::DirectTls).await;
    let (address, mut heard) = raw(vec![("", header())]).await;
    good.world.lock().unwrap().redirect = Some(address.to_string());
    let end = refused(ClientConfig { start: Start::DirectTls, ..config(&certificates, good.address) }).await;
    assert!(matches!(end.why, Why::Tls(_)), "{:?}", end.why);
    let heard = timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();
    assert!(heard.starts_with('\u{16}') && !heard.contains("stream"), "{heard:?}");
}

/// S0-30, case (d): a good redirect, to another port of the same address and to a name, is followed; `to` and the server name stay.
#[tokio::test]
async fn a_good_redirect_is_followed() {
    let certificates = Certificates::new();
    for start in [Start::Tcp, Start::DirectTls] {
        let tls = certificates.hosts(DOMAIN);
        let one = Fake::start(Arc::clone(&tls), start).await;
        let two = Fake::start(tls, start).await;
        for target in [two.address.to_string(), "other.example".to_owned()] {
            one.world.lock().unwrap().redirect = Some(target);
            let resolver = Arc::new(Names::one("other.example", two.address, start));
            let session =
                connect(ClientConfig { start, resolver, ..config(&certificates, one.address) }).await;
            assert_eq!(session.jid().unwrap().domain(), DOMAIN);
        }
        let two = two.world.lock().unwrap();
        assert_eq!(two.connections, 2);
        assert!(two.to.iter().all(|to| to.as_deref() == Some(DOMAIN)) && !two.to.is_empty());
        assert!(two.names.iter().all(|name| name.as_deref() == Some(DOMAIN)) && two.names.len() == 2);
    }
}

/// A host that is not there is told as such, and may be tried again.
#[tokio::test]
async fn no_connection() {
    let certificates = Certificates::new();
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let settings = config(&certificates, address);
    let end = refused(settings.clone()).await;
    assert!(matches!(end.why, Why::Connect(_)) && end.may_retry, "{:?}", end.why);
    let server = Server::Host("nowhere.example".to_owned(), None);
    let end = refused(ClientConfig { server, resolver: Arc::new(Names::default()), ..settings }).await;
    assert!(matches!(end.why, Why::Connect(_)), "{:?}", end.why);
}

/// A connection that breaks during the handshake says nothing about the server; trying again makes sense.
#[tokio::test]
async fn a_broken_handshake_may_be_tried_again() {
    let certificates = Certificates::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let end = refused(ClientConfig { start: Start::DirectTls, ..config(&certificates, address) }).await;
    assert!(matches!(end.why, Why::Stream(Reason::Lost)) && end.may_retry, "{:?}", end.why);
}

/// Negotiation that does not come to its end is given up.
#[tokio::test]
async fn a_silent_server_is_given_up() {
    let certificates = Certificates::new();
    let (address, _heard) = raw(vec![("<stream:stream", header())]).await;
    let negotiation = Duration::from_millis(200);
    let end = refused(ClientConfig { negotiation, ..config(&certificates, address) }).await;
    assert!(matches!(end.why, Why::Stream(Reason::Slow)) && end.may_retry, "{:?}", end.why);
}
