//! Domains that refuse a kind of stanza as a whole.

use nuncio_router::{DomainConfig, Refusable, RouterConfig};
use nuncio_store::Store;

use crate::common::{Client, add, server_with};

/// S0-25, RFC 6120 §8.3.3.10: a presence-only service answers a message with `not-allowed`, type `cancel`, and delivers nothing.
#[tokio::test(start_paused = true)]
async fn a_presence_only_domain_does_not_allow_messages() {
    let domain = DomainConfig {
        name: "localhost".to_owned(),
        refuse: vec![Refusable::Messages],
        ..DomainConfig::default()
    };
    let config = RouterConfig { domains: vec![domain], ..RouterConfig::default() };
    let router = server_with(config, Store::memory(), &[]).await;
    add(&router, &["juliet", "romeo"]).await;
    let mut juliet = Client::online(&router, "juliet", "balcony").await;
    let mut romeo = Client::online(&router, "romeo", "orchard").await;
    for to in ["romeo@localhost", "romeo@localhost/orchard", "nobody@localhost"] {
        juliet.send(&format!("<message to='{to}' id='m'><body>x</body></message>")).await;
        let got = juliet.one().await;
        assert!(got.contains("<not-allowed") && got.contains("type='cancel'"), "{got}");
    }
    juliet.send("<message to='romeo@localhost' type='error' id='m'><body>x</body></message>").await;
    juliet.send("<presence to='romeo@localhost'/>").await;
    let got = romeo.one().await;
    assert!(got.starts_with("<presence"), "presence passes, and nothing else came: {got}");
    assert_eq!(juliet.drain().await, [] as [&str; 0]);
}
