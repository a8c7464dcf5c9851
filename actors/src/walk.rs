//! Handing out the frames of this process: from the worker's own inbox, and from other workers.
//!
//! Frames stay where they are while they are walked. An actor that is idle takes its frames from there
//! itself, one after the other, as long as they are for it: a burst for one actor costs one poll.
//!
//! An ask of an idle actor, with no other message before it, is walked while its asker is polled, and is
//! mostly answered by the time that the asker would have begun to wait.

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
    cell::ActorCell,
    contain::OnDrop,
    core::Core,
    delivery::{Delivery, Origin, Peer, Section, is_plain},
    planted::{Bug, planted},
    respond::ReplyTo,
};

/// The frames that are being walked.
#[derive(Default)]
pub(crate) struct Walk {
    frames: RefCell<Option<Frames>>,
    /// Whether the places of these messages in the mailboxes are kept: they come from the own inbox.
    promised: Cell<bool>,
    /// Walks that have been interrupted for this one.
    depth: Cell<u32>,
    /// Broadcasts that some of their receivers have not got yet.
    spreading: Cell<u32>,
    /// A message that the actor which is about to be polled will take, and its identity.
    hand: Cell<Option<Delivery>>,
    /// The same, if it is one of a broadcast.
    shared: Cell<Option<Frame>>,
    /// The same, if it is an ask without a frame, with its correlation id.
    small: Cell<Option<(Small, u64)>>,
    in_hand: Cell<Option<MessageId>>,
    mixture: Mixture,
}

/// How many asks may be handled within each other's polls: the stack has to hold all of them.
pub(crate) const HANDOVERS: u32 = 8;

impl Walk {
    pub(crate) fn hold_out(&self, delivery: Delivery) {
        self.in_hand.set(Some(delivery.envelope.header().message));
        self.hand.set(Some(delivery));
    }

    #[inline]
    fn hold_out_shared(&self, frame: Frame, message: MessageId) {
        self.in_hand.set(Some(message));
        self.shared.set(Some(frame));
    }

    /// A frame of a broadcast that the actor which is polled now is to take.
    #[inline]
    pub(crate) fn take_shared(&self) -> Option<Frame> {
        self.shared.take()
    }

    /// Walks that have been interrupted for this one.
    pub(crate) fn depth(&self) -> u32 {
        self.depth.get()
    }

    #[inline]
    fn hold_out_small(&self, small: Small, correlation: u64) {
        self.in_hand.set(Some(small.message()));
        self.small.set(Some((small, correlation)));
    }

    /// An ask without a frame that the actor which is polled now is to take, and its correlation id.
    #[inline]
    pub(crate) fn take_small(&self) -> Option<(Small, u64)> {
        self.small.take()
    }

    #[inline]
    pub(crate) fn in_hand(&self) -> Option<MessageId> {
        self.in_hand.get()
    }

    pub(crate) fn take_in_hand(&self) -> Option<Delivery> {
        self.hand.take()
    }

    /// Bytes that are left to be walked.
    fn left(&self) -> usize {
        self.frames.borrow().as_ref().map_or(0, Frames::left)
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

    /// Takes the next frame, which is for this actor.
    #[inline]
    pub(crate) fn take_for<M: Message>(&self, cell: &ActorCell) -> Option<Taken<M>> {
        if self.promised.get() {
            cell.give_place();
        }
        M::Passing::take(self.frames.borrow_mut().as_mut()?)
    }

    /// Takes the next frame if it is this message, told to this actor.
    #[inline]
    pub(crate) fn take_told_for<M: Message>(&self, cell: &ActorCell) -> Option<Carrier<M>> {
        let (slot, generation) = (cell.address.slot(), cell.address.generation());
        let mut frames = self.frames.borrow_mut();
        let told = M::Passing::take_told(frames.as_mut()?, slot, generation)?;
        if self.promised.get() {
            cell.give_place();
        }
        Some(told)
    }
}

/// How the messages of a parcel are mixed. If many that are for few actors take turns, it is cheaper to sort
/// them into the mailboxes first: each actor is polled for a number of them then. If each is for another
/// actor, or those for one are together, it is not.
#[derive(Default)]
struct Mixture {
    /// Bytes of this parcel, and polls from it.
    bytes: Cell<usize>,
    polls: Cell<u32>,
    sorted: Cell<bool>,
    /// Messages that have been sorted, and actors that have been woken for them.
    messages: Cell<u32>,
    woken: Cell<u32>,
    /// Parcels until it is tried again, if it did not pay.
    pause: Cell<u32>,
}

/// Polls before messages are sorted, the bytes that each of them takes at most, and the bytes that must be left.
const SORT_AFTER: u32 = 16;
const SORT_RUN: usize = 160;
const SORT_BYTES: usize = 64 * 48;

/// Messages after which it is seen whether that pays, and parcels that are walked as they are if not.
const SORT_TRY: u32 = 128;
const SORT_PAUSE: u32 = 16;

impl Mixture {
    fn begin(&self, bytes: usize) {
        self.bytes.set(bytes);
        self.polls.set(0);
        self.sorted.set(false);
        self.pause.set(self.pause.get().saturating_sub(1));
    }

    #[inline]
    fn is_sorted(&self) -> bool {
        self.sorted.get()
    }

    #[inline]
    fn polled(&self, left: impl FnOnce() -> usize) {
        let polls = self.polls.get() + 1;
        self.polls.set(polls);
        if polls == SORT_AFTER && self.pause.get() == 0 {
            let left = left();
            let short = self.bytes.get() - left <= SORT_AFTER as usize * SORT_RUN;
            self.sorted.set(short && left >= SORT_BYTES);
            self.messages.set(0);
            self.woken.set(0);
        }
    }

    #[inline]
    fn parked(&self, woke: bool) {
        if !self.sorted.get() {
            return;
        }
        self.messages.set(self.messages.get() + 1);
        self.woken.set(self.woken.get() + u32::from(woke));
        if self.messages.get() == SORT_TRY && self.woken.get() > SORT_TRY / 2 {
            self.sorted.set(false);
            self.pause.set(SORT_PAUSE);
        }
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
        if self.clock.allows() { self.walk.next_for(cell) } else { None }
    }

    /// Hands a parcel of this process to its receivers. Those who wait for messages handle theirs at once,
    /// as long as the time of the turn lasts.
    ///
    /// `promised` says that the places of its messages in the mailboxes are kept: it is the worker's
    /// own inbox. Then what there is no time for goes into the mailboxes. What comes from other workers
    /// stays where it is, and holds them back. Returns the frames that have been walked, or with what is left
    /// of them.
    pub(crate) fn walk(self: &Rc<Self>, parcel: Parcel, promised: bool) -> Option<Frames> {
        match parcel {
            Parcel::Frames(frames) => {
                self.begin_walk(frames, promised);
                self.walk_frames(promised);
                self.walk.frames.take()
            }
            Parcel::Single(envelope) => {
                self.dispatch_single(envelope, promised);
                None
            }
        }
    }

    /// The actor that a message goes to, if the message would be the next to be handled, and may be at once:
    /// the actor is idle, and nobody has sent anything before that waits.
    #[inline(always)]
    pub(crate) fn may_hand_over(&self, to: Address) -> Option<Rc<ActorCell>> {
        let (slot, generation) = (to.slot(), to.generation());
        let nothing_waits = to.shares_worker(self.home())
            && self.walk.depth.get() < HANDOVERS
            // What is handled now may end the actor whose task it is, and then the task must not go on.
            && !self.tasks.an_owned_one_runs.get()
            && self.walk.spreading.get() == 0
            && (self.walk.is_at_end() || planted(Bug::EarlyHandOver))
            && self.inbox.borrow().is_empty();
        if !nothing_waits || self.clock.is_over() || !self.clock.allows() {
            return None;
        }
        let idle = |cell: &Rc<ActorCell>| {
            let takes = cell.waits() && !cell.is_full();
            if takes { Some(cell.clone()) } else { None }
        };
        self.actors.look(slot.index(), generation, idle).flatten()
    }

    /// Hands out what is in the inbox, a message for this actor, while somebody is polled. What its handler
    /// inherits, if that is not in the message, comes with it.
    pub(crate) fn hand_over(self: &Rc<Self>, cell: &Rc<ActorCell>, section: Option<Section>) {
        let (outer, promised) = (RefCell::new(self.walk.frames.take()), self.walk.promised.get());
        self.walk.depth.set(self.walk.depth.get() + 1);
        let _outer = OnDrop(|| {
            self.walk.depth.set(self.walk.depth.get() - 1);
            *self.walk.frames.borrow_mut() = outer.take();
            self.walk.promised.set(promised);
        });
        let frames = self.inbox.borrow_mut().pop_frames();
        if let Some(frames) = frames {
            self.walk_for(cell, frames, section);
            self.inbox.borrow_mut().rewind();
            self.room_made.set(true);
        }
        // What has been told meanwhile, or the message itself if it is in no frame.
        if !self.inbox.borrow().is_empty() {
            self.walk_inbox();
        }
    }

    /// Hands an ask without a frame to this actor, which is idle, while somebody is polled.
    #[inline(always)]
    pub(crate) fn hand_over_small(
        self: &Rc<Self>,
        cell: &Rc<ActorCell>,
        small: Small,
        correlation: u64,
        section: Option<Section>,
    ) {
        cell.enter_section(section);
        cell.hold_out_small();
        self.walk.hold_out_small(small, correlation);
        self.walk.depth.set(self.walk.depth.get() + 1);
        {
            let _depth = OnDrop(|| self.walk.depth.set(self.walk.depth.get() - 1));
            self.poll_actor(cell);
            self.clock.ran(self, cell.name);
        }
        // What has been told meanwhile.
        if !self.inbox.borrow().is_empty() {
            self.walk_inbox_within();
        }
    }

    /// Hands out what is in the inbox while somebody is polled.
    #[inline(never)]
    fn walk_inbox_within(self: &Rc<Self>) {
        let (outer, promised) = (RefCell::new(self.walk.frames.take()), self.walk.promised.get());
        self.walk.depth.set(self.walk.depth.get() + 1);
        let _outer = OnDrop(|| {
            self.walk.depth.set(self.walk.depth.get() - 1);
            *self.walk.frames.borrow_mut() = outer.take();
            self.walk.promised.set(promised);
        });
        self.walk_inbox();
    }

    /// Walks frames of the inbox of which the first is for this actor, which is idle.
    #[inline]
    fn walk_for(
        self: &Rc<Self>,
        cell: &Rc<ActorCell>,
        mut frames: Frames,
        section: Option<Section>,
    ) {
        let plain = frames.peek().filter(is_plain);
        if let (Some(header), Some(section)) = (plain, section)
            && let Some(frame) = frames.next()
        {
            let reply_to = ReplyTo::of_plain(&header);
            let delivery = Delivery::new(Envelope::Frame(frame), reply_to);
            cell.give_place();
            cell.hold_out();
            self.walk.hold_out(Delivery { section: Some(section), ..delivery });
        }
        self.begin_walk(frames, true);
        if plain.is_some() {
            self.poll_actor(cell);
            self.clock.ran(self, cell.name);
        }
        if !self.walk.is_at_end() {
            self.walk_frames(true);
        }
    }

    /// Hands out frames of the worker's own inbox.
    #[inline]
    pub(crate) fn walk_own(self: &Rc<Self>, frames: Frames) {
        self.begin_walk(frames, true);
        self.walk_frames(true);
        self.walk.frames.take();
    }

    #[inline(always)]
    fn begin_walk(&self, frames: Frames, promised: bool) {
        self.walk.promised.set(promised);
        *self.walk.frames.borrow_mut() = Some(frames);
    }

    fn walk_frames(self: &Rc<Self>, promised: bool) {
        self.walk.mixture.begin(self.walk.left());
        while (promised || !self.clock.is_over())
            && let Some(header) = self.walk.peek()
        {
            let plain = is_plain(&header);
            if plain && promised && self.walk.mixture.is_sorted() && self.park_promised(&header) {
                continue;
            }
            let receiver =
                if plain { self.actors.find(header.slot.index(), header.generation) } else { None };
            let Some(cell) = receiver else {
                if let Some(frame) = self.walk.take() {
                    self.dispatch_own(frame, &header, promised);
                }
                continue;
            };
            let waits = cell.waits();
            if waits && !self.walk.mixture.is_sorted() && !self.clock.is_over() {
                // It takes this frame, and those behind it that are for it too.
                self.poll_actor(&cell);
                if self.clock.ran(self, cell.name) && promised {
                    // The rest of its burst waits in its mailbox, so that others have their turn.
                    self.nudge(&cell);
                }
                self.walk.mixture.polled(|| self.walk.left());
                if self.lanes.are_touched() && !self.walk.is_at_end() {
                    self.wake_sleepers();
                }
            } else if !promised && self.make_place(&cell) {
                // There may be room now, or no time.
            } else if let Some(frame) = self.walk.take() {
                self.park(&cell, frame, promised);
                self.walk.mixture.parked(waits);
            }
        }
    }

    /// Takes the next frame, whose place is kept, into the mailbox of its actor. Returns whether that takes it.
    #[inline]
    fn park_promised(&self, header: &Header) -> bool {
        let parked = self.actors.look(header.slot.index(), header.generation, |cell| {
            if cell.is_closed() {
                return false;
            }
            let Some(frame) = self.walk.take() else { return false };
            let woke = cell.waits();
            self.park(cell, frame, true);
            self.walk.mixture.parked(woke);
            true
        });
        parked == Some(true)
    }

    /// A frame from a worker of this node.
    fn dispatch_own(self: &Rc<Self>, frame: Frame, header: &Header, promised: bool) {
        if header.kind == Kind::Broadcast {
            if planted(Bug::LateBroadcast) && promised && !self.walk.is_at_end() {
                return self.push_again(frame);
            }
            return self.spread(frame, header.message, promised);
        }
        if header.extension_len > 0 {
            return self.dispatch_extended(frame, promised);
        }
        self.dispatch(Envelope::Frame(frame), Origin::Local, None, promised);
    }

    /// Puts a broadcast of this worker behind all that is in the inbox.
    fn push_again(&self, frame: Frame) {
        let address = |(slot, generation)| self.address(slot, generation);
        let targets: Vec<_> = frame.targets().map(address).collect();
        // The fault is not about a queue that is full.
        let _ = self.inbox.borrow_mut().push_broadcast(&targets, &frame.into_shared());
    }

    /// Hands a broadcast to its receivers: at once to those who are idle.
    fn spread(self: &Rc<Self>, frame: Frame, message: MessageId, promised: bool) {
        let shared = frame.clone().into_shared();
        // Who is polled here must not take what comes after the broadcast.
        let rest = RefCell::new(self.walk.frames.take());
        self.walk.spreading.set(self.walk.spreading.get() + 1);
        let _rest = OnDrop(|| {
            self.walk.spreading.set(self.walk.spreading.get() - 1);
            *self.walk.frames.borrow_mut() = rest.take();
        });
        for (slot, generation) in frame.targets() {
            let Some(cell) = self.actors.find(slot.index(), generation) else {
                self.dead_letters.to_the_dead(slot, message);
                continue;
            };
            if !promised {
                self.make_place(&cell);
            }
            if cell.waits() && !self.clock.is_over() {
                if promised {
                    cell.give_place();
                }
                cell.hold_out();
                self.walk.hold_out_shared(shared.clone(), message);
                self.poll_actor(&cell);
                self.clock.ran(self, cell.name);
                if self.lanes.are_touched() {
                    self.wake_sleepers();
                }
            } else {
                self.park(&cell, shared.clone(), promised);
            }
        }
    }

    /// A frame from a worker of this node that says more than its header. If it came to the node over a
    /// link, an extension says which.
    fn dispatch_extended(self: &Rc<Self>, frame: Frame, promised: bool) {
        let extensions = frame.extensions().unwrap_or_default();
        let origin = match extensions.origin {
            Some((node, tag)) => Origin::Link(Peer::new(node, tag)),
            None => Origin::Local,
        };
        let section = Section::from_extensions(extensions, self.now());
        self.dispatch(Envelope::Frame(frame), origin, section, promised);
    }

    /// A large message that is passed on, or a local one.
    fn dispatch_single(self: &Rc<Self>, envelope: Envelope, promised: bool) {
        let extensions = match &envelope {
            Envelope::Value(value) => value.extensions.as_deref().cloned(),
            Envelope::Frame(_) | Envelope::Apart(_) => None,
        };
        let section = extensions.and_then(|e| Section::from_extensions(e, self.now()));
        self.dispatch(envelope, Origin::Local, section, promised);
    }
}
