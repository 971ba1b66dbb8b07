//! XEP-0077 In-Band Registration: an account made before login, its password changed and itself removed after. Off unless configured: an open server
//! is found by spammers within days.

use nuncio_router::accounts::AccountError;
use nuncio_router::points::{Greeter, Handler, MayRegister, Registration, failed};
use nuncio_router::stream::c2s::Moment;
use nuncio_router::{Ask, At, ConfigError, Cx, Extension, Host, Reply, Session, Xep};
use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::jid::BareJid;
use nuncio_xmpp::ns;
use nuncio_xmpp::payload::{Form, FormType};
use nuncio_xmpp::stanza::{IqType, Stanza};
use nuncio_xmpp::xml::{Builder, ElementRef};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// See the module.
pub const EXTENSION: Extension = Extension {
    name: "register",
    xeps: &[Xep { number: 77, version: "2.4", title: "In-Band Registration" }],
    needs: &[],
    default_on: false,
    plug,
};

/// What is allowed.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Whether anybody may make an account.
    new_accounts: bool,
    /// Whether accounts may change their password.
    change_password: bool,
    /// Whether accounts may remove themselves.
    remove: bool,
    /// What people are told who ask for the form.
    instructions: String,
    /// How many failed logins one attempt to make an account is worth in the budget of its address.
    cost: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            new_accounts: true,
            change_password: true,
            remove: true,
            instructions: "Choose a name and a password.".to_owned(),
            cost: 10,
        }
    }
}

fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    let config: Arc<Config> = Arc::new(host.config()?);
    if config.new_accounts {
        host.feature(ns::REGISTER);
        host.greeter(Offer)?;
    }
    for kind in [IqType::Get, IqType::Set] {
        host.handler(At::Unbound, kind, "query", ns::REGISTER, Newcomer(Arc::clone(&config)))?;
        for at in [At::Server, At::Account] {
            host.handler(at, kind, "query", ns::REGISTER, Member(Arc::clone(&config)))?;
        }
    }
    Ok(())
}

/// The stream feature (§8), as long as nobody is logged in. It is only asked for inside TLS.
struct Offer;

impl Greeter for Offer {
    fn offer(&self, _cx: &Cx<'_>, at: &Moment) -> Option<Builder> {
        at.authenticated.is_none().then(|| Builder::new("register", ns::REGISTER_FEATURE))
    }
}

/// What a request says, in the elements of the namespace or in a form, which counts more (§4).
struct Wish {
    username: Option<String>,
    password: Option<String>,
    remove: bool,
    /// Whether `<remove/>` stands alone.
    alone: bool,
}

impl Wish {
    fn read(query: ElementRef<'_>) -> Self {
        let form = Form::find(query).filter(|form| form.kind == FormType::Submit);
        let text = |name: &str| match &form {
            Some(form) => form.value(name).map(str::to_owned),
            None => query.child(name, ns::REGISTER).map(|child| child.text().into_owned()),
        };
        // An empty element says nothing (§3.1.1).
        let said = |name: &str| text(name).filter(|text| !text.is_empty());
        Self {
            username: said("username"),
            password: said("password"),
            remove: query.child("remove", ns::REGISTER).is_some(),
            alone: query.children().count() == 1,
        }
    }
}

fn told(error: AccountError) -> StanzaError {
    match error {
        AccountError::Exists(_) => StanzaError::new(Condition::Conflict),
        AccountError::Unknown(_) => StanzaError::new(Condition::RegistrationRequired),
        AccountError::Foreign(_) | AccountError::Password(_) => {
            StanzaError::new(Condition::NotAcceptable).with_text(error.to_string())
        }
        AccountError::Store(fault) => failed(&fault),
        AccountError::Stopping => StanzaError::new(Condition::ResourceConstraint),
    }
}

/// Before a resource is bound.
struct Newcomer(Arc<Config>);

impl Handler for Newcomer {
    async fn handle(&self, cx: &Cx<'_>, ask: Ask) -> Result<Reply, StanzaError> {
        if !self.0.new_accounts {
            return Ok(Reply::Pass);
        }
        if let Some(account) = &ask.unbound {
            // Logged in already: a second account is not made (§3.1.1), and everything else needs a resource.
            return if ask.is_set() {
                Err(StanzaError::new(Condition::NotAcceptable))
            } else {
                Ok(Reply::Result(registered(account)))
            };
        }
        if !ask.is_set() {
            let empty = |name| Builder::new(name, ns::REGISTER);
            let query = Builder::new("query", ns::REGISTER)
                .child(empty("instructions").text(&self.0.instructions))
                .child(empty("username"))
                .child(empty("password"));
            return Ok(Reply::Result(query));
        }
        self.make(cx, &ask).await
    }
}

impl Newcomer {
    async fn make(&self, cx: &Cx<'_>, ask: &Ask) -> Result<Reply, StanzaError> {
        let wish = Wish::read(ask.payload()?);
        if wish.remove {
            return Err(StanzaError::new(Condition::UnexpectedRequest)); // §3.2: nobody is logged in
        }
        let (Some(username), Some(password)) = (wish.username, wish.password) else {
            return Err(StanzaError::new(Condition::NotAcceptable)); // §3.1
        };
        let jid = BareJid::from_parts(Some(&username), ask.place.jid.domain())
            .map_err(|why| StanzaError::new(Condition::NotAcceptable).with_text(why.to_string()))?;
        // Charged whatever comes of it: an answer also tells whether a name is taken.
        if ask.peer.is_some_and(|peer| !cx.router.charge(peer, self.0.cost)) {
            tracing::info!(peer = ?ask.peer, "registration refused: too many attempts");
            return Err(
                StanzaError::new(Condition::ResourceConstraint).with_text("too many attempts, try later")
            );
        }
        if let Some(error) = cx.router.judge::<MayRegister>(&Registration { jid: &jid, ask }).0 {
            return Err(error);
        }
        // An administrator's name is the operator's to give, also while nobody has it.
        if cx.router.is_admin(&jid) {
            return Err(StanzaError::new(Condition::Conflict));
        }
        cx.router.add_account(&jid, password.into()).await.map_err(told)?;
        tracing::info!(account = %jid, peer = ?ask.peer, "account registered in-band");
        Ok(Reply::Empty)
    }
}

fn registered(account: &BareJid) -> Builder {
    let element = |name| Builder::new(name, ns::REGISTER);
    element("query")
        .child(element("registered"))
        .child(element("username").text(account.local().unwrap_or_default()))
        .child(element("password"))
}

/// A logged-in account, at itself or at its server.
struct Member(Arc<Config>);

impl Handler for Member {
    async fn handle(&self, cx: &Cx<'_>, ask: Ask) -> Result<Reply, StanzaError> {
        let Some(session) = ask.session.as_ref().filter(|session| is_own(session, &ask)) else {
            return Ok(Reply::Pass);
        };
        let account = session.jid().bare();
        if !ask.is_set() {
            return Ok(Reply::Result(registered(&account)));
        }
        let wish = Wish::read(ask.payload()?);
        let (reply, gone) = if wish.remove {
            match self.may_remove(&wish) {
                Ok(()) => (ask.stanza.result(None), true),
                Err(error) => return Err(error),
            }
        } else {
            match self.change_password(cx, &account, wish).await {
                Ok(()) => return Ok(Reply::Empty),
                // The request is not sent back with the error: there is a password in it (§3.3).
                Err(error) => (without_payload(&ask.stanza, &error), false),
            }
        };
        let deliver = cx.router.step(&account, |step| step.deliver(session.id(), &reply));
        deliver.await.map_err(|fault| failed(&fault))?;
        if gone {
            remove(cx, session);
        }
        Ok(Reply::Silent)
    }
}

/// Whether a session asks at its own account or its own server.
fn is_own(session: &Session, ask: &Ask) -> bool {
    match ask.place.at {
        At::Account => ask.is_own(),
        _ => session.jid().domain() == ask.place.jid.domain(),
    }
}

fn without_payload(asked: &Stanza, error: &StanzaError) -> Stanza {
    nuncio_xmpp::stanza::iq(IqType::Error, asked.id().unwrap_or_default())
        .to(asked.from().cloned())
        .from(asked.to().cloned())
        .child(error.builder())
        .build()
}

impl Member {
    async fn change_password(&self, cx: &Cx<'_>, account: &BareJid, wish: Wish) -> Result<(), StanzaError> {
        if !self.0.change_password {
            return Err(StanzaError::new(Condition::NotAllowed));
        }
        let (Some(username), Some(password)) = (wish.username, wish.password) else {
            return Err(StanzaError::new(Condition::BadRequest)); // §3.3
        };
        let named =
            BareJid::from_parts(Some(&username), account.domain()).or_else(|_| BareJid::new(&username));
        if named.as_ref() != Ok(account) {
            return Err(StanzaError::new(Condition::NotAllowed));
        }
        cx.router.set_password(account, password.into()).await.map_err(told)
    }

    fn may_remove(&self, wish: &Wish) -> Result<(), StanzaError> {
        if !self.0.remove {
            return Err(StanzaError::new(Condition::NotAllowed));
        }
        if !wish.alone {
            return Err(StanzaError::new(Condition::BadRequest));
        }
        Ok(())
    }
}

/// The result goes out first, then the streams end (§3.2). A client that does not read is not waited for long.
fn remove(cx: &Cx<'_>, session: &Arc<Session>) {
    let (router, session) = (Arc::clone(cx.router), Arc::clone(session));
    cx.router.spawn(async move {
        session.flushed(Duration::from_secs(5)).await;
        let account = session.jid().bare();
        if let Err(error) = router.delete_account(&account).await {
            tracing::error!(%account, %error, "an account was not removed although it asked for it");
        }
    });
}
