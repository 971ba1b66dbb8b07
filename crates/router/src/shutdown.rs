//! A stop that loses nothing that was acknowledged, and streams that are reset.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nuncio_store::{Fault, Ticket};
use nuncio_xmpp::error::{StreamCondition, StreamError};

use crate::lane::SessionState;
use crate::router::Router;
use crate::session::Session;

impl Router {
    /// Every session in memory.
    pub fn sessions(self: &Arc<Self>) -> Vec<Arc<Session>> {
        let mut all = Vec::new();
        for lane in self.lanes() {
            let sessions = lane.step(self, |step| {
                step.account.sessions.iter().map(|state| Arc::clone(&state.session)).collect::<Vec<_>>()
            });
            all.extend(sessions.value);
        }
        all.sort_by_key(|session| session.id());
        all
    }

    /// Stops: no resource is bound any more, streams are closed with `system-shutdown`, and what no session has taken within
    /// `grace` is written as offline messages. The connections end by themselves.
    ///
    /// # Errors
    /// The store failed to write what was left.
    pub async fn shutdown(self: &Arc<Self>, grace: Duration) -> Result<(), Fault> {
        self.closing.store(true, Ordering::Release);
        self.stopping.send_replace(true);
        for session in self.sessions() {
            session.close(Some(StreamError::new(StreamCondition::SystemShutdown)), false);
        }
        let gone = async {
            while self.sessions().iter().any(|session| session.is_connected()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(grace, gone).await.is_err() {
            tracing::warn!("some streams did not close in time");
        }
        let mut tickets = Vec::new();
        for lane in self.lanes() {
            let stepped = lane.step(self, |step| {
                let sessions: Vec<_> = step.account.sessions.iter().map(SessionState::id).collect();
                for session in sessions {
                    step.end(session, Some(StreamError::new(StreamCondition::SystemShutdown)));
                }
            });
            tickets.push(stepped.ticket);
            self.route_outbox(&lane).await;
        }
        self.quiet().await;
        Ticket::join(tickets).await?;
        self.store().flush().await
    }

    /// Closes every stream with `reset`, spread over `window` (RFC 6120 §4.9.3.16, S0-27): after keys or policies have changed. Sessions
    /// that can be resumed can be, after a fresh authentication. Returns how many streams will be closed.
    pub fn reset_streams(self: &Arc<Self>, window: Duration) -> usize {
        let sessions = self.sessions();
        let count = u32::try_from(sessions.len()).unwrap_or(u32::MAX).max(1);
        for (session, place) in sessions.iter().map(Arc::clone).zip(0_u32..) {
            let wait = window / count * place;
            // Not waited for by a stop: it closes the streams itself.
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                session.close(Some(StreamError::new(StreamCondition::Reset)), true);
            });
        }
        sessions.len()
    }
}
