//! Several messages that go to one actor of this worker, one right after the other.
//!
//! Who tells an actor twice will tell it more. So with the second message places are kept in the mailbox for a
//! number of others at once, and those go into the inbox without a look at the actor. Nobody else finds
//! these places taken: what is left of them is given back when the handler or task that tells has been polled, and
//! before anybody is refused.

use std::cell::{Cell, RefCell};

use annulus_codec::{address::Address, message::Message, outbox::Admission, passing::Passing};

use crate::{cell::ActorCell, core::Core, error::TellError};

/// Places that are kept at once.
const PLACES: u32 = 64;

/// See the [module](self).
pub(crate) struct Streak {
    /// Whom the last message went to, if `left` says that there was one.
    to: Cell<Address>,
    /// One more than the places that are kept in its mailbox; zero if nobody has been told anything.
    left: Cell<u32>,
}

impl Streak {
    pub(crate) fn new(anybody: Address) -> Self {
        Streak { to: Cell::new(anybody), left: Cell::new(0) }
    }

    #[inline(always)]
    fn has_place(&self, to: Address) -> bool {
        self.left.get() > 1 && self.to.get() == to
    }

    #[inline(always)]
    fn use_place(&self) {
        self.left.set(self.left.get() - 1);
    }
}

impl Core {
    /// Tells an actor of this worker one more message, if that takes no more than to append it to the inbox.
    #[inline(always)]
    pub(crate) fn tell_more<M: Message>(&self, to: Address, message: &M) -> bool {
        let told = self.streak.has_place(to)
            && M::Passing::append_told(message, to, &mut self.inbox.borrow_mut());
        if told {
            self.streak.use_place();
        }
        told
    }

    /// Tells an actor of this node something flat. Returns whether it did; if not, nothing has happened, and the
    /// long way finds out why.
    #[inline(never)]
    pub(crate) fn tell_flat<M: Message>(&self, to: Address, message: &M) -> bool {
        if !to.shares_node(self.home()) || self.runs_now(to) {
            return false;
        }
        let worker = to.slot().worker();
        if worker != self.worker() {
            let outbox = self.lanes.outbox(worker);
            let append = |outbox: &RefCell<_>| {
                M::Passing::append_told(message, to, &mut outbox.borrow_mut())
            };
            return outbox.is_some_and(append);
        }
        if self.keep_place(to, Admission::Bounded).is_err() {
            return false;
        }
        let told = M::Passing::append_told(message, to, &mut self.inbox.borrow_mut());
        if !told {
            self.give_place(to);
        }
        told
    }

    /// Keeps a place in the mailbox of an actor of this worker, or more of them if it is told again.
    #[inline(always)]
    pub(crate) fn keep_place(&self, to: Address, admission: Admission) -> Result<(), TellError> {
        if self.streak.has_place(to) {
            self.streak.use_place();
            return Ok(());
        }
        let again = self.streak.left.get() > 0 && self.streak.to.get() == to;
        self.end_streak();
        let kept = self.actors.look(to.slot().index(), to.generation(), |cell| {
            cell.keep_place(admission)?;
            self.streak.to.set(to);
            self.streak.left.set(1);
            if again {
                self.begin_streak(cell);
            }
            Ok(())
        });
        kept.unwrap_or(Err(TellError::Dead))
    }

    /// Keeps one place in the mailbox of an actor of this worker that is told something only once.
    #[inline]
    pub(crate) fn keep_one_place(
        &self,
        to: Address,
        admission: Admission,
    ) -> Result<(), TellError> {
        let kept = self
            .actors
            .look(to.slot().index(), to.generation(), |cell| self.keep_place_of(cell, admission));
        kept.unwrap_or(Err(TellError::Dead))
    }

    /// Keeps one place in an actor's mailbox.
    #[inline]
    pub(crate) fn keep_place_of(
        &self,
        cell: &ActorCell,
        admission: Admission,
    ) -> Result<(), TellError> {
        match cell.keep_place(admission) {
            Err(TellError::Full) if self.end_streak() => cell.keep_place(admission),
            kept => kept,
        }
    }

    #[cold]
    #[inline(never)]
    fn begin_streak(&self, cell: &ActorCell) {
        self.streak.left.set(1 + cell.keep_places(PLACES));
    }

    /// Gives back the places that have been kept and not used. Returns whether there were any.
    #[inline(always)]
    pub(crate) fn end_streak(&self) -> bool {
        let left = self.streak.left.take();
        if left > 1 {
            self.give_places(self.streak.to.get(), left - 1);
        }
        left > 1
    }

    #[cold]
    #[inline(never)]
    fn give_places(&self, to: Address, places: u32) {
        self.actors.look(to.slot().index(), to.generation(), |cell| cell.give_places(places));
    }
}
