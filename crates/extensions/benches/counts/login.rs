//! SASL at the server. The keys are at hand: PBKDF2 is the client's work.

use nuncio_router::stream::sasl::client::{
    Context as ClientContext, Credentials, Exchange as ClientExchange, Policy as ClientPolicy,
};
use nuncio_router::stream::sasl::server::{Answer, Context, Exchange, Lookup, Policy, Record, Step};
use nuncio_router::stream::sasl::{Binding, Hash, Keys};
use nuncio_sansio::pair::{Counter, facts};
use nuncio_xmpp::jid::BareJid;

/// What the server is told at each step: the same every time, since its nonce is.
struct Client {
    mechanism: &'static str,
    first: Vec<u8>,
    last: Vec<u8>,
}

/// One exchange. The last message is made from the challenge.
fn exchange(
    mechanism: &str,
    first: &[u8],
    context: Context,
    record: &Record,
    last: impl FnOnce(&[u8]) -> Vec<u8>,
) {
    let mut last = Some(last);
    let (mut exchange, mut step) = Exchange::start(mechanism, Some(first), context, &Counter::default());
    loop {
        step = match step {
            Step::Need(Lookup::Scram { .. }) => exchange.answer(Answer::Scram(Ok(record.clone()))),
            Step::Need(Lookup::Login { .. }) => exchange.answer(Answer::Login(Ok(()))),
            Step::Challenge(challenge) => exchange.respond(&last.take().unwrap()(&challenge)),
            Step::Done(done) => {
                assert_eq!(done.authenticated.channel_binding(), Some("tls-exporter"));
                return;
            }
            Step::Need(_) | Step::Fail(_) => panic!("not expected: {step:?}"),
        };
    }
}

pub(crate) fn scram(times: u64) {
    let keys = Keys::derive(Hash::Sha256, "secret", b"pepper and salt.", 1).unwrap();
    let record = Record { keys, account: Some(BareJid::new("juliet@shakespeare.example").unwrap()) };
    let bindings = Binding::of(&facts());
    let policy = Policy { scram: vec![Hash::Sha256], plain: true, external: false };
    let offer = policy.offer(true, &bindings);
    let context = Context::new("shakespeare.example".to_owned(), true, bindings.clone(), offer.clone());
    let insists = ClientPolicy { minimum_iterations: 1, ..ClientPolicy::default() };
    let knows = ClientContext { encrypted: true, bindings, offer, policy: insists };
    let credentials = Credentials::password("juliet", "secret");
    let (mut client, start) = ClientExchange::start(&credentials, knows, &Counter::default()).unwrap();
    let mut told =
        Client { mechanism: start.mechanism.as_str(), first: start.initial.to_vec(), last: Vec::new() };
    exchange(told.mechanism, &told.first, context.clone(), &record, |challenge| {
        told.last = client.challenge(challenge).unwrap();
        told.last.clone()
    });
    for _ in 0..times {
        exchange(told.mechanism, &told.first, context.clone(), &record, |_| told.last.clone());
    }
}
