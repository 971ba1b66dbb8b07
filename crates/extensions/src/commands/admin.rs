//! XEP-0133 Service Administration: the fields that it gives to the router's commands, and the few commands that only it has.
//!
//! Only what this server can really tell or do is there: no addresses are collected, so none are shown, and there is no black list.

use std::collections::BTreeSet;
use std::sync::Arc;

use nuncio_router::commands::{Arg, ArgKind, Command, Refused, Who};
use nuncio_router::{AccountState, Router, SessionState, roster};
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::ns;
use nuncio_xmpp::payload::{Field, FieldType, Form, FormType};
use nuncio_xmpp::xml::Builder;
use serde_json::{Map, Value, json};

use super::form::read;

/// A command as XEP-0133 shows it.
pub(super) struct Dress {
    pub(super) command: &'static str,
    pub(super) fields: &'static [Asked],
    shown: Shown,
}

/// A field of its form.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    var: &'static str,
    label: &'static str,
    kind: FieldType,
    required: bool,
    /// The argument that it fills; none where it only confirms another field.
    arg: Option<&'static str>,
    options: &'static [&'static str],
}

/// What of the result is shown, and in which field.
enum Shown {
    /// That it was done.
    Done,
    /// The number at `key`.
    Number { var: &'static str, key: &'static str },
    /// The accounts of the list at `key`.
    Accounts { var: &'static str, key: &'static str },
    /// What `account.roster` tells (§4.8).
    Roster,
    /// What `account.stats` tells (§4.10).
    Stats,
}

impl Asked {
    const fn new(var: &'static str, label: &'static str, kind: FieldType, arg: &'static str) -> Self {
        Self { var, label, kind, required: true, arg: Some(arg), options: &[] }
    }

    pub(super) fn field(&self) -> Field {
        let field = Field::new(self.kind, self.var).label(self.label);
        let field = if self.required { field.required() } else { field };
        self.options.iter().fold(field, |field, option| field.option(Some(option), option))
    }
}

const ONE: Asked = Asked::new("accountjid", "The address of the account", FieldType::JidSingle, "jid");
const EACH: &[Asked] =
    &[Asked::new("accountjids", "The addresses of the accounts", FieldType::JidMulti, "jid")];
const PASSWORD: Asked = Asked::new("password", "The password", FieldType::TextPrivate, "password");
const AGAIN: Asked = Asked {
    required: false,
    arg: None,
    ..Asked::new("password-verify", "The password once more", FieldType::TextPrivate, "")
};
const MOST: Asked = Asked {
    required: false,
    options: &["25", "50", "75", "100", "150", "200", "none"],
    ..Asked::new("max_items", "Show at most so many", FieldType::ListSingle, "limit")
};
const SUBJECT: Asked =
    Asked { required: false, ..Asked::new("subject", "Its subject", FieldType::TextSingle, "subject") };

/// Every command that looks as XEP-0133 says.
pub(super) const DRESSES: &[Dress] = &[
    Dress { command: "account.add", fields: &[ONE, PASSWORD, AGAIN], shown: Shown::Done },
    Dress { command: "account.delete", fields: EACH, shown: Shown::Done },
    Dress { command: "account.disable", fields: EACH, shown: Shown::Done },
    Dress { command: "account.enable", fields: EACH, shown: Shown::Done },
    Dress { command: "session.end", fields: EACH, shown: Shown::Done },
    Dress { command: "account.passwd", fields: &[ONE, PASSWORD], shown: Shown::Done },
    Dress { command: "account.roster", fields: EACH, shown: Shown::Roster },
    Dress { command: "account.stats", fields: &[ONE], shown: Shown::Stats },
    Dress {
        command: "account.list",
        fields: &[MOST],
        shown: Shown::Accounts { var: "registereduserjids", key: "accounts" },
    },
    Dress {
        command: "account.list-disabled",
        fields: &[MOST],
        shown: Shown::Accounts { var: "disableduserjids", key: "accounts" },
    },
    Dress {
        command: "session.list",
        fields: &[],
        shown: Shown::Accounts { var: "onlineuserjids", key: "sessions" },
    },
    Dress {
        command: "announce",
        fields: &[Asked::new("announcement", "The announcement", FieldType::TextMulti, "text"), SUBJECT],
        shown: Shown::Done,
    },
    Dress {
        command: "account.count",
        fields: &[],
        shown: Shown::Number { var: "registeredusersnum", key: "accounts" },
    },
    Dress {
        command: "account.count-disabled",
        fields: &[],
        shown: Shown::Number { var: "disabledusersnum", key: "accounts" },
    },
    Dress {
        command: "session.count-online",
        fields: &[],
        shown: Shown::Number { var: "onlineusersnum", key: "accounts" },
    },
    Dress {
        command: "session.count-active",
        fields: &[],
        shown: Shown::Number { var: "activeusersnum", key: "accounts" },
    },
    Dress {
        command: "session.count-idle",
        fields: &[],
        shown: Shown::Number { var: "idleusersnum", key: "accounts" },
    },
];

impl Dress {
    /// The arguments of each run: a field with several addresses means as many runs.
    pub(super) fn arguments(
        &self,
        command: &Command,
        form: &Form,
    ) -> Result<Vec<Map<String, Value>>, String> {
        if let (Some(one), Some(two)) = (form.value("password"), form.value(AGAIN.var))
            && one != two
            && !two.is_empty()
        {
            return Err("the passwords are not the same".to_owned());
        }
        let mut runs = vec![Map::new()];
        for asked in self.fields {
            let values = form.values(asked.var);
            let none =
                values.iter().all(|value| value.is_empty() || (asked.var == MOST.var && value == "none"));
            if none && asked.required {
                return Err(format!("field {} is missing", asked.var));
            }
            let Some(arg) = command.args.iter().find(|arg| asked.arg == Some(arg.name)).filter(|_| !none)
            else {
                continue;
            };
            let several = asked.kind == FieldType::JidMulti;
            let parts: Vec<&[String]> = if several { values.chunks(1).collect() } else { vec![values] };
            let mut next = Vec::new();
            for part in parts {
                let Some(value) = read(arg, part)? else { continue };
                next.extend(runs.iter().cloned().map(|mut run| {
                    run.insert(arg.name.to_owned(), value.clone());
                    run
                }));
            }
            runs = next;
        }
        Ok(runs)
    }

    /// The result; none where there is nothing to show but that it was done.
    pub(super) fn result(&self, value: &Value) -> Option<Builder> {
        let field = match self.shown {
            Shown::Done => return None,
            Shown::Roster => return Some(roster_of(value)),
            Shown::Stats => return Some(stats(value)),
            Shown::Number { var, key } => {
                let number = value.get(key).and_then(Value::as_u64).unwrap_or_default();
                Field::new(FieldType::TextSingle, var).value(number.to_string())
            }
            Shown::Accounts { var, key } => {
                let rows = value.get(key).and_then(Value::as_array);
                let jid = |row: &Value| Jid::new(row.get("jid")?.as_str()?).ok();
                let jids: BTreeSet<BareJid> =
                    rows.into_iter().flatten().filter_map(jid).map(|jid| jid.bare()).collect();
                Field::new(FieldType::JidMulti, var).values(jids.iter().map(BareJid::as_str))
            }
        };
        Some(Form::typed(FormType::Result, ns::ADMIN).field(field).builder())
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn texts<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    list(value, name).iter().filter_map(Value::as_str)
}

fn roster_of(value: &Value) -> Builder {
    let item = |item: &Value| {
        let name = text(item, "name");
        Builder::new("item", ns::ROSTER)
            .attr("jid", text(item, "jid"))
            .attr_opt("name", Some(name).filter(|name| !name.is_empty()))
            .attr("subscription", text(item, "subscription"))
            .children(texts(item, "groups").map(|group| Builder::new("group", ns::ROSTER).text(group)))
    };
    let query = Builder::new("query", ns::ROSTER).children(list(value, "items").iter().map(item));
    let account = Field::new(FieldType::JidMulti, "accountjids").value(text(value, "jid"));
    Form::typed(FormType::Result, ns::ADMIN).field(account).builder().child(query)
}

fn stats(value: &Value) -> Builder {
    let size = value.get("roster").and_then(Value::as_u64).unwrap_or_default();
    Form::typed(FormType::Result, ns::ADMIN)
        .field(Field::new(FieldType::TextSingle, "rostersize").value(size.to_string()))
        .field(Field::new(FieldType::TextMulti, "onlineresources").values(texts(value, "resources")))
        .builder()
}

const LIMIT: &[Arg] =
    &[Arg { name: "limit", label: "At most so many", kind: ArgKind::Number, required: false }];

const ACCOUNT: &[Arg] =
    &[Arg { name: "jid", label: "The account's address", kind: ArgKind::Account, required: true }];

macro_rules! node {
    ($name:literal) => {
        Some(concat!("http://jabber.org/protocol/admin#", $name))
    };
}

/// Commands that XEP-0133 has and the core has not.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "account.count",
        title: "Count the accounts",
        node: node!("get-registered-users-num"),
        who: Who::Admins,
        args: &[],
        run: |router, _, _| {
            Box::pin(async move {
                let all = accounts(&router, usize::MAX, |_| true).await?;
                Ok(json!({ "accounts": all.len() }))
            })
        },
    },
    Command {
        name: "account.count-disabled",
        title: "Count the accounts that may not log in",
        node: node!("get-disabled-users-num"),
        who: Who::Admins,
        args: &[],
        run: |router, _, _| {
            Box::pin(async move {
                let disabled = accounts(&router, usize::MAX, |disabled| disabled).await?;
                Ok(json!({ "accounts": disabled.len() }))
            })
        },
    },
    Command {
        name: "account.list-disabled",
        title: "List the accounts that may not log in",
        node: node!("get-disabled-users-list"),
        who: Who::Admins,
        args: LIMIT,
        run: |router, _, args| {
            Box::pin(async move {
                let limit = args.number("limit").unwrap_or(1_000).clamp(1, 10_000);
                let limit = usize::try_from(limit).unwrap_or(1_000);
                let disabled = accounts(&router, limit, |disabled| disabled).await?;
                let list: Vec<Value> = disabled.iter().map(|jid| json!({ "jid": jid.as_str() })).collect();
                Ok(json!({ "accounts": list }))
            })
        },
    },
    Command {
        name: "account.roster",
        title: "Show an account's roster",
        node: node!("get-user-roster"),
        who: Who::Admins,
        args: ACCOUNT,
        run: |router, _, args| {
            Box::pin(async move {
                let jid = args.account("jid")?;
                look(&router, &jid, |account| {
                    let item = |(contact, item): (&BareJid, &roster::Item)| {
                        json!({
                            "jid": contact.as_str(),
                            "name": &*item.name,
                            "subscription": item.subscription().as_str(),
                            "groups": item.groups.iter().map(|group| &**group).collect::<Vec<&str>>(),
                        })
                    };
                    let items: Vec<Value> = account.roster.contacts().map(item).collect();
                    json!({ "jid": account.jid.as_str(), "items": items })
                })
                .await
            })
        },
    },
    Command {
        name: "account.stats",
        title: "Show figures of an account",
        node: node!("user-stats"),
        who: Who::Admins,
        args: ACCOUNT,
        run: |router, _, args| {
            Box::pin(async move {
                let jid = args.account("jid")?;
                look(&router, &jid, |account| {
                    let resources: Vec<&str> = account.sessions.iter().map(SessionState::resource).collect();
                    json!({ "roster": account.roster.contacts().count(), "resources": resources })
                })
                .await
            })
        },
    },
    Command {
        name: "session.count-online",
        title: "Count the accounts with a session",
        node: node!("get-online-users-num"),
        who: Who::Admins,
        args: &[],
        run: |router, _, _| Box::pin(async move { Ok(json!({ "accounts": online(&router).len() })) }),
    },
    Command {
        name: "session.count-active",
        title: "Count the accounts with an available session that is not away",
        node: node!("get-active-users-num"),
        who: Who::Admins,
        args: &[],
        run: |router, _, _| {
            Box::pin(async move { Ok(json!({ "accounts": attentive(&router, true).await? })) })
        },
    },
    Command {
        name: "session.count-idle",
        title: "Count the accounts whose available sessions are all away",
        node: node!("get-idle-users-num"),
        who: Who::Admins,
        args: &[],
        run: |router, _, _| {
            Box::pin(async move { Ok(json!({ "accounts": attentive(&router, false).await? })) })
        },
    },
];

/// The accounts that are wanted, by whether they are disabled; at most `limit`.
async fn accounts(
    router: &Arc<Router>,
    limit: usize,
    wanted: fn(bool) -> bool,
) -> Result<Vec<BareJid>, Refused> {
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = router.accounts(after.as_deref(), 1_000).await?;
        let Some((last, _)) = page.last() else {
            return Ok(found);
        };
        after = Some(last.to_string());
        for (jid, account) in page {
            if wanted(account.disabled) && !account.deleting {
                found.push(jid);
                if found.len() >= limit {
                    return Ok(found);
                }
            }
        }
    }
}

/// Looks at an account in its lane.
async fn look(
    router: &Arc<Router>,
    jid: &BareJid,
    what: impl FnOnce(&AccountState) -> Value + Send,
) -> Result<Value, Refused> {
    let seen = router.step(jid, |step| what(step.account)).await?;
    seen.map(|seen| seen.value).ok_or_else(|| Refused::Failed(format!("there is no account {jid}")))
}

fn online(router: &Arc<Router>) -> BTreeSet<BareJid> {
    router.sessions().iter().map(|session| session.jid().bare()).collect()
}

/// How many of the available accounts have a session that is not away, or have none.
async fn attentive(router: &Arc<Router>, active: bool) -> Result<usize, Refused> {
    let mut count = 0;
    for account in online(router) {
        let stepped = router.step(&account, |step| {
            let away = |presence: &nuncio_xmpp::stanza::Stanza| {
                let show = presence.own_child("show").map(|show| show.text().into_owned());
                show.is_some_and(|show| show == "away" || show == "xa")
            };
            let mut available =
                step.account.available().filter_map(|state| state.presence.as_ref()).peekable();
            available.peek().is_some().then(|| available.any(|presence| !away(presence)))
        });
        let is_active = stepped.await?.and_then(|stepped| stepped.value);
        count += usize::from(is_active == Some(active));
    }
    Ok(count)
}
