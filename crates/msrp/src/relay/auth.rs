//! AUTH: who may have a URI (RFC 4976 §6.3, §9.1; S1-L4 to S1-L6).

use std::sync::Arc;
use std::time::Duration;

use nuncio_sansio::{Close, Time};
use zeroize::Zeroizing;

use super::Link;
use super::api::{Account, Answer, Closed, Direction, Event, Question};
use super::registry::Owner;
use crate::digest::{Algorithm, Challenge, Credentials, Secret};
use crate::head::Head;
use crate::status::Status;
use crate::uri::{Path, Uri};

/// A request that waits for an answer of the host.
pub(super) enum Pending {
    Route(Box<Head>),
    /// For AUTH, or for something to be routed.
    Relay(Box<Head>, bool),
    Credentials(Box<Head>, Box<Credentials>),
    Certified(Box<Head>),
    Issue(Box<Head>, Option<Shown>, Arc<str>, u32),
}

/// After so long a peer that has not proven its name may try again.
const PROVE_AGAIN: Duration = Duration::from_secs(60);

/// Credentials that were right.
pub(super) type Shown = Box<(Credentials, Secret)>;

impl Link {
    pub(super) fn answer(&mut self, now: Time, answer: Answer) {
        match (self.pending.take(), answer) {
            (Some(Pending::Route(head)), Answer::Route(route)) => self.routed(now, head, route),
            (Some(Pending::Relay(head, routed)), Answer::Relay(proven)) => {
                if proven {
                    self.relay = head.from.first().map(|first| first.host().clone());
                }
                // DNS may not have answered; the next look may find more.
                self.unproven = (!proven).then_some(now + PROVE_AGAIN);
                if routed {
                    self.route(head);
                } else {
                    self.authenticate(now, head);
                }
            }
            (Some(Pending::Credentials(head, credentials)), Answer::Credentials(account)) => {
                self.credentials(now, head, *credentials, account);
            }
            (Some(Pending::Certified(head)), Answer::Credentials(account)) => match account {
                Some(account) => self.entitled(now, head, None, &account, ""),
                None => self.challenge(now, &head, false),
            },
            (Some(Pending::Issue(head, shown, account, seconds)), Answer::Issued(uri)) => {
                self.issued(now, &head, shown.as_deref(), account, seconds, uri);
            }
            // The connection was closed meanwhile.
            (_, _) => {}
        }
    }

    /// An AUTH request for us.
    pub(super) fn auth(&mut self, now: Time, head: Box<Head>) {
        // S1-06: never in clear.
        if self.tls.is_none() || self.direction == Direction::Outbound {
            self.refuse(now, &head, Status::FORBIDDEN);
        } else if self.may_prove(now) && head.from.len() > 1 {
            self.prove(head, false);
        } else {
            self.authenticate(now, head);
        }
    }

    /// Whether the peer has shown a certificate that was not looked at lately. To look for proofs of one name after another costs us more than
    /// whoever names them.
    pub(super) fn may_prove(&self, now: Time) -> bool {
        let shown = self.tls.as_ref().is_some_and(|tls| !tls.peer_certificates.is_empty());
        self.relay.is_none() && self.unproven.is_none_or(|until| until <= now) && shown
    }

    /// Has the peer proven by whose name a request comes; then goes on with it.
    pub(super) fn prove(&mut self, head: Box<Head>, routed: bool) {
        let (Some(tls), Some(first)) = (&self.tls, head.from.first()) else { return };
        self.wire.ask(Question::Relay { chain: tls.peer_certificates.clone(), host: first.host().clone() });
        self.pending = Some(Pending::Relay(head, routed));
    }

    fn authenticate(&mut self, now: Time, head: Box<Head>) {
        // RFC 4976 §6.3, S1-L14: what came through a relay came from one that has proven its name.
        let previous = head.from.first().map(Uri::host);
        if head.from.len() > 1 && (self.relay.is_none() || self.relay.as_ref() != previous) {
            self.refuse(now, &head, Status::FORBIDDEN);
            return;
        }
        // Of several, the first that we offer.
        let offered = self.config.algorithms.clone();
        let credentials = head
            .all_fields("Authorization")
            .filter_map(Credentials::parse)
            .find(|credentials| offered.contains(&credentials.algorithm));
        let Some(credentials) = credentials else {
            let tried = head.field("Authorization").is_some();
            if let Some(addresses) = self.certified().filter(|_| !tried && head.from.len() == 1) {
                self.wire.ask(Question::Certified { addresses });
                self.pending = Some(Pending::Certified(head));
                return;
            }
            self.challenge(now, &head, false);
            if tried {
                self.failed(now, None);
            }
            return;
        };
        if credentials.realm != self.realm(&head) {
            self.challenge(now, &head, false);
            self.failed(now, Some(&credentials.username));
            return;
        }
        self.wire.ask(Question::Credentials {
            username: credentials.username.clone(),
            realm: credentials.realm.clone(),
        });
        self.pending = Some(Pending::Credentials(head, Box::new(credentials)));
    }

    /// The addresses in the certificate of a client, if an authority that the operator trusts for clients vouches for it.
    fn certified(&self) -> Option<Vec<String>> {
        let certificate = self.tls.as_ref()?.client_certificate.as_ref()?;
        let usable = certificate.trusted && !certificate.xmpp_addresses.is_empty();
        usable.then(|| certificate.xmpp_addresses.clone())
    }

    fn realm(&self, head: &Head) -> String {
        let host = || head.to.last().map(|uri| uri.host().to_string());
        self.config.realm.clone().or_else(host).unwrap_or_default()
    }

    fn credentials(
        &mut self,
        now: Time,
        head: Box<Head>,
        credentials: Credentials,
        account: Option<Account>,
    ) {
        let uri = head.to.last().map(Uri::as_str).unwrap_or_default().to_owned();
        // Who is unknown takes as long as who is known.
        let password = account
            .as_ref()
            .map_or_else(|| Zeroizing::new(self.entropy.token()), |account| account.password.clone());
        let secret = Secret::new(credentials.algorithm, &credentials.username, &credentials.realm, &password);
        let right = credentials.verify(&secret, &uri);
        let Some(account) = account.filter(|_| right) else {
            self.challenge(now, &head, false);
            self.failed(now, Some(&credentials.username));
            return;
        };
        if !self.used.take(&self.config.nonces, now, self.id, &credentials.nonce, credentials.nc) {
            // The credentials are right, the nonce is not: no failure, but no success either (S1-R5).
            self.challenge(now, &head, true);
            return;
        }
        let username = credentials.username.clone();
        self.entitled(now, head, Some(Box::new((credentials, secret))), &account, &username);
    }

    /// It is known who this is: may it, and for how long?
    fn entitled(
        &mut self,
        now: Time,
        head: Box<Head>,
        shown: Option<Shown>,
        account: &Account,
        username: &str,
    ) {
        if !account.allowed {
            self.event_denied(username, false);
            self.refuse(now, &head, Status::FORBIDDEN);
            return;
        }
        let seconds = match self.seconds(&head) {
            Ok(seconds) => seconds,
            Err(response) => {
                if let Some(response) = response {
                    self.write_head(now, &response);
                }
                return;
            }
        };
        let seconds = account.seconds.map_or(seconds, |left| left.min(seconds));
        let Some(first) = head.from.first() else { return };
        let owner = match head.from.len() {
            1 => Owner::Link(self.id),
            _ => Owner::Relay(first.host().clone()),
        };
        self.wire.ask(Question::Issue {
            holder: account.holder.clone(),
            owner,
            from: head.from.clone(),
            seconds,
        });
        self.pending = Some(Pending::Issue(head, shown, Arc::clone(&account.holder.name), seconds));
    }

    /// For how long, in seconds; or the 423 (S1-L6).
    fn seconds(&self, head: &Head) -> Result<u32, Option<Box<Head>>> {
        let bounds = self.config.expires;
        let Some(wanted) = head.field("Expires") else { return Ok(bounds.default) };
        let bad = |status| head.response(status).map(Box::new);
        if wanted.is_empty() || !wanted.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad(Status::BAD_REQUEST));
        }
        // Beyond 32 bits is beyond any bound.
        let wanted = wanted.parse().unwrap_or(u32::MAX);
        let (name, bound) = match wanted {
            wanted if wanted < bounds.least => ("Min-Expires", bounds.least),
            wanted if wanted > bounds.most => ("Max-Expires", bounds.most),
            wanted => return Ok(wanted),
        };
        Err(bad(Status::OUT_OF_BOUNDS).map(|mut response| {
            // A number has no control character.
            let _always = response.add(name, &bound.to_string());
            response
        }))
    }

    fn issued(
        &mut self,
        now: Time,
        head: &Head,
        shown: Option<&(Credentials, Secret)>,
        account: Arc<str>,
        seconds: u32,
        uri: Result<Uri, Status>,
    ) {
        let uri = match uri {
            Ok(uri) => uri,
            Err(status) => {
                self.refuse(now, head, status);
                return;
            }
        };
        let Some(mut response) = head.response(Status::OK) else { return };
        // RFC 4976 §5.1: the relays that the request came through, in the order of a To-Path, then our own.
        let before: Vec<_> = head.from.uris().iter().rev().skip(1).cloned().collect();
        let own = Path::from(uri);
        let use_path = match Path::new(before) {
            Some(before) => before.then(&own),
            None => own,
        };
        let info = shown.map(|(credentials, secret)| {
            let digest_uri = head.to.last().map(Uri::as_str).unwrap_or_default();
            let next = self.config.nonces.issue(now, self.id, &*self.entropy);
            ("Authentication-Info", credentials.info(secret, digest_uri, Some(next)).to_string())
        });
        let fields = [("Use-Path", use_path.to_string()), ("Expires", seconds.to_string())];
        for (name, value) in fields.into_iter().chain(info) {
            let _always = response.add(name, &value);
        }
        self.own |= head.from.len() == 1;
        self.failures = 0;
        self.succeeded();
        self.active(now);
        self.wire.event(Event::Authorized { account });
        self.write_head(now, &response);
    }

    /// 401 with a challenge for each hash, the strongest first (S1-R5).
    fn challenge(&mut self, now: Time, head: &Head, stale: bool) {
        if self.wire.is_closed() {
            return;
        }
        let Some(mut response) = head.response(Status::UNAUTHORIZED) else { return };
        let realm = self.realm(head);
        let nonce = self.config.nonces.issue(now, self.id, &*self.entropy);
        let opaque = self.entropy.token();
        for algorithm in &self.config.algorithms {
            let algorithm: Algorithm = *algorithm;
            let challenge = Challenge {
                realm: realm.clone(),
                nonce: nonce.clone(),
                opaque: Some(opaque.clone()),
                algorithm,
                stale,
            };
            let _always = response.add("WWW-Authenticate", &challenge.to_string());
        }
        self.write_head(now, &response);
        // A client that is only ever challenged does nothing but cost.
        self.strike(now);
    }

    fn event_denied(&mut self, username: &str, wrong: bool) {
        self.wire.event(Event::Denied { username: username.to_owned(), wrong });
    }

    /// Credentials were wrong. A client may try a few times, a relay speaks for many (RFC 4976 §6.3).
    fn failed(&mut self, now: Time, username: Option<&str>) {
        if let Some(username) = username {
            self.event_denied(username, true);
        }
        self.count_failure(now);
    }

    pub(super) fn count_failure(&mut self, now: Time) {
        self.failures += 1;
        if self.failures >= self.config.failures && self.relay.is_none() {
            self.close(now, Closed::Failures, Close::Orderly);
        }
    }
}
