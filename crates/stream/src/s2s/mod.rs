//! Streams between servers, in both roles.

mod api;
mod dialback;

pub use self::api::*;

use std::sync::Arc;

use nuncio_sansio::{Entropy, Input, Machine, Output, Time};

/// One end of a stream between servers.
pub struct S2s;

impl S2s {
    /// A stream that we open. With [`Start::DirectTls`] the first input must be [`Input::Tls`].
    pub fn initiating(
        config: Arc<S2sConfig>,
        entropy: Arc<dyn Entropy>,
        opening: Opening,
        now: Time,
    ) -> Self {
        let _ = (config, entropy, opening, now);
        Self
    }

    /// A stream that a peer opens. With [`Start::DirectTls`] the first input must be [`Input::Tls`].
    pub fn receiving(config: Arc<S2sConfig>, entropy: Arc<dyn Entropy>, start: Start, now: Time) -> Self {
        let _ = (config, entropy, start, now);
        Self
    }
}

impl Machine for S2s {
    type Question = Question;
    type Answer = Answer;
    type Event = Event;
    type Command = Command;

    fn handle(&mut self, _: Time, _: Input<'_, Answer, Command>) {}

    fn poll(&mut self, _: Time) -> Output<Question, Event> {
        Output::Wait(None)
    }
}
