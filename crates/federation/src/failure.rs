//! Why another server is not reached, or not spoken with: a code for programs, a text for people, and what the sender of a stanza is told.

use std::sync::Arc;

use nuncio_dna::{Finding, Judgement};
use nuncio_stream::redirect::Decision;
use nuncio_stream::s2s::{DialbackError, End, Reason};
use nuncio_xmpp::error::{Condition, ErrorType, StanzaError, StreamCondition};

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Kebab-case, never reused for another meaning: a code of `nuncio_dna::Reason`, or one of this crate.
    pub(crate) code: String,
    pub(crate) text: String,
    /// What senders get.
    pub(crate) condition: Condition,
    /// Whether trying again soon would come to the same.
    pub(crate) lasting: bool,
    /// Whether it is about the pair of domains, not about the host: others may fare better there.
    pub(crate) of_pair: bool,
    /// Where they want us instead.
    pub(crate) redirect: Option<Decision>,
    /// What a judgement has found proven, though it did not suffice, in the words of `nuncio_dna`.
    pub(crate) proofs: Arc<[String]>,
    /// Why each of the other prooftypes proves nothing.
    pub(crate) findings: Arc<[String]>,
}

impl Failure {
    /// A failure that may pass: nothing could be connected to, or it broke.
    pub(crate) fn passing(code: &str, text: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            text: text.into(),
            condition: Condition::RemoteServerTimeout,
            lasting: false,
            of_pair: false,
            redirect: None,
            proofs: Arc::default(),
            findings: Arc::default(),
        }
    }

    /// One that lasts, and is about this pair.
    pub(crate) fn lasting(code: &str, text: impl Into<String>) -> Self {
        Self { lasting: true, of_pair: true, ..Self::passing(code, text) }
    }

    /// There is no such server.
    pub(crate) fn not_found(code: &str, text: impl Into<String>) -> Self {
        Self { condition: Condition::RemoteServerNotFound, ..Self::lasting(code, text) }
    }

    /// Policy refuses.
    pub(crate) fn refused(judgement: &Judgement) -> Self {
        let mut failure = match judgement.cause() {
            Some(Finding { by, reason, is_veto }) => {
                let by = by.map(|by| format!("{by}: ")).unwrap_or_default();
                let more = if *is_veto { ", which no other proof outweighs" } else { "" };
                Self::lasting(reason.code(), format!("{by}{reason}{more}"))
            }
            None => Self::lasting("policy-unmet", "nothing is proven"),
        };
        failure.proofs = judgement.proofs.iter().map(ToString::to_string).collect();
        let about_proofs = judgement.findings.iter().filter(|finding| finding.by.is_some());
        failure.findings = about_proofs.map(ToString::to_string).collect();
        failure
    }

    /// The peer refused our assertion, or could not check it.
    pub(crate) fn dialback(error: DialbackError) -> Self {
        match error {
            DialbackError::Invalid => {
                Self::lasting("assertion-refused", "they say that our dialback key is not valid")
            }
            DialbackError::Error(condition) => Self::lasting(
                "assertion-refused",
                format!("they do not take us for who we are: {}", condition.as_str()),
            ),
            DialbackError::TimedOut => Self {
                of_pair: true,
                ..Self::passing("assertion-timeout", "they did not answer our dialback key in time")
            },
            DialbackError::Ended => Self::passing("stream-lost", "the stream ended before they answered"),
            DialbackError::Unsupported => Self {
                of_pair: true,
                ..Self::passing("not-multiplexed", "they carry no further domains on one connection")
            },
        }
    }

    /// How a stream that was to be opened ended.
    pub(crate) fn ended(end: &End, handshake: Option<&str>) -> Self {
        if let Some(why) = handshake {
            return Self {
                lasting: true,
                of_pair: false,
                ..Self::passing("tls-failed", format!("TLS failed: {why}"))
            };
        }
        match &end.reason {
            Reason::Peer => Self::passing("closed-by-peer", "they closed the stream"),
            Reason::PeerError(error) => {
                let text = error.text.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
                let said = format!("they closed the stream with {}{text}", error.condition.as_str());
                match error.condition {
                    StreamCondition::HostUnknown | StreamCondition::HostGone => {
                        Self::not_found("host-unknown", said)
                    }
                    StreamCondition::NotAuthorized
                    | StreamCondition::PolicyViolation
                    | StreamCondition::InvalidFrom => Self::lasting("refused-by-peer", said),
                    _ => Self { of_pair: true, ..Self::passing("stream-error", said) },
                }
            }
            Reason::Redirected(decision) => Self {
                redirect: Some(decision.clone()),
                ..Self::passing("redirected", "they want us elsewhere")
            },
            Reason::Host => Self::passing("closed-here", "we closed the stream"),
            Reason::Refused(condition) => {
                Self::lasting("refused-here", format!("we refused them: {}", condition.as_str()))
            }
            Reason::NoTls => Self::lasting("no-tls", "they do no TLS, which is demanded here"),
            Reason::Unauthenticated(None) => {
                Self::lasting("not-authenticated", "they take neither our certificate nor dialback")
            }
            Reason::Unauthenticated(Some(condition)) => Self::lasting(
                "not-authenticated",
                format!("they refused our certificate ({}) and do no dialback", condition.as_str()),
            ),
            Reason::Dialback(error) => Self::dialback(*error),
            Reason::Unused => Self::passing("unused", "nothing was said for long"),
            Reason::Failed(error) => Self::passing("protocol", error.to_string()),
            Reason::Lost => Self::passing("stream-lost", "the connection was lost"),
            Reason::Truncated => Self::passing("truncated", "TLS was cut off without close_notify"),
            Reason::Superseded => Self::passing("superseded", "they went on on another connection"),
            Reason::Silent => Self::passing("silent", "they did not answer a probe"),
            Reason::Slow => Self::passing("slow", "negotiation took too long"),
        }
    }

    /// What the sender of a stanza to this domain is told.
    pub(crate) fn error(&self, remote: &str) -> StanzaError {
        let error =
            StanzaError::new(self.condition).with_text(format!("{remote}: {} [{}]", self.text, self.code));
        if self.lasting { error.with_type(ErrorType::Cancel) } else { error }
    }
}
