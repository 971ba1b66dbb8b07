//! The documents of domains, remembered (RFC 7711 §6).

use std::collections::HashMap;
use std::time::SystemTime;

use nuncio_dna::posh::{Document, FetchFailure, MAX_LIFE, Posh, Retrieval, follow, url};
use nuncio_dna::{Domain, Service, Time};
use parking_lot::Mutex;

use super::Collector;
use crate::flight::Flights;

/// What is known of one domain.
#[derive(Clone, Debug)]
struct Known {
    posh: Posh,
    /// When to ask again.
    until: Time,
    /// When the documents expire; none if they are of no use.
    fresh: Option<Time>,
}

/// What is remembered of all domains, by the address of their document.
#[derive(Debug)]
pub(super) struct Documents {
    known: Mutex<HashMap<String, Known>>,
    asking: Flights<String, Posh>,
    most: usize,
}

impl Documents {
    pub(super) fn new(most: usize) -> Self {
        Self { known: Mutex::default(), asking: Flights::default(), most: most.max(1) }
    }

    fn get(&self, url: &str) -> Option<Known> {
        self.known.lock().get(url).cloned()
    }

    /// Remembers; if it is full, what would be asked for again first goes.
    fn put(&self, url: &str, known: Known) {
        let mut all = self.known.lock();
        if all.len() >= self.most && !all.contains_key(url) {
            let soonest = all.iter().min_by_key(|(_, known)| known.until).map(|(url, _)| url.clone());
            if let Some(soonest) = soonest {
                all.remove(&soonest);
            }
        }
        all.insert(url.to_owned(), known);
    }
}

impl Collector {
    /// The documents of a domain; none if POSH does not know the service, or nobody may be asked.
    pub(super) async fn posh(&self, domain: &Domain, service: Service) -> Option<Posh> {
        let url = url(domain, service)?;
        self.0.https.as_ref()?;
        let documents = &self.0.posh;
        if let Some(known) = documents.get(&url).filter(|known| known.until > now()) {
            return Some(known.posh);
        }
        Some(documents.asking.join(url.clone(), || self.renew(&url)).await)
    }

    /// Asks, and remembers.
    async fn renew(&self, url: &str) -> Posh {
        let before = self.0.posh.get(url);
        if let Some(known) = before.as_ref().filter(|known| known.until > now()) {
            return known.posh.clone();
        }
        let posh = self.retrieve(url).await;
        let known = self.settle(posh, before);
        let posh = known.posh.clone();
        self.0.posh.put(url, known);
        posh
    }

    async fn retrieve(&self, url: &str) -> Posh {
        let Some(https) = &self.0.https else {
            // The caller has looked.
            let outcome = Err(FetchFailure::Unreachable);
            let first = Retrieval { url: url.to_owned(), redirects: Vec::new(), at: now(), outcome };
            return Posh { first, second: None, renewal: None };
        };
        let first = https.retrieve(url).await;
        let second = match follow(&first) {
            Some(to) => Some(https.retrieve(&to).await),
            None => None,
        };
        Posh { first, second, renewal: None }
    }

    /// What to keep: what came, or what was there before if that can still be of use and renewing it failed for the moment.
    fn settle(&self, posh: Posh, before: Option<Known>) -> Known {
        let (config, now) = (&self.0.config, now());
        let failure = [Some(&posh.first), posh.second.as_ref()].into_iter().flatten();
        let failure = failure.filter_map(|retrieval| retrieval.outcome.as_ref().err()).next().copied();
        if let Some(fresh) = expires(&posh) {
            return Known { posh, until: fresh, fresh: Some(fresh) };
        }
        let soon = failure.is_some_and(FetchFailure::is_temporary);
        let until = now.after(if soon { config.posh_failed } else { config.posh_absent });
        match before {
            Some(old) if soon && old.fresh.is_some_and(|fresh| fresh.after(config.posh_kept) > now) => {
                Known { posh: Posh { renewal: failure, ..old.posh }, until, fresh: old.fresh }
            }
            _ => Known { posh, until, fresh: None },
        }
    }
}

fn now() -> Time {
    SystemTime::now().into()
}

/// Until when documents are fresh: the sooner of both (RFC 7711 §6). None if there are no fingerprints.
fn expires(posh: &Posh) -> Option<Time> {
    let read = |retrieval: &Retrieval| Document::parse(retrieval.outcome.as_ref().ok()?, &retrieval.url).ok();
    let life = |retrieval: &Retrieval, document: &Document| match document {
        Document::Fingerprints { expires, .. } | Document::Reference { expires, .. } => {
            retrieval.at.after((*expires).min(MAX_LIFE))
        }
    };
    let first = read(&posh.first)?;
    let until = life(&posh.first, &first);
    match (&first, &posh.second) {
        (Document::Fingerprints { .. }, None) => Some(until),
        (Document::Reference { .. }, Some(second)) => match read(second)? {
            document @ Document::Fingerprints { .. } => Some(until.min(life(second, &document))),
            Document::Reference { .. } => None,
        },
        _ => None,
    }
}
