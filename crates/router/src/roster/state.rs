//! The subscription states of RFC 6121 Appendix A, as tables. Pure: what follows from a transition is done in [`crate::presence`].

use nuncio_xmpp::stanza::PresenceType;

/// Who is subscribed to whom, from the perspective of the account (RFC 6121 §2.1.2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Subscription {
    /// Nobody to anybody.
    #[default]
    None,
    /// The account to the contact's presence.
    To,
    /// The contact to the account's presence.
    From,
    /// Both to each other's.
    Both,
}

impl Subscription {
    /// The value of the attribute `subscription`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::To => "to",
            Self::From => "from",
            Self::Both => "both",
        }
    }

    /// Whether the account gets the contact's presence.
    pub const fn is_to(self) -> bool {
        matches!(self, Self::To | Self::Both)
    }

    /// Whether the contact gets the account's presence.
    pub const fn is_from(self) -> bool {
        matches!(self, Self::From | Self::Both)
    }
}

/// The nine states of RFC 6121 §A.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// "None"; also that of a contact who is not in the roster.
    #[default]
    None,
    /// "None + Pending Out"
    NonePendingOut,
    /// "None + Pending In"
    NonePendingIn,
    /// "None + Pending Out+In"
    NonePendingOutIn,
    /// "To"
    To,
    /// "To + Pending In"
    ToPendingIn,
    /// "From"
    From,
    /// "From + Pending Out"
    FromPendingOut,
    /// "Both"
    Both,
}

/// What a subscription stanza asks for or tells (RFC 6121 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A subscription is asked for.
    Subscribe,
    /// One is granted.
    Subscribed,
    /// One is given up.
    Unsubscribe,
    /// One is refused or withdrawn.
    Unsubscribed,
}

impl Event {
    /// The event of a presence type, if it is about subscriptions.
    pub const fn of(kind: PresenceType) -> Option<Self> {
        match kind {
            PresenceType::Subscribe => Some(Self::Subscribe),
            PresenceType::Subscribed => Some(Self::Subscribed),
            PresenceType::Unsubscribe => Some(Self::Unsubscribe),
            PresenceType::Unsubscribed => Some(Self::Unsubscribed),
            PresenceType::Available
            | PresenceType::Unavailable
            | PresenceType::Probe
            | PresenceType::Error => None,
        }
    }

    /// The presence type of the event.
    pub const fn kind(self) -> PresenceType {
        match self {
            Self::Subscribe => PresenceType::Subscribe,
            Self::Subscribed => PresenceType::Subscribed,
            Self::Unsubscribe => PresenceType::Unsubscribe,
            Self::Unsubscribed => PresenceType::Unsubscribed,
        }
    }
}

/// What a stanza that the account sends comes to (RFC 6121 §A.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The new state.
    pub state: State,
    /// Whether the contact's next request is granted unasked from now on (RFC 6121 §3.4).
    pub approved: bool,
    /// Whether the stanza goes to the contact.
    pub route: bool,
}

/// What a stanza that the contact sent comes to (RFC 6121 §A.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The new state.
    pub state: State,
    /// Whether the contact's next request is granted unasked from now on (RFC 6121 §3.4).
    pub approved: bool,
    /// Whether the stanza goes to the account's resources.
    pub deliver: bool,
    /// What the server answers on the account's behalf.
    pub reply: Option<Event>,
}

impl State {
    /// All of them, in the order of RFC 6121 §A.1.
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::NonePendingOut,
        Self::NonePendingIn,
        Self::NonePendingOutIn,
        Self::To,
        Self::ToPendingIn,
        Self::From,
        Self::FromPendingOut,
        Self::Both,
    ];

    /// The primary state.
    pub const fn subscription(self) -> Subscription {
        match self {
            Self::None | Self::NonePendingOut | Self::NonePendingIn | Self::NonePendingOutIn => {
                Subscription::None
            }
            Self::To | Self::ToPendingIn => Subscription::To,
            Self::From | Self::FromPendingOut => Subscription::From,
            Self::Both => Subscription::Both,
        }
    }

    /// Whether the account has asked and waits for the contact's answer: `ask='subscribe'`.
    pub const fn pending_out(self) -> bool {
        matches!(self, Self::NonePendingOut | Self::NonePendingOutIn | Self::FromPendingOut)
    }

    /// Whether the contact has asked and waits for the account's answer.
    pub const fn pending_in(self) -> bool {
        matches!(self, Self::NonePendingIn | Self::NonePendingOutIn | Self::ToPendingIn)
    }

    /// The number it is stored by.
    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The account sends a subscription stanza (RFC 6121 §A.2, §3.4.2, §3.2.2). A pre-approval is noted only while no request waits
    /// and none is granted; it ends with `unsubscribed`.
    pub const fn sends(self, event: Event, approved: bool) -> Sent {
        match event {
            Event::Subscribe => {
                let state = match self {
                    Self::None => Self::NonePendingOut,
                    Self::NonePendingIn => Self::NonePendingOutIn,
                    Self::From => Self::FromPendingOut,
                    same => same,
                };
                Sent { state, approved, route: true }
            }
            Event::Unsubscribe => Sent { state: self.without_to(), approved, route: true },
            Event::Subscribed => match self {
                Self::NonePendingIn => Sent { state: Self::From, approved, route: true },
                Self::NonePendingOutIn => Sent { state: Self::FromPendingOut, approved, route: true },
                Self::ToPendingIn => Sent { state: Self::Both, approved, route: true },
                Self::None | Self::NonePendingOut | Self::To => {
                    Sent { state: self, approved: true, route: false }
                }
                Self::From | Self::FromPendingOut | Self::Both => {
                    Sent { state: self, approved, route: false }
                }
            },
            Event::Unsubscribed => {
                let route = !matches!(self, Self::None | Self::NonePendingOut | Self::To);
                Sent { state: self.without_from(), approved: false, route }
            }
        }
    }

    /// A subscription stanza of the contact arrives (RFC 6121 §A.3, §3.4.2). A pre-approval is used up by the request that it grants.
    pub const fn receives(self, event: Event, approved: bool) -> Received {
        let unchanged = Received { state: self, approved, deliver: false, reply: None };
        match event {
            Event::Subscribe => {
                let (asked, granted) = match self {
                    Self::None => (Self::NonePendingIn, Self::From),
                    Self::NonePendingOut => (Self::NonePendingOutIn, Self::FromPendingOut),
                    Self::To => (Self::ToPendingIn, Self::Both),
                    Self::NonePendingIn | Self::NonePendingOutIn | Self::ToPendingIn => return unchanged,
                    Self::From | Self::FromPendingOut | Self::Both => {
                        return Received { reply: Some(Event::Subscribed), ..unchanged };
                    }
                };
                if approved {
                    return Received {
                        state: granted,
                        approved: false,
                        deliver: false,
                        reply: Some(Event::Subscribed),
                    };
                }
                Received { state: asked, approved, deliver: true, reply: None }
            }
            Event::Unsubscribe => match self {
                Self::None | Self::NonePendingOut | Self::To => unchanged,
                _ => Received {
                    state: self.without_from(),
                    approved,
                    deliver: true,
                    reply: Some(Event::Unsubscribed),
                },
            },
            Event::Subscribed => {
                let state = match self {
                    Self::NonePendingOut => Self::To,
                    Self::NonePendingOutIn => Self::ToPendingIn,
                    Self::FromPendingOut => Self::Both,
                    _ => return unchanged,
                };
                Received { state, approved, deliver: true, reply: None }
            }
            Event::Unsubscribed => match self {
                Self::None | Self::NonePendingIn | Self::From => unchanged,
                _ => Received { state: self.without_to(), approved, deliver: true, reply: None },
            },
        }
    }

    /// Neither subscribed to the contact nor asking to be.
    const fn without_to(self) -> Self {
        match self {
            Self::None | Self::NonePendingOut | Self::To => Self::None,
            Self::NonePendingIn | Self::NonePendingOutIn | Self::ToPendingIn => Self::NonePendingIn,
            Self::From | Self::FromPendingOut | Self::Both => Self::From,
        }
    }

    /// The contact is neither subscribed nor asking to be.
    const fn without_from(self) -> Self {
        match self {
            Self::None | Self::NonePendingIn | Self::From => Self::None,
            Self::NonePendingOut | Self::NonePendingOutIn | Self::FromPendingOut => Self::NonePendingOut,
            Self::To | Self::ToPendingIn | Self::Both => Self::To,
        }
    }
}

#[cfg(test)]
mod tests;
