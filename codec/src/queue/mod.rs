//! A queue of small messages, as they wait in a mailbox without frames.
//!
//! It is a ring of places, of two words each: which message it is, and what it says. A message that says more has
//! a second place behind the first. A *mark* among them stands for a message that is kept elsewhere.
//!
//! Every message that is told on one worker goes through here, so it does as little as it can: whoever owns
//! the queue decides ahead how many messages may be pushed and popped, and then each of them is a comparison and a
//! few words.
//!
//! | | from then on |
//! |---|---|
//! | [`open`](SmallQueue::open) | so many messages may be pushed |
//! | [`shut`](SmallQueue::shut) | none, until it is reopened |
//! | [`reopen`](SmallQueue::reopen) | as many again as before it was shut |
//! | [`close`](SmallQueue::close) | none, until it is opened |
//! | [`grant`](SmallQueue::grant) | so many messages may be popped |
//!
//! What is kept elsewhere waits in a [`Fifo`], in the same order as the marks for it.

mod fifo;
mod slots;
mod small;

pub(crate) use small::small_id;
pub use {
    fifo::Fifo,
    small::{Front, Mark, Popped, SmallQueue},
};
