//! The sessions of an endpoint, over all its connections: which there are, and on which connection each is (RFC 4975 §5.4).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::api::{BindError, Session, SessionId};
use crate::sdp::Fingerprint;
use crate::uri::{Path, Scheme, Uri};

/// The host's name for a connection; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

#[derive(Debug)]
struct Entry {
    session: Arc<Session>,
    fingerprints: Vec<Fingerprint>,
    bound: Option<ConnectionId>,
}

/// All sessions of an endpoint. Plain data: the host keeps it, and answers [`super::Question::Bind`] from it.
#[derive(Debug, Default)]
pub struct Directory {
    /// By session id, of which no two are alike (S1-01).
    sessions: BTreeMap<Box<str>, Entry>,
}

impl Directory {
    /// Adds a session that SDP has agreed on; `fingerprints` are those of the peer's SDP, none if a certificate is judged by its name.
    /// False if our URI has no session id, or one that is in use (RFC 4975 §8.2).
    pub fn add(&mut self, session: Arc<Session>, fingerprints: Vec<Fingerprint>) -> bool {
        let Some(id) = session.local.session_id() else { return false };
        if self.sessions.contains_key(id) {
            return false;
        }
        self.sessions.insert(id.into(), Entry { session, fingerprints, bound: None });
        true
    }

    /// Forgets a session: what is for it from now on is answered with 481.
    pub fn remove(&mut self, id: SessionId) {
        self.sessions.retain(|_, entry| entry.session.id != id);
    }

    /// A session of which we are the active side is about to be opened on a connection. None if it is unknown or bound.
    pub fn claim(&mut self, connection: ConnectionId, local: &Uri) -> Option<Arc<Session>> {
        let entry = self.sessions.get_mut(local.session_id()?)?;
        if entry.bound.is_some() {
            return None;
        }
        entry.bound = Some(connection);
        Some(Arc::clone(&entry.session))
    }

    /// Answers [`super::Question::Bind`].
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind(
        &mut self,
        connection: ConnectionId,
        to: &Path,
        from: &Path,
        secured: bool,
        certificate: Option<&Bytes>,
    ) -> Result<Arc<Session>, BindError> {
        let id = to.last().and_then(Uri::session_id).ok_or(BindError::Unknown)?;
        let entry = self.sessions.get_mut(id).ok_or(BindError::Unknown)?;
        // What was promised over TLS does not exist in clear (RFC 4975 §5.4).
        if !entry.session.matches(to, from) || (entry.session.local.scheme() == Scheme::Msrps && !secured) {
            return Err(BindError::Unknown);
        }
        // RFC 8122 §6.2, S1-R6: what was promised has to be shown.
        if !entry.fingerprints.is_empty()
            && !certificate.is_some_and(|it| Fingerprint::verify(&entry.fingerprints, it))
        {
            return Err(BindError::Fingerprint);
        }
        match entry.bound {
            Some(bound) if bound != connection => Err(BindError::Elsewhere),
            _ => {
                entry.bound = Some(connection);
                Ok(Arc::clone(&entry.session))
            }
        }
    }

    /// A connection is over: its sessions are as well (RFC 4975 §5.4). Gives their names.
    pub fn release(&mut self, connection: ConnectionId) -> Vec<SessionId> {
        let mut ended = Vec::new();
        self.sessions.retain(|_, entry| {
            let over = entry.bound == Some(connection);
            if over {
                ended.push(entry.session.id);
            }
            !over
        });
        ended
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }
}
