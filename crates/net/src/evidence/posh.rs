//! The documents of domains, remembered (RFC 7711 §6).

use std::collections::HashMap;
use std::time::SystemTime;

use nuncio_dna::posh::{Document, FetchFailure, MAX_LIFE, Posh, Retrieval, follow, url};
use nuncio_dna::{Domain, Service, Time};
use parking_lot::Mutex;

use super::{Collector, CollectorConfig};
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

    #[cfg(test)]
    pub(super) fn is_quiet(&self) -> bool {
        self.asking.is_empty()
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
        let known = settle(&self.0.config, posh, before, now());
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
}

/// What to keep: what came, or what was there before if that can still be of use and renewing it failed for the moment.
fn settle(config: &CollectorConfig, posh: Posh, before: Option<Known>, now: Time) -> Known {
    if let Some(fresh) = expires(&posh) {
        return Known { posh, until: fresh, fresh: Some(fresh) };
    }
    let retrievals = [Some(&posh.first), posh.second.as_ref()];
    let failure = retrievals.into_iter().flatten().find_map(|retrieval| retrieval.outcome.as_ref().err());
    let failure = failure.copied().filter(|failure| failure.is_temporary());
    let until = now.after(if failure.is_some() { config.posh_failed } else { config.posh_absent });
    match before {
        Some(old)
            if failure.is_some() && old.fresh.is_some_and(|fresh| fresh.after(config.posh_kept) > now) =>
        {
            Known { posh: Posh { renewal: failure, ..old.posh }, until, fresh: old.fresh }
        }
        _ => Known { posh, until, fresh: None },
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const URL: &str = "https://a.example/.well-known/posh/xmpp-server.json";

    fn at(secs: u64, outcome: Result<&str, FetchFailure>) -> Posh {
        let outcome = outcome.map(|body| body.as_bytes().to_vec());
        let first =
            Retrieval { url: URL.to_owned(), redirects: Vec::new(), at: Time::from_secs(secs), outcome };
        Posh { first, second: None, renewal: None }
    }

    fn document(expires: u64) -> String {
        let digest = "A".repeat(43);
        format!(r#"{{"fingerprints":[{{"sha-256":"{digest}="}}],"expires":{expires}}}"#)
    }

    /// RFC 7711 §6, S3-20: documents are used until they expire, and beyond only while renewing them fails for the moment.
    #[test]
    fn what_is_kept() {
        let config = CollectorConfig {
            posh_absent: Duration::from_secs(600),
            posh_failed: Duration::from_secs(60),
            posh_kept: Duration::from_secs(1000),
            ..CollectorConfig::default()
        };
        let old = settle(&config, at(100, Ok(&document(50))), None, Time::from_secs(100));
        assert_eq!((old.until, old.fresh), (Time::from_secs(150), Some(Time::from_secs(150))));
        let unread = Err(FetchFailure::Status(404));
        for (outcome, now, kept, until) in [
            (Ok(document(70)), 200, false, 270),
            (Err(FetchFailure::Timeout), 200, true, 260),
            (Err(FetchFailure::Status(503)), 200, true, 260),
            (Err(FetchFailure::Timeout), 1151, false, 1211),
            (Err(FetchFailure::NotFound), 200, false, 800),
            (Err(FetchFailure::Untrusted), 200, false, 800),
            (Ok("nonsense".to_owned()), 200, false, 800),
            (unread, 200, false, 800),
        ] {
            let came = at(now, outcome.as_deref().map_err(|failure| *failure));
            let known = settle(&config, came.clone(), Some(old.clone()), Time::from_secs(now));
            assert_eq!(known.until, Time::from_secs(until), "{outcome:?}");
            if kept {
                let renewal = outcome.err();
                assert_eq!(known.posh, Posh { renewal, ..old.posh.clone() });
                assert_eq!(known.fresh, old.fresh, "a failure makes nothing younger");
            } else {
                assert_eq!(known.posh, came);
            }
        }
    }

    /// RFC 7711 §3.2, §6: both documents count, the sooner end holds, and however long they say.
    #[test]
    fn the_sooner_end_holds() {
        let reference = |expires: u64| format!(r#"{{"url":"https://b.example/x.json","expires":{expires}}}"#);
        let both = |first: &str, second: &str| Posh {
            second: Some(at(110, Ok(second)).first),
            ..at(100, Ok(first))
        };
        assert_eq!(expires(&both(&reference(20), &document(50))), Some(Time::from_secs(120)));
        assert_eq!(expires(&both(&reference(90), &document(50))), Some(Time::from_secs(160)));
        assert_eq!(expires(&both(&reference(90), &reference(50))), None);
        assert_eq!(expires(&at(100, Ok(&reference(90)))), None);
        assert_eq!(expires(&at(0, Ok(&document(u64::MAX)))), Some(Time::from_secs(0).after(MAX_LIFE)));
    }

    #[test]
    fn bounded() {
        let documents = Documents::new(2);
        for (url, until) in [("a", 30), ("b", 10), ("c", 20), ("c", 25)] {
            documents.put(url, Known { posh: at(0, Ok("")), until: Time::from_secs(until), fresh: None });
        }
        let there = ["a", "b", "c"].map(|url| documents.get(url).is_some());
        assert_eq!(there, [true, false, true]);
    }
}
