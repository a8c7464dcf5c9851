//! Handing out the frames of other workers, and messages that are handled at once.
//!
//! Frames stay where they are while they are walked. An actor that is idle takes its frames from there
//! itself, one after the other, as long as they are for it: a burst for one actor costs one poll.
//!
//! An ask of an idle actor of the same worker is handled while its asker is polled, and is mostly answered by the
//! time that the asker would have begun to wait.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use annulus_codec::{
    address::Address,
    archive::AccessError,
    frame::{Frame, Frames, Header, Kind},
    held::Small,
    message::{Message, MessageId},
    outbox::Parcel,
    passing::{Envelope, Passing},
};

use crate::{
    cell::{ActorCell, Phase, Place},
    contain::OnDrop,
    core::Core,
    delivery::{Delivery, Origin, Peer, Section, is_plain},
    planted::{Bug, planted},
    respond::ReplyTo,
};

/// The frames that are being walked.
pub(crate) struct Walk {
    frames: RefCell<Option<Frames>>,
    /// Whether there are any. It is looked at after each message.
    walking: Cell<bool>,
    /// Asks that are being handled within polls of their askers.
    depth: Cell<u32>,
    /// A message that the actor which is about to be polled will take, and where its answer goes. `in_hand` is its
    /// identity.
    hand: Cell<Option<(Envelope, Option<ReplyTo>)>>,
    /// The same, if it has waited in the actor's mailbox, which has its identity.
    waited: Cell<Option<Box<Delivery>>>,
    /// The same, if it is an ask without a frame, and its correlation id.
    small: Cell<Small>,
    small_correlation: Cell<u64>,
    in_hand: Cell<MessageId>,
}

/// How many asks may be handled within each other's polls: the stack has to hold all of them.
pub(crate) const HANDOVERS: u32 = 8;

impl Default for Walk {
    fn default() -> Self {
        Walk {
            frames: RefCell::default(),
            walking: Cell::new(false),
            depth: Cell::default(),
            hand: Cell::default(),
            waited: Cell::default(),
            small: Cell::new(Small::NONE),
            small_correlation: Cell::default(),
            in_hand: Cell::new(MessageId::from_bits(0)),
        }
    }
}

impl Walk {
    /// Holds a message out to an actor, which is idle. What its handler inherits is noted at once.
    pub(crate) fn hold_out(&self, cell: &ActorCell, delivery: Delivery) {
        let Delivery { envelope, reply_to, section, .. } = delivery;
        cell.enter_section(section);
        cell.hold_out(Place::Hand);
        self.in_hand.set(envelope.header().message);
        self.hand.set(Some((envelope, reply_to)));
    }

    pub(crate) fn hold_out_waited(&self, delivery: Box<Delivery>) {
        self.waited.set(Some(delivery));
    }

    pub(crate) fn take_waited(&self) -> Option<Box<Delivery>> {
        self.waited.take()
    }

    /// Asks that are being handled within polls of their askers.
    pub(crate) fn depth(&self) -> u32 {
        self.depth.get()
    }

    #[inline]
    fn hold_out_small(&self, small: Small, correlation: u64) {
        self.in_hand.set(small.message());
        self.small.set(small);
        self.small_correlation.set(correlation);
    }

    /// The ask without a frame that the actor which is polled now is to take, and its correlation id.
    #[inline(always)]
    pub(crate) fn small(&self) -> (Small, u64) {
        (self.small.get(), self.small_correlation.get())
    }

    #[inline]
    pub(crate) fn in_hand(&self) -> MessageId {
        self.in_hand.get()
    }

    pub(crate) fn take_in_hand(&self) -> Option<(Envelope, Option<ReplyTo>)> {
        self.hand.take()
    }

    /// Whether frames are being walked.
    #[inline(always)]
    pub(crate) fn is_walking(&self) -> bool {
        self.walking.get()
    }

    /// Whether nothing is left to be walked.
    #[inline(always)]
    fn is_at_end(&self) -> bool {
        self.frames.borrow().as_ref().is_none_or(Frames::is_at_end)
    }

    #[inline]
    fn peek(&self) -> Option<Header> {
        self.frames.borrow().as_ref()?.peek()
    }

    #[inline]
    fn take(&self) -> Option<Frame> {
        self.frames.borrow_mut().as_mut()?.next()
    }

    /// Which message is next, if it is a plain one for this actor.
    #[inline]
    fn next_for(&self, cell: &ActorCell) -> Option<MessageId> {
        let header = self.peek()?;
        let is_for = header.slot == cell.address.slot()
            && header.generation == cell.address.generation()
            && is_plain(&header);
        is_for.then_some(header.message)
    }

    /// Takes the next frame, which is for the actor that is polled now.
    #[inline]
    pub(crate) fn take_next<M: Message>(&self) -> Option<Taken<M>> {
        M::Passing::take(self.frames.borrow_mut().as_mut()?)
    }

    /// Takes the next frame if it is this message, told to this actor.
    #[inline]
    pub(crate) fn take_told_for<M: Message>(&self, cell: &ActorCell) -> Option<Carrier<M>> {
        let (slot, generation) = (cell.address.slot(), cell.address.generation());
        let mut frames = self.frames.borrow_mut();
        M::Passing::take_told(frames.as_mut()?, slot, generation)
    }
}

pub(crate) type Carrier<M> = <<M as Message>::Passing as Passing<M>>::Carrier;

/// A message and its header, or why it is none.
type Taken<M> = (Header, Result<Carrier<M>, AccessError>);

impl Core {
    /// Which message is the next of those that are being walked, if it is a plain one for this actor and
    /// there is time for it.
    #[inline]
    pub(crate) fn next_plain(&self, cell: &ActorCell) -> Option<MessageId> {
        if self.walk.is_walking() && self.clock.allows() { self.walk.next_for(cell) } else { None }
    }

    /// Hands a parcel of another worker to its receivers. Those who wait for messages handle theirs at once,
    /// as long as the time of the turn lasts.
    ///
    /// What there is no time for stays where it is, and holds that worker back. Returns the frames that have been
    /// walked, or with what is left of them.
    pub(crate) fn walk(self: &Rc<Self>, parcel: Parcel) -> Option<Frames> {
        match parcel {
            Parcel::Frames(frames) => {
                *self.walk.frames.borrow_mut() = Some(frames);
                self.walk.walking.set(true);
                self.walk_frames();
                self.walk.walking.set(false);
                self.walk.frames.take()
            }
            Parcel::Single(envelope) => {
                self.dispatch_single(envelope);
                None
            }
        }
    }

    /// The actor that an ask goes to, if it may be handled at once: the actor is idle, and so has nothing waiting
    /// for it.
    #[inline(always)]
    pub(crate) fn may_hand_over(&self, to: Address) -> Option<Rc<ActorCell>> {
        let may = to.shares_node(self.home())
            && self.walk.depth.get() < HANDOVERS
            // What is handled now may end the actor whose task it is, and then the task must not go on.
            && !self.tasks.an_owned_one_runs.get();
        if !may || self.clock.is_over() {
            return None;
        }
        let cell = self.actors.find_at(to)?;
        let jumps = planted(Bug::EarlyHandOver) && cell.phase.get() == Phase::Ready;
        // Nothing waits for one that is idle.
        let takes = (cell.waits() || jumps) && !cell.mailbox.is_closed();
        takes.then_some(cell)
    }

    /// Hands an ask to this actor, which is idle, while its asker is polled.
    pub(crate) fn hand_over(self: &Rc<Self>, cell: &Rc<ActorCell>, delivery: Delivery) {
        self.walk.hold_out(cell, delivery);
        self.poll_within(cell);
    }

    /// Hands an ask without a frame to this actor, which is idle, while its asker is polled.
    #[inline(always)]
    pub(crate) fn hand_over_small(
        self: &Rc<Self>,
        cell: &Rc<ActorCell>,
        small: Small,
        correlation: u64,
        section: Option<Section>,
    ) {
        cell.enter_section(section);
        cell.hold_out(Place::Small);
        self.walk.hold_out_small(small, correlation);
        self.poll_within(cell);
    }

    /// Runs an actor while another one, or a task, is polled.
    #[inline(always)]
    fn poll_within(self: &Rc<Self>, cell: &Rc<ActorCell>) {
        self.walk.depth.set(self.walk.depth.get() + 1);
        // However the poll ends.
        let _depth = OnDrop(|| self.walk.depth.set(self.walk.depth.get() - 1));
        self.poll_actor(cell);
        self.clock.ran(self, cell.name);
    }

    fn walk_frames(self: &Rc<Self>) {
        while !self.clock.is_over()
            && let Some(header) = self.walk.peek()
        {
            let plain = is_plain(&header);
            let receiver =
                if plain { self.actors.find(header.slot.index(), header.generation) } else { None };
            let Some(cell) = receiver else {
                if let Some(frame) = self.walk.take() {
                    self.dispatch_own(frame, &header);
                }
                continue;
            };
            if cell.waits() {
                // It takes this frame, and those behind it that are for it too.
                self.poll_actor(&cell);
                self.clock.ran(self, cell.name);
                if self.lanes.are_touched() && !self.walk.is_at_end() {
                    self.wake_sleepers();
                }
            } else if self.make_place(&cell) {
                // There may be room now, or no time.
            } else if let Some(frame) = self.walk.take() {
                self.park(&cell, frame);
            }
        }
    }

    /// A frame from a worker of this node.
    fn dispatch_own(self: &Rc<Self>, frame: Frame, header: &Header) {
        if header.kind == Kind::Broadcast {
            return self.spread(frame, header.message);
        }
        if header.extension_len > 0 {
            return self.dispatch_extended(frame);
        }
        self.dispatch(Envelope::Frame(frame), Origin::Local, None);
    }

    /// Puts a broadcast into the mailboxes of its receivers.
    fn spread(self: &Rc<Self>, frame: Frame, message: MessageId) {
        let shared = frame.clone().into_shared();
        for (slot, generation) in frame.targets() {
            match self.actors.find(slot.index(), generation) {
                Some(cell) => {
                    self.make_place(&cell);
                    self.park(&cell, shared.clone());
                }
                None => self.dead_letters.to_the_dead(slot, message),
            }
        }
    }

    /// A frame from a worker of this node that says more than its header. If it came to the node over a
    /// link, an extension says which.
    fn dispatch_extended(self: &Rc<Self>, frame: Frame) {
        let extensions = frame.extensions().unwrap_or_default();
        let origin = match extensions.origin {
            Some((node, tag)) => Origin::Link(Peer::new(node, tag)),
            None => Origin::Local,
        };
        let section = Section::from_extensions(extensions, self.now());
        self.dispatch(Envelope::Frame(frame), origin, section);
    }

    /// A large message that is passed on, or a local one.
    fn dispatch_single(self: &Rc<Self>, envelope: Envelope) {
        let extensions = match &envelope {
            Envelope::Value(value) => value.extensions.as_deref().cloned(),
            Envelope::Frame(_) | Envelope::Apart(_) => None,
        };
        let section = extensions.and_then(|e| Section::from_extensions(e, self.now()));
        self.dispatch(envelope, Origin::Local, section);
    }
}
