//! XEP-0215 External Service Discovery: the MSRP relay beside the server, with credentials that are good for a while.
//!
//! A username is the second at which it ends, a colon, and the account; its password is a code over it and the account's generation by a secret
//! of the server. So whoever has the secret can tell what is right without having kept anything, the account's own password is never shown to
//! the relay, and what was given out ends with the account, its password, or its being enabled.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use nuncio_router::clock::stamp;
use nuncio_router::facts::{AccountDisabled, AccountRemoved};
use nuncio_router::points::{Handler, Listener, failed};
use nuncio_router::stream::sasl::Hash;
use nuncio_router::{Ask, At, ConfigError, Cx, Extension, Host, Reply, Router, Step, Xep};
use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::jid::BareJid;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::IqType;
use nuncio_xmpp::xml::{Builder, ElementRef};

/// See the module.
pub const EXTENSION: Extension = Extension {
    name: "external_services",
    xeps: &[Xep { number: 215, version: "1.0.0", title: "External Service Discovery" }],
    needs: &[],
    default_on: true,
    plug,
};

fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    host.feature(ns::EXTDISCO);
    host.listen::<AccountDisabled>(Ended);
    host.listen::<AccountRemoved>(Ended);
    host.handler(At::Server, IqType::Get, "services", ns::EXTDISCO, Services)?;
    host.handler(At::Server, IqType::Get, "credentials", ns::EXTDISCO, Credentials)
}

/// The MSRP relay, as extensions know it ([`Router::runs_beside`]).
pub struct Relay {
    /// The host that clients connect to.
    pub host: String,
    /// Where it listens, and how it is spoken to there: `tcp`, or `ws` for WebSocket.
    pub ports: Vec<(u16, &'static str)>,
    /// For how long credentials are good.
    pub good: Duration,
    /// Ends what an account has begun there. Gives how many connections that were.
    pub end: Box<dyn Fn(&BareJid) -> usize + Send + Sync>,
}

/// The service type of MSRP relays.
const MSRP: &str = "msrp";
/// What the secret is for that makes passwords.
const PURPOSE: &str = "credentials of the MSRP relay";

/// Credentials of an account for the relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// The second at which they end, a colon, the account.
    pub username: String,
    /// A code over that and the account's generation.
    pub password: String,
    /// When they end.
    pub expires: Timestamp,
}

impl Pass {
    /// New ones. Their end is cut to whole seconds. `generation`: [`Router::generation`].
    pub fn new(router: &Router, account: &BareJid, generation: u64, good: Duration) -> Self {
        let good = SignedDuration::try_from(good).unwrap_or(SignedDuration::MAX);
        let expires = router.now().saturating_add(good).unwrap_or(Timestamp::MAX).as_second();
        Named { account: account.clone(), expires }.pass(router, generation)
    }
}

/// What a username says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Whose credentials they would be. Whether there is such an account is for the caller to see.
    pub account: BareJid,
    /// The second at which they end, or have ended.
    pub expires: i64,
}

impl Named {
    /// None if it is no such username.
    pub fn read(username: &str) -> Option<Self> {
        let (expires, account) = username.split_once(':')?;
        let account = BareJid::new(account).ok().filter(|account| account.local().is_some())?;
        let named = Self { account, expires: expires.parse().ok()? };
        // Written in the one form that was given out.
        (named.username() == username).then_some(named)
    }

    fn username(&self) -> String {
        format!("{}:{}", self.expires, self.account)
    }

    /// The credentials as they have to be in this generation of the account.
    pub fn pass(&self, router: &Router, generation: u64) -> Pass {
        let username = self.username();
        let code =
            Hash::Sha256.hmac(&router.secret_for(PURPOSE), &[username.as_bytes(), &generation.to_be_bytes()]);
        let expires = Timestamp::from_second(self.expires).unwrap_or(Timestamp::MAX);
        Pass { password: STANDARD.encode(&*code), username, expires }
    }
}

/// Whoever asks is an account of this server, on a stream of its own.
fn asker(ask: &Ask) -> Result<BareJid, StanzaError> {
    match &ask.session {
        Some(session) => Ok(session.jid().bare()),
        None => Err(StanzaError::new(Condition::Forbidden)),
    }
}

/// The relay's services, each with credentials, as far as `wanted` says.
async fn services(
    cx: &Cx<'_>,
    account: &BareJid,
    wanted: impl Fn(&Relay, u16) -> bool,
) -> Result<Vec<Builder>, StanzaError> {
    let Some(relay) = cx.router.beside::<Relay>() else { return Ok(Vec::new()) };
    let generation = cx.router.generation(account).await.map_err(|fault| failed(&fault))?;
    let mut found = Vec::new();
    for (port, transport) in &relay.ports {
        if !wanted(&relay, *port) {
            continue;
        }
        let pass = Pass::new(cx.router, account, generation, relay.good);
        let service = Builder::new("service", ns::EXTDISCO)
            .attr("type", MSRP)
            .attr("host", &relay.host)
            .attr("port", port)
            .attr("transport", transport)
            .attr("restricted", "true")
            .attr("username", &pass.username)
            .attr("password", &pass.password)
            .attr("expires", stamp(pass.expires));
        found.push(service);
    }
    Ok(found)
}

struct Services;

impl Handler for Services {
    async fn handle(&self, cx: &Cx<'_>, ask: Ask) -> Result<Reply, StanzaError> {
        let account = asker(&ask)?;
        let kind = ask.payload()?.attr("type");
        let all = if kind.as_deref().is_none_or(|kind| kind == MSRP) {
            services(cx, &account, |_, _| true).await?
        } else {
            Vec::new()
        };
        let answer = Builder::new("services", ns::EXTDISCO).attr_opt("type", kind);
        Ok(Reply::Result(answer.children(all)))
    }
}

struct Credentials;

impl Handler for Credentials {
    async fn handle(&self, cx: &Cx<'_>, ask: Ask) -> Result<Reply, StanzaError> {
        let account = asker(&ask)?;
        let bad = || StanzaError::new(Condition::BadRequest);
        let payload = ask.payload()?;
        let is_service = |child: &ElementRef<'_>| child.name() == "service" && child.ns() == ns::EXTDISCO;
        let service = payload.children().find(is_service).ok_or_else(bad)?;
        // §3.3: both must be there, the port may.
        let (host, kind) = service.attr("host").zip(service.attr("type")).ok_or_else(bad)?;
        let port = service.attr("port").map(|port| port.parse::<u16>()).transpose().map_err(|_| bad())?;
        let all = if kind == MSRP {
            services(cx, &account, |relay, at| {
                relay.host.eq_ignore_ascii_case(&host) && port.is_none_or(|port| port == at)
            })
            .await?
        } else {
            Vec::new()
        };
        if all.is_empty() {
            return Err(StanzaError::new(Condition::ItemNotFound));
        }
        Ok(Reply::Result(Builder::new("credentials", ns::EXTDISCO).children(all)))
    }
}

/// An account that may not log in has nothing at the relay either.
struct Ended;

impl Ended {
    fn end(step: &mut Step<'_>, account: &BareJid) {
        if let Some(relay) = step.cx().router.beside::<Relay>() {
            step.ended += (relay.end)(account);
        }
    }
}

impl Listener<AccountDisabled> for Ended {
    fn heard(&self, step: &mut Step<'_>, fact: &AccountDisabled) {
        Self::end(step, &fact.account);
    }
}

impl Listener<AccountRemoved> for Ended {
    fn heard(&self, step: &mut Step<'_>, fact: &AccountRemoved) {
        Self::end(step, &fact.account);
    }
}
