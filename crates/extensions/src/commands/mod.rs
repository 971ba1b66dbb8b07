//! XEP-0050 Ad-Hoc Commands and XEP-0133 Service Administration: the router's commands as forms.
//!
//! A command is defined once, in the router, with a schema of its arguments; the form is made from that. Commands that XEP-0133 names have
//! its fields instead ([`admin`]). Who may run a command is asked at every step.

mod admin;
mod dialogue;
mod form;

use nuncio_router::commands::{Caller, Command, Refused};
use nuncio_router::disco::{About, Disco, Identity, Info, Item};
use nuncio_router::points::Handler;
use nuncio_router::{Ask, At, Boxed, ConfigError, Cx, Extension, Host, Reply, Router, Xep};
use nuncio_xmpp::error::{Condition, StanzaError};
use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::ns;
use nuncio_xmpp::payload::{Form, FormType};
use nuncio_xmpp::stanza::IqType;
use nuncio_xmpp::xml::Builder;
use parking_lot::Mutex;

use dialogue::{Dialogues, Unusable};
use form::{Face, Outcome};

/// See the module.
pub const EXTENSION: Extension = Extension {
    name: "commands",
    xeps: &[
        Xep { number: 50, version: "1.3.0", title: "Ad-Hoc Commands" },
        Xep { number: 133, version: "1.3.1", title: "Service Administration" },
    ],
    needs: &["disco"],
    default_on: true,
    plug,
};

fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    host.feature(ns::COMMANDS);
    host.disco(List);
    host.handler(At::Server, IqType::Set, "command", ns::COMMANDS, Execute::default())?;
    admin::COMMANDS.iter().try_for_each(|command| host.command(*command))
}

/// The ad-hoc command of a node.
fn by_node<'a>(router: &'a Router, node: &str) -> Option<&'a Command> {
    router.points().commands().find(|command| command.node == Some(node))
}

/// The list of commands (§2.2), and what is known of each (§2.3): to everybody what they may run.
struct List;

impl Disco for List {
    fn info(&self, cx: &Cx<'_>, about: &About<'_>, out: &mut Info) {
        let (At::Server, Some(node)) = (about.place.at, about.node) else {
            return;
        };
        if node == ns::COMMANDS {
            out.found = true;
            out.identity(Identity::new("automation", "command-list", "Commands"));
        } else if let Some(command) = by_node(cx.router, node)
            && cx.router.may_run(&Caller::Account(about.asker.bare()), command)
        {
            out.found = true;
            out.identity(Identity::new("automation", "command-node", command.title));
            out.feature(ns::COMMANDS);
            out.feature(ns::DATA);
        }
    }

    fn items<'a>(&'a self, cx: &'a Cx<'a>, about: &'a About<'a>) -> Boxed<'a, Vec<Item>> {
        let mut items = Vec::new();
        if about.place.at == At::Server && about.node == Some(ns::COMMANDS) {
            let caller = Caller::Account(about.asker.bare());
            let may = |command: &&Command| cx.router.may_run(&caller, command);
            items.extend(cx.router.points().commands().filter(may).filter_map(|command| {
                Some(Item {
                    jid: about.place.jid.clone(),
                    node: Some(command.node?.to_owned()),
                    name: Some(command.title.to_owned()),
                })
            }));
        }
        Box::pin(std::future::ready(items))
    }
}

/// What is to be done with a command (§4.1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Execute,
    Cancel,
    Prev,
    Next,
    Complete,
}

impl Action {
    fn read(word: Option<&str>) -> Option<Self> {
        match word {
            None | Some("execute") => Some(Self::Execute),
            Some("cancel") => Some(Self::Cancel),
            Some("prev") => Some(Self::Prev),
            Some("next") => Some(Self::Next),
            Some("complete") => Some(Self::Complete),
            Some(_) => None,
        }
    }
}

fn bad(what: &str, why: impl Into<String>) -> StanzaError {
    StanzaError::new(Condition::BadRequest).with_extra(Builder::new(what, ns::COMMANDS)).with_text(why)
}

fn unusable(why: Unusable) -> StanzaError {
    match why {
        Unusable::Bad => bad("bad-sessionid", "there is no such session"),
        Unusable::Expired => {
            let expired = Builder::new("session-expired", ns::COMMANDS);
            StanzaError::new(Condition::NotAllowed).with_extra(expired).with_text("the session is over")
        }
    }
}

/// `<command/>` with a status.
fn answer(node: &str, id: &str, status: &str) -> Builder {
    Builder::new("command", ns::COMMANDS)
        .attr("node", node)
        .attr("sessionid", id)
        .attr("status", status)
        .lang("en")
}

#[derive(Default)]
struct Execute {
    dialogues: Mutex<Dialogues>,
}

impl Handler for Execute {
    async fn handle(&self, cx: &Cx<'_>, ask: Ask) -> Result<Reply, StanzaError> {
        let request = ask.payload()?;
        let node = request.attr("node").ok_or_else(|| StanzaError::new(Condition::BadRequest))?;
        // Only a session of this server has proven to be the account that it writes from.
        if ask.session.is_none() {
            return Err(StanzaError::new(Condition::Forbidden));
        }
        let caller = Caller::Account(ask.from.bare());
        let Some(command) = by_node(cx.router, &node).copied() else {
            return Err(StanzaError::new(match node.starts_with(ns::ADMIN) {
                true if !cx.router.is_admin(&ask.from.bare()) => Condition::Forbidden,
                true => Condition::FeatureNotImplemented, // XEP-0133 §6
                false => Condition::ItemNotFound,
            }));
        };
        if !cx.router.may_run(&caller, &command) {
            return Err(StanzaError::new(Condition::Forbidden));
        }
        let action = Action::read(request.attr("action").as_deref())
            .ok_or_else(|| bad("malformed-action", "there is no such action"))?;
        match request.attr("sessionid") {
            None => self.begin(cx, &ask, &command, action).await,
            Some(id) => {
                let form = Form::find(request);
                self.go_on(cx, &ask, &command, action, &id, form).await
            }
        }
    }
}

impl Execute {
    /// The first stage: the form, or the result where there is nothing to ask.
    async fn begin(
        &self,
        cx: &Cx<'_>,
        ask: &Ask,
        command: &Command,
        action: Action,
    ) -> Result<Reply, StanzaError> {
        match action {
            Action::Execute => {}
            Action::Cancel => return Err(bad("bad-sessionid", "there is nothing to cancel")),
            Action::Prev | Action::Next | Action::Complete => {
                return Err(bad("bad-action", "a command begins with execute"));
            }
        }
        let node = command.node.unwrap_or_default();
        let id = cx.router.entropy().token();
        let face = Face::of(command);
        let form = face.form(command);
        if form.fields.is_empty() {
            let outcome = run(cx, &ask.from, command, &face, Form::new(FormType::Submit)).await?;
            return Ok(Reply::Result(completed(node, &id, outcome)));
        }
        self.dialogues.lock().open(id.clone(), ask.from.clone(), node, cx.now);
        let form = form.title(command.title).instruction("Fill in the form and complete the command.");
        let actions = Builder::new("actions", ns::COMMANDS)
            .attr("execute", "complete")
            .child(Builder::new("complete", ns::COMMANDS));
        Ok(Reply::Result(answer(node, &id, "executing").child(actions).child(form.builder())))
    }

    /// The last stage, since a form has all of a command's arguments.
    async fn go_on(
        &self,
        cx: &Cx<'_>,
        ask: &Ask,
        command: &Command,
        action: Action,
        id: &str,
        form: Option<Form>,
    ) -> Result<Reply, StanzaError> {
        let node = command.node.unwrap_or_default();
        self.dialogues.lock().check(id, &ask.from, node, cx.now).map_err(unusable)?;
        let cancelled = form.as_ref().is_some_and(|form| form.kind == FormType::Cancel);
        match action {
            _ if cancelled => return Ok(self.cancel(node, id)),
            Action::Cancel => return Ok(self.cancel(node, id)),
            Action::Prev | Action::Next => return Err(bad("bad-action", "there is one stage only")),
            Action::Execute | Action::Complete => {}
        }
        let form = form.filter(|form| form.kind == FormType::Submit);
        let form = form.ok_or_else(|| bad("bad-payload", "the form is missing"))?;
        if !self.dialogues.lock().close(id) {
            return Err(unusable(Unusable::Expired));
        }
        match run(cx, &ask.from, command, &Face::of(command), form).await {
            Ok(outcome) => Ok(Reply::Result(completed(node, id, outcome))),
            Err(error) => {
                // It can be corrected and sent once more.
                self.dialogues.lock().reopen(id);
                Err(error)
            }
        }
    }

    fn cancel(&self, node: &str, id: &str) -> Reply {
        self.dialogues.lock().close(id);
        Reply::Result(answer(node, id, "canceled"))
    }
}

fn completed(node: &str, id: &str, outcome: Outcome) -> Builder {
    let notes = outcome
        .notes
        .into_iter()
        .map(|(kind, text)| Builder::new("note", ns::COMMANDS).attr("type", kind).text(&text));
    answer(node, id, "completed").children(notes).children(outcome.forms)
}

/// Runs a command once for each set of arguments that the form means. If none of them can be done the requester gets the first error, else
/// a note of each that cannot.
async fn run(
    cx: &Cx<'_>,
    who: &Jid,
    command: &Command,
    face: &Face,
    form: Form,
) -> Result<Outcome, StanzaError> {
    let all = face.arguments(command, &form).map_err(|why| bad("bad-payload", why))?;
    let mut done = Vec::new();
    let mut first = None;
    let mut notes = Vec::new();
    for args in all {
        let about = args.get("jid").and_then(|jid| jid.as_str()).map(str::to_owned);
        match cx.router.run(Caller::Account(who.bare()), command.name, args.into()).await {
            Ok(value) => done.push(value),
            Err(refused) => {
                notes.push(("error", refused.to_string()));
                if first.is_none() {
                    first = Some(condition(cx, command, about.as_deref(), refused).await);
                }
            }
        }
    }
    match (done.is_empty(), first) {
        (true, Some(error)) => Err(error),
        _ => {
            let mut outcome = face.outcome(&done);
            outcome.notes.extend(notes);
            Ok(outcome)
        }
    }
}

/// The condition that XEP-0133 §6 has for a refusal.
async fn condition(cx: &Cx<'_>, command: &Command, about: Option<&str>, refused: Refused) -> StanzaError {
    let text = refused.to_string();
    match refused {
        Refused::Unknown(_) => StanzaError::new(Condition::FeatureNotImplemented),
        Refused::Forbidden(_) => StanzaError::new(Condition::Forbidden),
        Refused::Args(why) => bad("bad-payload", why),
        Refused::Failed(_) => {
            let account = about.and_then(|about| Jid::new(about).ok());
            let there = match &account {
                Some(jid) => cx.router.account(&jid.bare()).await.is_ok_and(|account| account.is_some()),
                None => false,
            };
            StanzaError::new(match (command.name, there) {
                ("account.add", true) => Condition::Conflict,
                ("account.add", false) => Condition::NotAcceptable,
                (_, false) if account.is_some() => Condition::ItemNotFound,
                _ => Condition::NotAcceptable,
            })
            .with_text(text)
        }
    }
}
