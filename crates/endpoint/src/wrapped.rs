//! Messages inside CPIM (RFC 3862), and what is told of them beyond MSRP's own reports (RFC 5438).

use std::io;

use bytes::Bytes;
use nuncio_msrp::Ident;
use nuncio_msrp::cpim::Cpim;
use nuncio_msrp::head::Field;
use nuncio_msrp::imdn::{self, Disposition, Notification, Request};
use nuncio_msrp::media::essence;
use nuncio_net::OsEntropy;
use nuncio_sansio::Entropy as _;

use crate::error::SendError;
use crate::session::{Message, Outgoing, Sender, Shared};
use crate::store::Body;

/// The media type of a message inside CPIM.
pub const CPIM: &str = "message/cpim";
/// So much of a message is looked at for its CPIM headers; more than they may have.
const HEADERS: usize = 64 * 1024;

/// What a peer has told of a message of ours, which had asked for that. Of each kind (delivery, processing, display) there is one at most. It is the word of
/// whoever is in the session, and no proof (RFC 5438 §14.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notified {
    /// The message: [`crate::Sent::id`].
    pub message: Ident,
    /// What is told.
    pub notification: Notification,
}

impl Outgoing {
    /// The same inside CPIM, with the addresses and headers of `head`; type, MIME fields and content are the message's own. If the headers ask for
    /// notifications ([`imdn::Request::headers`]), those that come are [`crate::Incoming::Notification`].
    #[must_use]
    pub fn inside(mut self, mut head: Cpim) -> Self {
        head.content_type = self.content_type.into();
        head.content = Bytes::new();
        let fields = std::mem::take(&mut self.fields);
        // What is about the content goes with it; extensions of MSRP stay where they are.
        let (content, own) = fields.into_iter().partition(|it| about_content(it.name()));
        let content: Vec<Field> = content;
        head.content_fields =
            content.iter().map(|it| (it.name().to_owned(), it.value().to_owned())).collect();
        self.fields = own;
        self.asks = Request::of(&head);
        self.prefix = head.write().into();
        self.content_type = CPIM.into();
        self
    }
}

fn about_content(name: &str) -> bool {
    name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("Content-"))
}

impl Message {
    /// What is inside, if it is a CPIM message that can be read: its headers, without the content, and the message with the type, the MIME fields and the
    /// content of that. Else the message as it is.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub async fn unwrapped(self) -> io::Result<(Option<Cpim>, Self)> {
        if essence(&self.content_type).as_deref() != Some(CPIM) {
            return Ok((None, self));
        }
        let start = self.body.start(HEADERS).await?;
        let Ok(mut head) = Cpim::parse(&start) else { return Ok((None, self)) };
        let content = std::mem::take(&mut head.content);
        let before = start.len().saturating_sub(content.len()) as u64;
        let inner = head.content_fields.iter().filter_map(|(name, value)| Field::new(name, value).ok());
        let message = Self {
            content_type: head.content_type.as_str().into(),
            fields: inner.collect(),
            body: self.body.after(before),
            ..self
        };
        Ok((Some(head), message))
    }
}

impl Sender {
    /// Tells whoever sent a message with these CPIM headers what became of it, if that was asked for (RFC 5438 §7.2); gives whether it was. To be called
    /// once for each kind, and where our user agrees (§14.2).
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn notify(&self, about: &Cpim, disposition: Disposition) -> Result<bool, SendError> {
        let Some(notification) = Notification::about(about, disposition) else { return Ok(false) };
        let message = notification.message(about, &OsEntropy.token());
        self.send(Outgoing::bytes(CPIM, message.write()).unreported()).await?;
        Ok(true)
    }
}

impl Shared {
    /// What a message tells of one of ours, if it does and that was asked for. Any other is a message like all.
    pub(crate) async fn notified(&self, content_type: &str, body: &Body) -> Option<Notified> {
        let may_be = essence(content_type).as_deref() == Some(CPIM) && !self.asked.lock().is_empty();
        if !may_be {
            return None;
        }
        let bytes = body.bytes(HEADERS + imdn::LONGEST).await.ok()?;
        let notification = Notification::of(&Cpim::parse(&bytes).ok()?)?;
        let notification = match notification {
            Ok(notification) => notification,
            Err(error) => {
                tracing::debug!(%error, "a notification cannot be read");
                return None;
            }
        };
        let message = self.asked.lock().told(&notification)?;
        Some(Notified { message, notification })
    }
}
