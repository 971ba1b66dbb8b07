//! Why a connection ended, in words.

use std::io;

use nuncio_stream::client::Reason;
use nuncio_stream::redirect::Decision;

use crate::identity::IdentityError;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// No TCP connection, or no address.
    #[error("no connection: {0}")]
    Connect(#[from] io::Error),
    /// The server is not proven to be that of the account's domain (S3-23). It has got nothing from us but the handshake; or its
    /// proof has ended and there is no other.
    #[error(transparent)]
    Identity(#[from] Box<IdentityError>),
    /// The TLS handshake failed.
    #[error("TLS handshake failed: {0}")]
    Tls(String),
    /// The stream ended.
    #[error("{}", told(.0))]
    Stream(Reason),
}

fn told(reason: &Reason) -> String {
    match reason {
        Reason::Host => "the stream was closed on request".to_owned(),
        Reason::Peer => "the server closed the stream".to_owned(),
        Reason::PeerError(error) => format!("the server ended the stream: {error}"),
        Reason::Redirected(Decision::Refuse(refusal)) => refusal.to_string(),
        Reason::Redirected(_) => "the server wants the client elsewhere".to_owned(),
        Reason::Login(condition) => format!("the server refused the login: {}", condition.as_str()),
        Reason::Bind(error) => format!("the server refused to bind a resource: {error}"),
        Reason::NoTls => "the server has no TLS".to_owned(),
        Reason::Failed(error) => error.to_string(),
        Reason::Lost => "the connection was lost".to_owned(),
        Reason::Truncated => "the connection was cut off inside TLS".to_owned(),
        Reason::Silent => "the server does not answer".to_owned(),
        Reason::Slow => "the server took too long until a resource was bound".to_owned(),
    }
}
