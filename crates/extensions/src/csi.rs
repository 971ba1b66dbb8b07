//! XEP-0352 Client State Indication: while a client says that nobody looks at it, presence waits (the latest of each sender), what is not
//! urgent waits too, chat states are left out, and what matters goes out at once, after what waited.

use std::sync::Arc;

use nuncio_router::points::{Boxed, Greeter, Name, Pace, Pacer, Standing};
use nuncio_router::slots::{Life, SessionSlot};
use nuncio_router::stream::c2s::Moment;
use nuncio_router::{ConfigError, Cx, Extension, Host, Session, SessionState, Xep};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{Kind, Marks, PresenceType, Stanza};
use nuncio_xmpp::xml::{Builder, Element};
use serde::Deserialize;

/// See the module.
pub const EXTENSION: Extension = Extension {
    name: "csi",
    xeps: &[Xep { number: 352, version: "1.0.0", title: "Client State Indication" }],
    needs: &[],
    default_on: true,
    plug,
};

const TAKES: &[Name] = &[Name { name: "active", ns: ns::CSI }, Name { name: "inactive", ns: ns::CSI }];

/// What is done for a client that nobody looks at (§3.2: administrators can configure it).
#[derive(Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// Whether presence waits.
    hold_presence: bool,
    /// Whether messages wait that need nobody's attention: receipts, markers, notifications.
    hold_messages: bool,
    /// Whether chat states are left out.
    drop_chat_states: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { hold_presence: true, hold_messages: true, drop_chat_states: true }
    }
}

fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    let config: Config = host.config()?;
    // §5.2: the state is not kept over a resumption.
    let inactive = host.session_slot(Life::Stream);
    host.pacer(Arc::new(Quiet { inactive, config }));
    host.greeter(State(inactive))
}

struct State(SessionSlot<bool>);

impl Greeter for State {
    fn offer(&self, _cx: &Cx<'_>, at: &Moment) -> Option<Builder> {
        at.authenticated.is_some().then(|| Builder::new("csi", ns::CSI))
    }

    fn takes(&self) -> &'static [Name] {
        TAKES
    }

    /// The stream waits for this: what the client sends next is answered after what is released (§5.1).
    fn take<'a>(&'a self, cx: &'a Cx<'a>, session: &'a Arc<Session>, element: &'a Element) -> Boxed<'a, ()> {
        let inactive = element.name() == "inactive";
        Box::pin(async move {
            let account = session.jid().bare();
            let stepped = cx.router.step(&account, |step| {
                if let Some(state) = step.account.session_mut(session.id()) {
                    *state.slot_mut(self.0) = inactive;
                }
            });
            if let Err(fault) = stepped.await {
                tracing::error!(%account, %fault, "a client's state is not known");
            }
            if !inactive {
                session.release();
            }
        })
    }
}

struct Quiet {
    inactive: SessionSlot<bool>,
    config: Config,
}

impl Pacer for Quiet {
    fn pace(&self, _at: &Standing<'_>, to: &SessionState, stanza: &Stanza) -> Pace {
        if !to.slot(self.inactive).copied().unwrap_or(false) {
            return Pace::Now;
        }
        let class = stanza.class();
        match stanza.kind() {
            Kind::Presence(PresenceType::Available | PresenceType::Unavailable)
                if self.config.hold_presence =>
            {
                match stanza.from() {
                    // A later presence of the same resource replaces the one that waits. What a room says of its occupants
                    // does not replace what it said before: each may tell of another change.
                    Some(from) if !stanza.marks().any(Marks::MUC_USER) => {
                        Pace::Latest(from.as_str().to_owned())
                    }
                    _ => Pace::Later,
                }
            }
            Kind::Message(_) if class.chatter && self.config.drop_chat_states => Pace::Never,
            Kind::Message(_) if !class.urgent && self.config.hold_messages => Pace::Later,
            Kind::Presence(_) | Kind::Message(_) | Kind::Iq(_) => Pace::Now,
        }
    }
}
