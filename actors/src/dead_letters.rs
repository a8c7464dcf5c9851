//! Dead letters: messages that reached nobody. They are counted, and logged at debug level.

use std::cell::Cell;

use annulus_codec::{address::Address, archive::AccessError, message::MessageId};

use crate::error::Failure;

/// The dead letters of a worker, by cause, since its start.
#[derive(Debug, Default)]
pub(crate) struct DeadLetters {
    /// To an actor that is gone.
    pub(crate) to_the_dead: Cell<u64>,
    /// To an actor whose mailbox was full.
    pub(crate) overflowed: Cell<u64>,
    /// Not in the actor's protocol, or in another version.
    pub(crate) unhandled: Cell<u64>,
    /// Bytes from elsewhere that are no valid message.
    pub(crate) invalid: Cell<u64>,
    /// Answers that could not be sent, because the link was gone or memory was short.
    pub(crate) unanswerable: Cell<u64>,
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

impl DeadLetters {
    pub(crate) fn to_the_dead(&self, slot: impl std::fmt::Debug, message: MessageId) {
        count(&self.to_the_dead);
        tracing::debug!(target: "annulus", ?slot, ?message, "dead letter: no such actor");
    }

    pub(crate) fn overflowed(&self, actor: Address, message: MessageId) {
        count(&self.overflowed);
        tracing::debug!(target: "annulus", ?actor, ?message, "dead letter: mailbox full");
    }

    pub(crate) fn unhandled(&self, actor: Address, message: MessageId, failure: Failure) {
        count(&self.unhandled);
        tracing::debug!(target: "annulus", ?actor, ?message, ?failure, "dead letter: not handled");
    }

    pub(crate) fn invalid(&self, message: &str, error: &AccessError) {
        count(&self.invalid);
        tracing::debug!(target: "annulus", message, %error, "dead letter: not valid");
    }

    pub(crate) fn unanswerable(&self) {
        count(&self.unanswerable);
        tracing::debug!(target: "annulus", "dead letter: an answer that cannot be sent");
    }

    pub(crate) fn total(&self) -> u64 {
        self.to_the_dead.get()
            + self.overflowed.get()
            + self.unhandled.get()
            + self.invalid.get()
            + self.unanswerable.get()
    }
}
