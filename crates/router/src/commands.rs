//! What operators and administrators can do, defined once for the command line, the control socket and ad-hoc commands (XEP-0050, XEP-0133).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nuncio_xmpp::error::{StreamCondition, StreamError};
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{MessageType, message};
use nuncio_xmpp::xml::Builder;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::accounts::AccountError;
use crate::config::DomainConfig;
use crate::host::{ConfigError, Host};
use crate::points::Boxed;
use crate::router::Router;

/// One command.
#[derive(Clone, Copy)]
pub struct Command {
    /// Its name, such as `account.add`.
    pub name: &'static str,
    /// What it does, for people.
    pub title: &'static str,
    /// Its node as an ad-hoc command; none if it is not one.
    pub node: Option<&'static str>,
    /// Who may run it. Asked at every step of a dialogue.
    pub who: Who,
    /// What it takes.
    pub args: &'static [Arg],
    /// Runs it. The arguments fit `args`.
    pub run: fn(Arc<Router>, Caller, Args) -> Running,
}

/// A command at work; its result is JSON.
pub type Running = Boxed<'static, Result<Value, Refused>>;

/// Who may run a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The operator (command line, control socket) and the administrators of the configuration.
    Admins,
    /// Every account.
    Users,
}

/// Who runs a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Whoever has access to the control socket or the data folder.
    Operator,
    /// A logged-in account.
    Account(BareJid),
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("operator"),
            Self::Account(account) => account.fmt(f),
        }
    }
}

/// One argument.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// Its name in JSON, and the field of the form.
    pub name: &'static str,
    /// What it is, for people.
    pub label: &'static str,
    /// Its type.
    pub kind: ArgKind,
    /// Whether it must be given.
    pub required: bool,
}

/// Types of arguments, with their form in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgKind {
    /// An account's address (string).
    Account,
    /// An address, bare or full (string).
    Address,
    /// A text (string).
    Text,
    /// A text that is not shown or logged (string).
    Secret,
    /// Yes or no (boolean).
    Flag,
    /// A whole number from 0 (number).
    Number,
}

/// Why a command was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such command.
    #[error("there is no command {0}")]
    Unknown(String),
    /// The caller may not.
    #[error("{0} may be run by administrators of the domain only")]
    Forbidden(&'static str),
    /// The arguments do not fit.
    #[error("{0}")]
    Args(String),
    /// It cannot be done.
    #[error("{0}")]
    Failed(String),
}

impl From<AccountError> for Refused {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Store(fault) => {
                tracing::error!(%fault, "the store failed at a command");
                Self::Failed(format!("the store failed: {fault}"))
            }
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<nuncio_store::Fault> for Refused {
    fn from(fault: nuncio_store::Fault) -> Self {
        AccountError::Store(fault).into()
    }
}

/// Arguments that fit their command's schema.
#[derive(Clone, Debug, Default)]
pub struct Args(Map<String, Value>);

impl Args {
    /// Checks JSON against a schema.
    ///
    /// # Errors
    /// What is missing, too many, or of the wrong type.
    pub fn check(schema: &[Arg], given: Value) -> Result<Self, Refused> {
        let given = match given {
            Value::Object(given) => given,
            Value::Null => Map::new(),
            _ => return Err(Refused::Args("arguments are one JSON object".to_owned())),
        };
        if let Some(name) = given.keys().find(|name| !schema.iter().any(|arg| arg.name == name.as_str())) {
            let known: Vec<_> = schema.iter().map(|arg| arg.name).collect();
            return Err(Refused::Args(format!("unknown argument {name}; known are: {}", known.join(", "))));
        }
        let args = Self(given);
        for arg in schema {
            match args.0.get(arg.name) {
                None if arg.required => {
                    return Err(Refused::Args(format!("argument {} is missing", arg.name)));
                }
                None => {}
                Some(value) => arg.fits(value)?,
            }
        }
        Ok(args)
    }

    /// A text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// Yes or no; no if not given.
    pub fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// A number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_u64()
    }

    /// An account's address.
    ///
    /// # Errors
    /// It was not given, or is not one.
    pub fn account(&self, name: &str) -> Result<BareJid, Refused> {
        let text = self.text(name).ok_or_else(|| Refused::Args(format!("argument {name} is missing")))?;
        BareJid::new(text).map_err(|why| Refused::Args(format!("{name}: {why}")))
    }

    /// An address.
    ///
    /// # Errors
    /// It is not one.
    pub fn address(&self, name: &str) -> Result<Option<Jid>, Refused> {
        let address = self.text(name).map(Jid::new).transpose();
        address.map_err(|why| Refused::Args(format!("{name}: {why}")))
    }
}

impl Arg {
    fn fits(&self, value: &Value) -> Result<(), Refused> {
        let wrong = |what: &str| Err(Refused::Args(format!("argument {} is {what}", self.name)));
        match (self.kind, value) {
            (ArgKind::Account, Value::String(text)) => match BareJid::new(text) {
                Ok(jid) if jid.local().is_some() => Ok(()),
                Ok(_) => wrong("not the address of an account: it has no name before an @"),
                Err(why) => wrong(&format!("not an address: {why}")),
            },
            (ArgKind::Address, Value::String(text)) => match Jid::new(text) {
                Ok(_) => Ok(()),
                Err(why) => wrong(&format!("not an address: {why}")),
            },
            (ArgKind::Text | ArgKind::Secret, Value::String(_)) | (ArgKind::Flag, Value::Bool(_)) => Ok(()),
            (ArgKind::Number, Value::Number(number)) if number.is_u64() => Ok(()),
            (ArgKind::Flag, _) => wrong("true or false"),
            (ArgKind::Number, _) => wrong("a whole number from 0"),
            _ => wrong("a text"),
        }
    }
}

impl Router {
    /// Runs a command by name. The log tells who ran it, on which account (argument `jid`), and why it was refused; no other argument.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn run(self: &Arc<Self>, caller: Caller, name: &str, args: Value) -> Result<Value, Refused> {
        let Some((_, command)) = self.points().commands.get(name) else {
            return Err(Refused::Unknown(name.to_owned()));
        };
        let account = args.get("jid").and_then(|jid| Jid::new(jid.as_str()?).ok());
        let account = account.map(tracing::field::display);
        tracing::info!(command = command.name, %caller, account, "command");
        let done = self.attempt(caller.clone(), command, args).await;
        if let Err(why) = &done {
            tracing::info!(command = command.name, %caller, account, refused = %why, "command refused");
        }
        done
    }

    async fn attempt(
        self: &Arc<Self>,
        caller: Caller,
        command: &Command,
        args: Value,
    ) -> Result<Value, Refused> {
        if !self.may_run(&caller, command) {
            return Err(Refused::Forbidden(command.name));
        }
        let args = Args::check(command.args, args)?;
        if let (Who::Admins, Caller::Account(account)) = (command.who, &caller)
            && !self.concerned(command, &args).iter().all(|domain| domain.admins.contains(account))
        {
            return Err(Refused::Forbidden(command.name));
        }
        (command.run)(Arc::clone(self), caller, args).await
    }

    /// The domains that a command is about: those of the addresses that it is given, or the whole server if there are none.
    fn concerned(&self, command: &Command, args: &Args) -> Vec<&DomainConfig> {
        let named: Vec<_> = command
            .args
            .iter()
            .filter(|arg| matches!(arg.kind, ArgKind::Account | ArgKind::Address))
            .filter_map(|arg| Jid::new(args.text(arg.name)?).ok())
            .collect();
        let all = self.config().domains.iter();
        all.filter(|domain| named.is_empty() || named.iter().any(|jid| jid.domain() == domain.name)).collect()
    }

    /// Whether the caller may run a command at all. An administrator of one of several domains may do so for that domain only.
    pub fn may_run(&self, caller: &Caller, command: &Command) -> bool {
        match (command.who, caller) {
            (_, Caller::Operator) | (Who::Users, Caller::Account(_)) => true,
            (Who::Admins, Caller::Account(account)) => self.is_admin(account),
        }
    }
}

const fn arg(name: &'static str, label: &'static str, kind: ArgKind) -> Arg {
    Arg { name, label, kind, required: true }
}

const fn maybe(name: &'static str, label: &'static str, kind: ArgKind) -> Arg {
    Arg { name, label, kind, required: false }
}

const JID: Arg = arg("jid", "The account's address", ArgKind::Account);
const PASSWORD: Arg = arg("password", "The password", ArgKind::Secret);

macro_rules! node {
    ($name:literal) => {
        Some(concat!("http://jabber.org/protocol/admin#", $name))
    };
}

/// The commands of the core.
const COMMANDS: &[Command] = &[
    Command {
        name: "account.add",
        title: "Add an account",
        node: node!("add-user"),
        who: Who::Admins,
        args: &[JID, PASSWORD],
        run: |router, _, args| {
            Box::pin(async move {
                let jid = args.account("jid")?;
                router.add_account(&jid, password(&args)).await?;
                Ok(json!({ "jid": jid.as_str() }))
            })
        },
    },
    Command {
        name: "account.passwd",
        title: "Change an account's password",
        node: node!("change-user-password"),
        who: Who::Admins,
        args: &[JID, PASSWORD],
        run: |router, _, args| {
            Box::pin(async move {
                let jid = args.account("jid")?;
                router.set_password(&jid, password(&args)).await?;
                Ok(json!({ "jid": jid.as_str() }))
            })
        },
    },
    Command {
        name: "account.disable",
        title: "Forbid an account to log in, and end its sessions",
        node: node!("disable-user"),
        who: Who::Admins,
        args: &[JID],
        run: |router, _, args| {
            Box::pin(async move {
                let jid = args.account("jid")?;
                let ended = router.set_disabled(&jid, true).await?;
                Ok(json!({ "jid": jid.as_str(), "ended": ended }))
            })
        },
    },
    Command {
        name: "account.enable",
        title: "Allow an account to log in again",
        node: node!("reenable-user"),
        who: Who::Admins,
        args: &[JID],
        run: |router, _, args| {
            Box::pin(async move {
                let jid = args.account("jid")?;
                router.set_disabled(&jid, false).await?;
                Ok(json!({ "jid": jid.as_str() }))
            })
        },
    },
    Command {
        name: "account.delete",
        title: "Delete an account and every trace of it",
        node: node!("delete-user"),
        who: Who::Admins,
        args: &[JID],
        run: |router, _, args| {
            Box::pin(async move {
                let jid = args.account("jid")?;
                router.delete_account(&jid).await?;
                Ok(json!({ "jid": jid.as_str() }))
            })
        },
    },
    Command {
        name: "account.list",
        title: "List the accounts",
        node: node!("get-registered-users-list"),
        who: Who::Admins,
        args: &[
            maybe("after", "Only those after this address", ArgKind::Address),
            maybe("limit", "At most so many", ArgKind::Number),
        ],
        run: |router, _, args| {
            Box::pin(async move {
                let limit = args.number("limit").map_or(1_000, |limit| limit.clamp(1, 10_000));
                let limit = usize::try_from(limit).unwrap_or(1_000);
                let accounts = router.accounts(args.text("after"), limit).await?;
                let online: BTreeSet<String> =
                    router.sessions().iter().map(|session| session.jid().bare().to_string()).collect();
                let list: Vec<Value> = accounts
                    .iter()
                    .map(|(jid, account)| {
                        json!({
                            "jid": jid.as_str(),
                            "created": account.created.to_string(),
                            "disabled": account.disabled,
                            "online": online.contains(jid.as_str()),
                        })
                    })
                    .collect();
                Ok(json!({ "accounts": list }))
            })
        },
    },
    Command {
        name: "session.list",
        title: "List the sessions",
        node: node!("get-online-users-list"),
        who: Who::Admins,
        args: &[maybe("jid", "Only those of this account", ArgKind::Account)],
        run: |router, _, args| {
            Box::pin(async move {
                let of = args.text("jid").map(|_| args.account("jid")).transpose()?;
                let list: Vec<Value> = router
                    .sessions()
                    .iter()
                    .filter(|session| of.as_ref().is_none_or(|of| session.jid().bare() == *of))
                    .map(|session| {
                        json!({
                            "jid": session.jid().as_str(),
                            "session": session.id().to_string(),
                            "since": session.since().to_string(),
                            "mechanism": session.who().mechanism(),
                            "connected": session.is_connected(),
                            "managed": session.is_managed(),
                            "backlog": session.backlog(),
                        })
                    })
                    .collect();
                Ok(json!({ "sessions": list }))
            })
        },
    },
    Command {
        name: "session.end",
        title: "End the sessions of an address",
        node: node!("end-user-session"),
        who: Who::Admins,
        args: &[arg("jid", "A full address, or an account's for all of its sessions", ArgKind::Address)],
        run: |router, _, args| {
            Box::pin(async move {
                let Some(jid) = args.address("jid")? else {
                    return Err(Refused::Args("argument jid is missing".to_owned()));
                };
                let mut ended = 0;
                for session in router.sessions() {
                    if *session.jid() == jid || (jid.is_bare() && session.jid().bare_str() == jid.as_str()) {
                        let why = StreamError::new(StreamCondition::PolicyViolation)
                            .with_text("ended by an administrator");
                        ended += usize::from(router.end_session(&session, why).await);
                    }
                }
                if ended == 0 {
                    return Err(Refused::Failed(format!("there is no session of {jid}")));
                }
                Ok(json!({ "ended": ended }))
            })
        },
    },
    Command {
        name: "stream.reset",
        title: "Close all streams with reset, so that clients negotiate anew",
        node: None,
        who: Who::Admins,
        args: &[maybe("seconds", "Spread over so many seconds", ArgKind::Number)],
        run: |router, _, args| {
            Box::pin(async move {
                let window = Duration::from_secs(args.number("seconds").unwrap_or(30).min(86_400));
                Ok(json!({ "streams": router.reset_streams(window), "seconds": window.as_secs() }))
            })
        },
    },
    Command {
        name: "federation.list",
        title: "List the streams to and from other servers",
        node: Some("urn:nuncio:federation#list"),
        who: Who::Admins,
        args: &[],
        run: |router, _, _| {
            Box::pin(async move {
                let elsewhere = router.elsewhere().ok_or_else(no_federation)?;
                Ok(elsewhere.list())
            })
        },
    },
    Command {
        name: "federation.explain",
        title: "Say what is known about another domain, and why",
        node: Some("urn:nuncio:federation#explain"),
        who: Who::Admins,
        args: &[arg("domain", "The other domain", ArgKind::Text)],
        run: |router, _, args| {
            Box::pin(async move {
                let elsewhere = router.elsewhere().ok_or_else(no_federation)?;
                elsewhere.explain(args.text("domain").unwrap_or_default())
            })
        },
    },
    Command {
        name: "announce",
        title: "Send a message to all sessions",
        node: node!("announce"),
        who: Who::Admins,
        args: &[arg("text", "The message", ArgKind::Text), maybe("subject", "Its subject", ArgKind::Text)],
        run: |router, _, args| {
            Box::pin(async move {
                let mut told = 0;
                for session in router.sessions() {
                    let Ok(from) = Jid::from_parts(None, session.jid().domain(), None) else { continue };
                    let subject =
                        args.text("subject").map(|text| Builder::new("subject", ns::CLIENT).text(text));
                    let stanza = message(MessageType::Headline)
                        .from(from)
                        .to(session.jid().clone())
                        .child_opt(subject)
                        .body(args.text("text").unwrap_or_default())
                        .build();
                    router.tell(&session, Some(stanza));
                    told += 1;
                }
                Ok(json!({ "sessions": told }))
            })
        },
    },
    Command {
        name: "stats",
        title: "Show what the server holds",
        node: node!("get-server-stats"),
        who: Who::Admins,
        args: &[],
        run: |router, _, _| {
            Box::pin(async move {
                let metrics = router.metrics();
                Ok(json!({
                    "sessions": metrics.sessions.get(),
                    "hibernated": metrics.hibernated.get(),
                    "accounts_in_memory": metrics.accounts_in_memory.get(),
                    "messages": metrics.messages.get(),
                    "offline_stored": metrics.offline_stored.get(),
                    "logins": metrics.logins.get(),
                    "logins_failed": metrics.logins_failed.get(),
                }))
            })
        },
    },
];

fn no_federation() -> Refused {
    Refused::Failed(
        "this server does not talk to other servers; see [federation] in its configuration".to_owned(),
    )
}

fn password(args: &Args) -> Zeroizing<String> {
    Zeroizing::new(args.text("password").unwrap_or_default().to_owned())
}

/// Registers the commands of the core.
pub(crate) fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    COMMANDS.iter().try_for_each(|command| host.command(*command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_checked_against_the_schema() {
        let schema =
            &[JID, PASSWORD, maybe("count", "", ArgKind::Number), maybe("really", "", ArgKind::Flag)];
        let told = |given: Value| match Args::check(schema, given) {
            Ok(_) => "fits".to_owned(),
            Err(why) => why.to_string(),
        };
        let cases = [
            (json!({"jid": "a@localhost", "password": "x"}), "fits"),
            (json!({"jid": "a@localhost", "password": "x", "count": 3, "really": true}), "fits"),
            (json!({"jid": "a@localhost"}), "argument password is missing"),
            (json!({"jid": 1, "password": "x"}), "argument jid is a text"),
            (json!({"jid": "localhost", "password": "x"}), "not the address of an account"),
            (json!({"jid": "a@@b", "password": "x"}), "argument jid is not an address"),
            (json!({"jid": "a@b", "password": "x", "count": -1}), "argument count is a whole number"),
            (json!({"jid": "a@b", "password": "x", "really": "yes"}), "argument really is true or false"),
            (json!({"jid": "a@b", "password": "x", "name": "y"}), "unknown argument name"),
            (json!([1]), "arguments are one JSON object"),
        ];
        for (given, expected) in cases {
            let told = told(given.clone());
            assert!(told.contains(expected), "{given}: {told}");
        }
    }

    #[test]
    fn a_caller_is_written_as_people_write_it() {
        assert_eq!(Caller::Operator.to_string(), "operator");
        assert_eq!(Caller::Account(BareJid::new("a@localhost").unwrap()).to_string(), "a@localhost");
    }

    #[test]
    fn names_and_nodes_are_unique() {
        let names: BTreeSet<_> = COMMANDS.iter().map(|command| command.name).collect();
        assert_eq!(names.len(), COMMANDS.len());
        let nodes: Vec<_> = COMMANDS.iter().filter_map(|command| command.node).collect();
        assert_eq!(nodes.iter().collect::<BTreeSet<_>>().len(), nodes.len());
    }
}
