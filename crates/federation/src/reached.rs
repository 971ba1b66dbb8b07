//! How far a stream had come when it ended, so that a peer that only hangs up tells something all the same.

use nuncio_stream::s2s::{Event, Offers};

use crate::failure::Failure;

/// How far the negotiation of a stream has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reached {
    /// Nothing was understood yet.
    #[default]
    Connected,
    /// Headers are exchanged in clear.
    Opened,
    /// TLS is up.
    Secured,
    /// Headers are exchanged in TLS.
    OpenedSecurely,
    /// They have said what they offer to us.
    Offered(Offers),
    /// A pair is carried: how a stream ends after that is no failure to open it.
    Carrying,
}

impl Reached {
    /// Takes a fact into account.
    pub(crate) fn note(&mut self, event: &Event) {
        *self = match (&self, event) {
            (Self::Carrying, _) | (_, Event::Authorised { .. }) => Self::Carrying,
            (Self::Connected, Event::Opened { .. }) => Self::Opened,
            (Self::Secured, Event::Opened { .. }) => Self::OpenedSecurely,
            (_, Event::Secured(_)) => Self::Secured,
            (_, Event::Offered(offers)) => Self::Offered(*offers),
            _ => return,
        };
    }

    const fn words(self) -> Option<&'static str> {
        Some(match self {
            Self::Connected => "before any stream header or TLS came",
            Self::Opened => "after the stream headers, before TLS began or was done",
            Self::Secured => "after the TLS handshake, before their stream header",
            Self::OpenedSecurely => "in TLS, after the stream headers, before the next step",
            Self::Offered(Offers { external: true, .. }) => {
                "after we offered our certificate (SASL EXTERNAL)"
            }
            Self::Offered(Offers { dialback: true, .. }) => "before they answered our dialback key",
            Self::Offered(_) => "after they offered no way to authenticate us",
            Self::Carrying => return None,
        })
    }
}

impl Failure {
    /// Says where it happened, of an end that tells nothing else.
    pub(crate) fn at(mut self, reached: Reached) -> Self {
        if matches!(&*self.code, "closed-by-peer" | "stream-lost" | "truncated" | "slow" | "silent")
            && let Some(words) = reached.words()
        {
            self.text = format!("{}, {words}", self.text);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuncio_sansio::{TlsFacts, TlsVersion};
    use nuncio_stream::s2s::{By, End, Pair, Reason, Way};

    fn opened() -> Event {
        Event::Opened { id: "1".to_owned(), pair: None }
    }

    fn secured() -> Event {
        Event::Secured(TlsFacts {
            version: TlsVersion::Tls13,
            suite: "x".to_owned(),
            resumed: false,
            server_name: None,
            exporter: None,
            server_end_point: None,
            client_certificate: None,
            peer_certificates: Vec::new(),
        })
    }

    fn offered(external: bool, dialback: bool) -> Event {
        Event::Offered(Offers { external, dialback, ..Offers::default() })
    }

    /// Each step by its own words, whichever way the stream begins.
    #[test]
    fn whoever_hangs_up_is_told_at_which_step() {
        let carried = || Event::Authorised { pair: Pair::new("a", "b"), way: Way::Out, by: By::External };
        for (events, words) in [
            (vec![], Some("before any stream header or TLS came")),
            (vec![opened()], Some("after the stream headers, before TLS")),
            (vec![opened(), secured()], Some("after the TLS handshake")),
            (vec![secured(), opened()], Some("in TLS, after the stream headers")),
            (
                vec![opened(), secured(), opened(), offered(true, true)],
                Some("after we offered our certificate"),
            ),
            (vec![secured(), opened(), offered(false, true)], Some("before they answered our dialback key")),
            (vec![secured(), opened(), offered(false, false)], Some("after they offered no way")),
            (vec![secured(), opened(), offered(true, true), carried()], None),
            (vec![secured(), opened(), offered(true, true), carried(), opened()], None),
        ] {
            let mut reached = Reached::default();
            events.iter().for_each(|event| reached.note(event));
            let end = End { reason: Reason::Lost, clean: false, error: None, sent: 0, resumable: None };
            let text = Failure::ended(&end, None).at(reached).text;
            let rest = text.strip_prefix("the connection was lost").unwrap();
            match words {
                Some(words) => assert!(rest.starts_with(&format!(", {words}")), "{events:?}: {text}"),
                None => assert_eq!(rest, "", "{events:?}"),
            }
        }
    }
}
