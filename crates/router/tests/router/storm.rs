//! Many clients at once on several threads: nothing is lost, nothing overtakes, nobody waits for ever (RFC 6120 §10.1, invariants 8 and 23).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Client, add, body, server_with};
use nuncio_router::{Router, RouterConfig};
use nuncio_store::Store;
use tokio::sync::Barrier;

const ACCOUNTS: usize = 8;
const MESSAGES: usize = 150;

fn name(account: usize) -> String {
    format!("user{account}")
}

/// Sends to everybody in turn, changes presence meanwhile, and reads until it has everything that is for it.
async fn live(router: Arc<Router>, me: usize, ready: Arc<Barrier>) -> BTreeMap<String, Vec<usize>> {
    let mut client = Client::online(&router, &name(me), "only").await;
    if me.is_multiple_of(2) {
        client.enable().await;
    }
    ready.wait().await;
    let mut got: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut read = 0_u32;
    let mut count = 0;
    let mut take = |stanza: &str| {
        let from = stanza.split("from='").nth(1).and_then(|rest| rest.split('@').next()).unwrap_or_default();
        if let Some(number) = body(stanza).and_then(|body| body.parse().ok()) {
            got.entry(from.to_owned()).or_default().push(number);
            count += 1;
        }
        count
    };
    for number in 0..MESSAGES {
        for other in 0..ACCOUNTS {
            let to = name(other);
            client
                .send(&format!("<message to='{to}@localhost' type='chat'><body>{number}</body></message>"))
                .await;
        }
        if number.is_multiple_of(10) {
            client.send("<presence><status>busy</status></presence>").await;
            let to = name((me + 1) % ACCOUNTS);
            client.send(&format!("<presence to='{to}@localhost'/>")).await;
        }
        for stanza in client.drain().await {
            read += 1;
            take(&stanza);
        }
        if me.is_multiple_of(2) {
            client.ack(read).await;
        }
    }
    while take("") < MESSAGES * ACCOUNTS {
        if let Some(stanza) = client.next().await {
            take(&stanza);
        }
    }
    assert_eq!(client.handled, client.number);
    ready.wait().await;
    client.leave().await;
    got
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_keep_their_order() {
    let mut config = RouterConfig::default();
    config.limits.stanzas_per_second = 10_000_000;
    config.limits.bytes_per_second = 2_000_000_000;
    config.limits.queue_stanzas = 100_000;
    config.limits.queue_bytes = 1 << 30;
    let router = server_with(config, Store::memory(), &[]).await;
    let names: Vec<_> = (0..ACCOUNTS).map(name).collect();
    add(&router, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let ready = Arc::new(Barrier::new(ACCOUNTS));
    let lives: Vec<_> =
        (0..ACCOUNTS).map(|me| tokio::spawn(live(Arc::clone(&router), me, Arc::clone(&ready)))).collect();
    for life in lives {
        let got = tokio::time::timeout(Duration::from_secs(60), life).await.unwrap().unwrap();
        assert_eq!(got.len(), ACCOUNTS);
        for (from, numbers) in got {
            assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>(), "from {from}");
        }
    }
    router.quiet().await;
    assert_eq!(router.metrics().sessions.get(), 0);
}
