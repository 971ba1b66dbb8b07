//! `nuncio check`: what this server thinks of another domain, step by step, and what the other will think of us.
//!
//! It finds, connects, collects and judges by the code that the server does it with ([`crate::mind`]), on streams of its own that carry nothing.

mod advice;
mod probe;
mod report;

use std::sync::Arc;
use std::time::Duration;

use nuncio_dna::{CertificateDer, Direction, Evidence, Judgement, Policy, Time, Tls, judge};
use nuncio_net::evidence::{Step, steps};
use nuncio_net::{Clock, Collector, NetMetrics, TlsHosts, Wants};
use nuncio_sansio::Entropy;
use nuncio_stream::s2s::Pair;

use crate::config::FederationConfig;
use crate::failure::Failure;
use crate::mind::{self, Mind, Now};

pub use advice::advice;
pub use probe::Server;

/// Servers of one domain that are called.
const SERVERS: usize = 8;

/// What a check is made with.
pub struct CheckParts {
    /// The server's configuration.
    pub config: FederationConfig,
    /// The certificates of our domains, as servers show them to each other.
    pub tls: Arc<TlsHosts>,
    /// The chain that is shown for our domain of the pair, its own certificate first. Empty where there is none to show.
    pub chain: Vec<CertificateDer<'static>>,
    /// Whom others may trust, in words, and the policy of one who does: first the public authorities.
    pub others: Vec<(String, Policy)>,
    /// Where ids come from.
    pub entropy: Arc<dyn Entropy>,
    /// The clock of the connections.
    pub clock: Clock,
    /// What asks DNS and web servers.
    pub collector: Collector,
    /// What connections count.
    pub net: Arc<NetMetrics>,
    /// Whether this server talks to others at all.
    pub enabled: bool,
    /// The time by which certificates and documents are judged.
    pub now: fn() -> Time,
    /// How long one server may take, from connecting to the end.
    pub within: Duration,
}

impl Now for CheckParts {
    fn now(&self) -> Time {
        (self.now)()
    }
}

/// What was found out about a domain.
pub struct Report {
    /// Our domain and theirs.
    pub pair: Pair,
    /// The policy that counts for them.
    pub policy: String,
    /// Why no DNS answer can be validated here, if none can.
    pub validation: Option<String>,
    /// The questions that were asked to find their servers, with the answers.
    pub steps: Vec<Step>,
    /// Their servers, in the order in which this server would try them.
    pub servers: Vec<Server>,
    /// What they can prove about us.
    pub us: Option<Us>,
    /// What it comes to.
    pub verdict: Verdict,
}

/// What others can prove about our domain.
pub struct Us {
    /// What was asked about our domain, with the answers.
    pub steps: Vec<Step>,
    /// Whether there is a certificate to show.
    pub certificate: bool,
    /// Whom a server trusts, in words, and what it then makes of our certificate. Never empty.
    pub judgements: Vec<(String, Judgement)>,
}

/// What it comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This server would send to them.
    Accepted {
        /// How, in a line.
        text: String,
    },
    /// It would not.
    Refused {
        /// The one cause: a code of `nuncio_dna::Reason`, or of this crate.
        code: String,
        /// In words.
        text: String,
        /// What would mend it.
        advice: &'static str,
    },
}

impl Verdict {
    fn refused(failure: &Failure) -> Self {
        Self::Refused {
            code: failure.code.clone(),
            text: failure.text.clone(),
            advice: advice(&failure.code),
        }
    }

    /// Whether this server would send to them.
    #[must_use]
    pub const fn is_accepted(&self) -> bool {
        matches!(self, Self::Accepted { .. })
    }
}

/// Checks a domain as if there were a stanza for it. Always ends.
pub async fn check(parts: &CheckParts, pair: Pair) -> Report {
    let mind = Mind {
        config: &parts.config,
        policy: Arc::new(parts.config.policy.clone()),
        collector: &parts.collector,
        clock: parts,
    };
    let mut report = Report {
        policy: String::new(),
        validation: parts.collector.resolver().check_validation().await.err().map(|error| error.to_string()),
        steps: Vec::new(),
        servers: Vec::new(),
        us: None,
        verdict: Verdict::refused(&Failure::passing("unreachable", "none of its servers was reached")),
        pair,
    };
    let claim = match mind::claim(&report.pair, Direction::Out) {
        Ok(claim) => claim,
        Err(failure) => {
            report.verdict = Verdict::refused(&failure);
            return report;
        }
    };
    report.policy = mind.policy.rule(&claim.remote).require.to_string();
    let found = mind.route(&report.pair.remote, &claim.remote).await;
    report.steps = found.steps;
    let (servers, us) = tokio::join!(
        async {
            match found.servers {
                Ok(targets) => {
                    let calls = targets.into_iter().take(SERVERS);
                    Ok(join_all(calls.map(|target| probe::call(parts, &mind, &report.pair, target))).await)
                }
                Err(failure) => Err(failure),
            }
        },
        about_us(parts, &report.pair)
    );
    report.us = us;
    report.verdict = match (servers, mind.may_speak(&report.pair.remote, Direction::Out)) {
        (_, Err(failure)) => Verdict::refused(&failure),
        (Err(failure), _) => Verdict::refused(&failure),
        (Ok(servers), Ok(())) => {
            let verdict = conclude(&servers);
            report.servers = servers;
            verdict
        }
    };
    if let (Some(why), Verdict::Refused { code, .. }) = (&report.validation, &report.verdict)
        && DNS.iter().any(|kind| code.starts_with(kind))
    {
        let text = format!("DNS answers cannot be validated here: {why}");
        report.verdict = Verdict::refused(&Failure::lasting("dns-not-validated", text));
    }
    if !parts.enabled {
        let text = "this server does not talk to others (federation.enabled)";
        report.verdict = Verdict::refused(&Failure::lasting("federation-off", text));
    }
    report
}

/// What codes begin with that are about DNS answers.
const DNS: [&str; 4] = ["dns-", "srv-", "address-", "tlsa-"];

/// All at once; there are few.
async fn join_all<T>(calls: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut calls: Vec<_> = calls.map(|call| (Box::pin(call), None)).collect();
    std::future::poll_fn(|cx| {
        let mut waits = false;
        for (call, done) in &mut calls {
            if done.is_none() {
                match call.as_mut().poll(cx) {
                    std::task::Poll::Ready(value) => *done = Some(value),
                    std::task::Poll::Pending => waits = true,
                }
            }
        }
        if waits { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    calls.into_iter().filter_map(|(_, done)| done).collect()
}

/// The server goes from one to the next where it cannot connect, and stops where it is told who they are: so the first that was judged counts.
fn conclude(servers: &[Server]) -> Verdict {
    let judged = servers.iter().find_map(|server| Some((server, server.judgement.as_ref()?)));
    if let Some((server, judgement)) = judged {
        if let Some(then) = &server.by_dialback
            && server.failure().is_none()
        {
            let last = then.to_string().lines().last().unwrap_or_default().to_owned();
            return Verdict::Accepted {
                text: format!(
                    "{last}, if they take our dialback key: whether they do, `nuncio federation explain` says"
                ),
            };
        }
        if !judgement.is_accepted() {
            return Verdict::refused(&Failure::refused(judgement));
        }
        if let Some(failure) = server.failure() {
            return Verdict::refused(failure);
        }
        return Verdict::Accepted {
            text: judgement.to_string().lines().last().unwrap_or_default().to_owned(),
        };
    }
    let failures = servers.iter().filter_map(Server::failure);
    let failure = failures.min_by_key(|failure| failure.code == "unreachable").cloned();
    let unreachable = || Failure::passing("unreachable", "none of its servers was reached");
    Verdict::refused(&failure.unwrap_or_else(unreachable))
}

/// The same question, asked about us from outside.
async fn about_us(parts: &CheckParts, pair: &Pair) -> Option<Us> {
    let mirrored = Pair::new(Arc::clone(&pair.remote), Arc::clone(&pair.local));
    let claim = mind::claim(&mirrored, Direction::In).ok()?;
    let collected = parts.collector.collect(&claim, None, &Wants::everything()).await;
    let tls = if parts.chain.is_empty() { Tls::None } else { Tls::V13 };
    let evidence = Evidence { tls, chain: parts.chain.clone(), ..collected };
    let judged = |policy| judge(&claim, &evidence, policy, (parts.now)());
    let judgements = parts.others.iter().map(|(trust, policy)| (trust.clone(), judged(policy))).collect();
    Some(Us { steps: steps(&evidence), certificate: !parts.chain.is_empty(), judgements })
}
