//! Stream errors (RFC 6120 §4.9) and stanza errors (RFC 6120 §8.3).

use crate::ns;
use crate::xml::{Builder, ElementRef};

macro_rules! words {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$inner])* $variant),+ }

        impl $name {
            /// Every value, in the order of the specification.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value with this word on the wire.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// The conditions of stream errors (RFC 6120 §4.9.3).
    StreamCondition {
        /// XML that cannot be processed (§4.9.3.1).
        BadFormat = "bad-format",
        /// A namespace prefix that is unsupported or missing (§4.9.3.2).
        BadNamespacePrefix = "bad-namespace-prefix",
        /// A new stream or resource replaces or collides with this one (§4.9.3.3).
        Conflict = "conflict",
        /// The peer has not answered for too long (§4.9.3.4).
        ConnectionTimeout = "connection-timeout",
        /// The domain in `to` is no longer served here (§4.9.3.5).
        HostGone = "host-gone",
        /// The domain in `to` is not served here (§4.9.3.6).
        HostUnknown = "host-unknown",
        /// A stanza between servers lacks `to` or `from` (§4.9.3.7).
        ImproperAddressing = "improper-addressing",
        /// Our own fault (§4.9.3.8).
        InternalServerError = "internal-server-error",
        /// `from` is not what was authenticated (§4.9.3.9).
        InvalidFrom = "invalid-from",
        /// The stream's or content's namespace is not supported (§4.9.3.10).
        InvalidNamespace = "invalid-namespace",
        /// XML that a validating server refuses (§4.9.3.11).
        InvalidXml = "invalid-xml",
        /// Data before authentication, or an act that it does not allow (§4.9.3.12).
        NotAuthorized = "not-authorized",
        /// XML or XML namespaces are violated (§4.9.3.13).
        NotWellFormed = "not-well-formed",
        /// A local policy is violated, such as a size limit (§4.9.3.14).
        PolicyViolation = "policy-violation",
        /// A remote entity that authentication or authorization needs cannot be reached (§4.9.3.15).
        RemoteConnectionFailed = "remote-connection-failed",
        /// The stream must be negotiated anew, security included (§4.9.3.16).
        Reset = "reset",
        /// The server lacks resources (§4.9.3.17).
        ResourceConstraint = "resource-constraint",
        /// A comment, processing instruction, DTD or entity reference (§4.9.3.18).
        RestrictedXml = "restricted-xml",
        /// Go to the address that the condition carries (§4.9.3.19).
        SeeOtherHost = "see-other-host",
        /// The server is going down (§4.9.3.20).
        SystemShutdown = "system-shutdown",
        /// None of the others; an application's condition says more (§4.9.3.21).
        UndefinedCondition = "undefined-condition",
        /// Not UTF-8 (§4.9.3.22).
        UnsupportedEncoding = "unsupported-encoding",
        /// A mandatory stream feature is unknown to the initiator (§4.9.3.23).
        UnsupportedFeature = "unsupported-feature",
        /// A first-level element that is not supported (§4.9.3.24).
        UnsupportedStanzaType = "unsupported-stanza-type",
        /// The stream version is not supported (§4.9.3.25).
        UnsupportedVersion = "unsupported-version",
    }
}

words! {
    /// The conditions of stanza errors (RFC 6120 §8.3.3).
    Condition {
        /// Not in keeping with the schema or the protocol (§8.3.3.1).
        BadRequest = "bad-request",
        /// Something with that name or address exists (§8.3.3.2).
        Conflict = "conflict",
        /// The feature is known but not implemented here (§8.3.3.3).
        FeatureNotImplemented = "feature-not-implemented",
        /// The sender lacks the permission (§8.3.3.4).
        Forbidden = "forbidden",
        /// The entity is gone for good, perhaps to a new address (§8.3.3.5).
        Gone = "gone",
        /// Our own fault (§8.3.3.6).
        InternalServerError = "internal-server-error",
        /// The address or item does not exist (§8.3.3.7).
        ItemNotFound = "item-not-found",
        /// An address breaks the rules of RFC 7622 (§8.3.3.8).
        JidMalformed = "jid-malformed",
        /// It does not meet the recipient's criteria (§8.3.3.9).
        NotAcceptable = "not-acceptable",
        /// Nobody is allowed to do that (§8.3.3.10).
        NotAllowed = "not-allowed",
        /// Credentials are needed first (§8.3.3.11).
        NotAuthorized = "not-authorized",
        /// A local policy is violated (§8.3.3.12).
        PolicyViolation = "policy-violation",
        /// The recipient is unavailable for a while (§8.3.3.13).
        RecipientUnavailable = "recipient-unavailable",
        /// Another address takes such requests for now (§8.3.3.14).
        Redirect = "redirect",
        /// Registration comes first (§8.3.3.15).
        RegistrationRequired = "registration-required",
        /// The remote domain does not exist or cannot be found (§8.3.3.16).
        RemoteServerNotFound = "remote-server-not-found",
        /// The remote domain could not be reached in time (§8.3.3.17).
        RemoteServerTimeout = "remote-server-timeout",
        /// The server lacks resources (§8.3.3.18).
        ResourceConstraint = "resource-constraint",
        /// The service is not provided (§8.3.3.19).
        ServiceUnavailable = "service-unavailable",
        /// A subscription comes first (§8.3.3.20).
        SubscriptionRequired = "subscription-required",
        /// None of the others; an application's condition says more (§8.3.3.21).
        UndefinedCondition = "undefined-condition",
        /// Understood, but not at this time (§8.3.3.22).
        UnexpectedRequest = "unexpected-request",
    }
}

words! {
    /// The `type` of a stanza error (RFC 6120 §8.3.2).
    ErrorType {
        /// Retry after providing credentials.
        Auth = "auth",
        /// Do not retry.
        Cancel = "cancel",
        /// Proceed; it was only a warning.
        Continue = "continue",
        /// Retry after changing what was sent.
        Modify = "modify",
        /// Retry after waiting.
        Wait = "wait",
    }
}

impl Condition {
    /// The type that RFC 6120 §8.3.3 associates; where it names two, the one that asks less of the sender.
    pub const fn default_type(self) -> ErrorType {
        match self {
            Self::Forbidden
            | Self::NotAuthorized
            | Self::RegistrationRequired
            | Self::SubscriptionRequired => ErrorType::Auth,
            Self::BadRequest
            | Self::JidMalformed
            | Self::NotAcceptable
            | Self::PolicyViolation
            | Self::Redirect => ErrorType::Modify,
            Self::RecipientUnavailable
            | Self::RemoteServerTimeout
            | Self::ResourceConstraint
            | Self::UnexpectedRequest => ErrorType::Wait,
            Self::Conflict
            | Self::FeatureNotImplemented
            | Self::Gone
            | Self::InternalServerError
            | Self::ItemNotFound
            | Self::NotAllowed
            | Self::RemoteServerNotFound
            | Self::ServiceUnavailable
            | Self::UndefinedCondition => ErrorType::Cancel,
        }
    }
}

/// A stream error (RFC 6120 §4.9.2). The stream ends after it.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamError {
    /// The defined condition.
    pub condition: StreamCondition,
    /// Where to go: the character data of `<see-other-host/>` (§4.9.3.19). Written for that condition only.
    pub host: Option<String>,
    /// A text for a human being, in English.
    pub text: Option<String>,
    /// An application-specific condition element.
    pub extra: Option<Box<Builder>>,
}

impl StreamError {
    /// The condition and nothing more.
    pub const fn new(condition: StreamCondition) -> Self {
        Self { condition, host: None, text: None, extra: None }
    }

    /// `<see-other-host/>` with the address to go to: a domainpart, or a domainpart, `:` and a port.
    pub fn see_other_host(host: impl Into<String>) -> Self {
        Self { host: Some(host.into()), ..Self::new(StreamCondition::SeeOtherHost) }
    }

    /// With a text for a human being.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// With an application-specific condition element.
    #[must_use]
    pub fn with_extra(mut self, extra: Builder) -> Self {
        self.extra = Some(Box::new(extra));
        self
    }

    /// The children of `<stream:error/>`, each with its namespace declared.
    pub fn children(&self) -> Vec<Builder> {
        let mut condition = Builder::new(self.condition.as_str(), ns::STREAM_ERRORS);
        if self.condition == StreamCondition::SeeOtherHost
            && let Some(host) = &self.host
        {
            condition = condition.text(host);
        }
        let text = self.text.as_deref();
        let text = text.map(|text| Builder::new("text", ns::STREAM_ERRORS).lang("en").text(text));
        std::iter::once(condition).chain(text).chain(self.extra.as_deref().cloned()).collect()
    }

    /// The whole element, with its namespace as default. On a stream [`StreamError::write`] is what peers expect.
    pub fn builder(&self) -> Builder {
        Builder::new("error", ns::STREAMS).children(self.children())
    }

    /// Writes `<stream:error/>`. The prefix `stream` must be bound to [`ns::STREAMS`] by the stream header, as RFC 6120 §4.8.5 wants.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<stream:error>");
        for child in self.children() {
            child.write(out, "");
        }
        out.extend_from_slice(b"</stream:error>");
    }

    /// Reads an `error` element of [`ns::STREAMS`]; `None` if it is another element. An unknown or missing condition is read as
    /// `undefined-condition`.
    pub fn parse(error: ElementRef<'_>) -> Option<Self> {
        if !error.is("error", ns::STREAMS) {
            return None;
        }
        let mut read = Self::new(StreamCondition::UndefinedCondition);
        for child in error.children() {
            if child.ns() != ns::STREAM_ERRORS {
                read.extra = Some(Box::new(child.to_builder()));
            } else if child.name() == "text" {
                read.text = Some(child.text().into_owned());
            } else if let Some(condition) = StreamCondition::from_word(child.name()) {
                read.condition = condition;
                if condition == StreamCondition::SeeOtherHost {
                    read.host = Some(child.text().trim().to_owned());
                }
            }
        }
        Some(read)
    }
}

impl From<StreamCondition> for StreamError {
    fn from(condition: StreamCondition) -> Self {
        Self::new(condition)
    }
}

impl std::fmt::Display for StreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.text {
            Some(text) => write!(f, "stream error {}: {text}", self.condition),
            None => write!(f, "stream error {}", self.condition),
        }
    }
}

impl std::error::Error for StreamError {}

/// A stanza error (RFC 6120 §8.3.2).
#[derive(Clone, Debug, PartialEq)]
pub struct StanzaError {
    /// What the sender may do about it.
    pub kind: ErrorType,
    /// The defined condition.
    pub condition: Condition,
    /// The new address: the character data of `<gone/>` (§8.3.3.5) and `<redirect/>` (§8.3.3.14). Written for these only.
    pub address: Option<String>,
    /// A text for a human being, in English.
    pub text: Option<String>,
    /// The entity that found the error, a JID.
    pub by: Option<String>,
    /// An application-specific condition element.
    pub extra: Option<Box<Builder>>,
}

impl StanzaError {
    /// The condition with the type that belongs to it.
    pub const fn new(condition: Condition) -> Self {
        let kind = condition.default_type();
        Self { kind, condition, address: None, text: None, by: None, extra: None }
    }

    /// With another type.
    #[must_use]
    pub const fn with_type(mut self, kind: ErrorType) -> Self {
        self.kind = kind;
        self
    }

    /// With a text for a human being.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// With an application-specific condition element.
    #[must_use]
    pub fn with_extra(mut self, extra: Builder) -> Self {
        self.extra = Some(Box::new(extra));
        self
    }

    /// The `<error/>` element. It is in the namespace of the stanza that carries it: [`ns::CLIENT`] here, which a stanza renders
    /// as the content namespace of the stream that it leaves on.
    pub fn builder(&self) -> Builder {
        let mut condition = Builder::new(self.condition.as_str(), ns::STANZAS);
        if matches!(self.condition, Condition::Gone | Condition::Redirect)
            && let Some(address) = &self.address
        {
            condition = condition.text(address);
        }
        let text = self.text.as_deref();
        let text = text.map(|text| Builder::new("text", ns::STANZAS).lang("en").text(text));
        Builder::new("error", ns::CLIENT)
            .attr("type", self.kind)
            .attr_opt("by", self.by.as_deref())
            .child(condition)
            .children(text)
            .children(self.extra.as_deref().cloned())
    }

    /// Reads an `<error/>` child of a stanza. An unknown or missing condition is read as `undefined-condition`, an unknown type as
    /// the condition's own; `None` if the element is not an `error` in a content namespace.
    pub fn parse(error: ElementRef<'_>) -> Option<Self> {
        if error.name() != "error" || !ns::is_content(error.ns()) {
            return None;
        }
        let mut read = Self::new(Condition::UndefinedCondition);
        for child in error.children() {
            if child.ns() != ns::STANZAS {
                read.extra = Some(Box::new(child.to_builder()));
            } else if child.name() == "text" {
                read.text = Some(child.text().into_owned());
            } else if let Some(condition) = Condition::from_word(child.name()) {
                read.condition = condition;
                if matches!(condition, Condition::Gone | Condition::Redirect) {
                    read.address = Some(child.text().into_owned()).filter(|address| !address.is_empty());
                }
            }
        }
        let kind = error.attr("type").and_then(|word| ErrorType::from_word(&word));
        read.kind = kind.unwrap_or_else(|| read.condition.default_type());
        read.by = error.attr("by").map(std::borrow::Cow::into_owned);
        Some(read)
    }
}

impl From<Condition> for StanzaError {
    fn from(condition: Condition) -> Self {
        Self::new(condition)
    }
}

impl std::fmt::Display for StanzaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.text {
            Some(text) => write!(f, "stanza error {} ({}): {text}", self.condition, self.kind),
            None => write!(f, "stanza error {} ({})", self.condition, self.kind),
        }
    }
}

impl std::error::Error for StanzaError {}
