//! Sends one message: `PASSWORD=... cargo run -p nuncio-client --example send juliet@example.org romeo@example.net "Good night"`.

use nuncio_client::xmpp::jid::{BareJid, Jid};
use nuncio_client::xmpp::stanza::{MessageType, message};
use nuncio_client::{Client, ClientConfig, Roots};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [from, to, text] = words.as_slice() else { return Err("wanted: FROM TO TEXT".into()) };
    let account = ClientConfig::new(BareJid::new(from)?, &std::env::var("PASSWORD")?, Roots::System);
    let mut session = Client::connect(account).await?;
    session.send(&message(MessageType::Chat).to(Jid::new(to)?).body(text).build()).await?;
    session.close().await;
    Ok(())
}
