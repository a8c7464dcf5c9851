//! Watching: an actor is told when another one ends.
//!
//! Both ends of a watch keep it. The watcher's worker has it in a table, by an id; the target's worker
//! has the id with the target. When the target ends, its worker sends the id back *the way the
//! target's own messages go*: right to the watcher's worker, or by the lane or the link to it, behind all that
//! the target has sent. The watcher's worker puts a [`Down`] into the mailbox, whatever waits there. The
//! watch is over when that is handled, so whatever else happens meanwhile finds it gone: one `Down` at
//! most, and none after `unwatch`.
//!
//! There is one at least, because nothing that the ends say to each other is ever refused: within a node
//! these are messages between stewards, and between nodes system frames. If the session with the target's
//! node ends instead, each worker tells its watchers by itself when the session is
//! [over](crate::session).

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry},
    fmt,
    rc::Rc,
    time::Duration,
};

use annulus_codec::{
    address::{Address, Slot},
    frame::{Header, Kind},
    message::{Message, MessageId},
    outbox::Admission,
    passing::{Envelope, Value},
};
use annulus_macros::message;

use crate::{
    actor::{Actor, Exit},
    cell::ActorCell,
    context::Context,
    core::Core,
    delivery::{Delivery, Peer, Source},
    link::{Link, LinkEnd},
    mailbox::Parked,
    planted::{Bug, planted},
    protocol::Accepts,
    reference::ActorRef,
    steward,
    timers::sleep,
};

/// Names one watch, from [`Context::watch`]. Dropping it leaves the watch as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watch(u64);

/// An actor that was watched is down. It comes exactly once for each [watch](Context::watch).
#[message(local, crate = crate)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Down {
    /// Which watch this is about. It is over.
    pub watch: Watch,
    /// The actor: the [`address`](ActorRef::address) of the reference that was watched.
    pub who: Address,
    /// What became of it.
    pub why: DownReason,
}

/// What became of an actor that was watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DownReason {
    /// It has ended.
    Ended(Exit),
    /// It had ended before, or there never was such an actor.
    Gone,
    /// The link to its node was lost, or there was none. The actor may live, but nothing more comes from it
    /// over the old link: if it does live, look it up again, and what it sends then is from a new start.
    NodeLost,
    /// Its worker has as many [watchers](crate::Limits::watches) as it may have: nothing is known about the
    /// actor.
    Refused,
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DownReason::Ended(exit) => exit.fmt(f),
            DownReason::Gone => write!(f, "there is no such actor"),
            DownReason::NodeLost => write!(f, "its node was lost"),
            DownReason::Refused => write!(f, "its worker takes no more watchers"),
        }
    }
}

/// Why an actor is not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchError {
    /// The actors of the worker have as many watches open as they may.
    TooManyWatches {
        /// The limit: [`Limits::watches`](crate::Limits::watches).
        max: usize,
    },
    /// There is no memory for what has to be said to the actor's node. Try again later.
    Full,
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WatchError::TooManyWatches { max } => write!(f, "the worker has {max} watches already"),
            WatchError::Full => write!(f, "there is no memory for a message to the actor's node"),
        }
    }
}

impl std::error::Error for WatchError {}

/// What one end of a watch says to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Say {
    /// Watch this actor.
    Watch(Target),
    /// Watch it no more.
    Unwatch(Target),
    /// It is down.
    Down(DownReason),
}

impl Say {
    /// What goes over a link: see `docs/wire.md`.
    fn header(self, watch: Watch) -> Header {
        let (operation, slot, generation) = match self {
            Say::Watch(Target { slot, generation }) => (WATCH, slot, generation),
            Say::Unwatch(Target { slot, generation }) => (UNWATCH, slot, generation),
            Say::Down(why) => (DOWN, watch.watcher(), why.code()),
        };
        let operation = MessageId::from_bits(operation);
        Header::new(Kind::System, slot, generation, operation, watch.0)
    }

    fn from_header(header: &Header) -> Option<Self> {
        let target = Target { slot: header.slot, generation: header.generation };
        match header.message.bits() {
            WATCH => Some(Say::Watch(target)),
            UNWATCH => Some(Say::Unwatch(target)),
            DOWN => Some(Say::Down(DownReason::from_code(header.generation))),
            _ => None,
        }
    }
}

/// Operations of system frames.
const WATCH: u64 = 2;
const UNWATCH: u64 = 3;
const DOWN: u64 = 4;

impl DownReason {
    fn code(self) -> u32 {
        match self {
            DownReason::Ended(Exit::Stopped) => 1,
            DownReason::Ended(Exit::Killed) => 2,
            DownReason::Ended(Exit::Panicked) => 3,
            DownReason::Refused => 5,
            // Nobody says of himself that he is lost.
            DownReason::Gone | DownReason::NodeLost => 4,
        }
    }

    /// A code that this version does not know comes from a later one: the actor is down, and that is all
    /// that can be said.
    fn from_code(code: u32) -> Self {
        match code {
            1 => DownReason::Ended(Exit::Stopped),
            2 => DownReason::Ended(Exit::Killed),
            3 => DownReason::Ended(Exit::Panicked),
            5 => DownReason::Refused,
            _ => DownReason::Gone,
        }
    }
}

/// An actor of the worker that is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    slot: Slot,
    generation: u32,
}

impl Target {
    fn of(address: Address) -> Self {
        Target { slot: address.slot(), generation: address.generation() }
    }
}

/// What one end of a watch says to the other, between two workers of a node.
#[message(local, crate = crate)]
pub(crate) struct Notice {
    /// The node that it comes from, if that is another one.
    from: Option<Peer>,
    watch: Watch,
    say: Say,
}

/// Who watches an actor of this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Watcher {
    target: Target,
    /// The node that the watcher lives on, if that is another one.
    node: Option<Peer>,
    watch: Watch,
}

/// A watch of an actor of this worker.
struct Open {
    watcher: Rc<ActorCell>,
    target: Address,
    /// The node of the target, if it is another one.
    node: Option<Peer>,
    /// Whether its `Down` is in the mailbox.
    told: bool,
}

/// The watches of a worker, by those who watch and by those who are watched.
#[derive(Default)]
pub(crate) struct Watches {
    open: RefCell<BTreeMap<Watch, Open>>,
    watchers: RefCell<BTreeSet<Watcher>>,
    last: Cell<u32>,
    /// `Down`s that wait in mailboxes and that nobody wants any more.
    stale: Cell<usize>,
    /// What could not be said to other nodes yet, for want of memory.
    owed: RefCell<VecDeque<(Peer, Header)>>,
}

impl Watch {
    /// The watches of an actor lie beside each other: its slot comes first.
    fn new(watcher: Slot, serial: u32) -> Self {
        Watch(u64::from(watcher.bits()) << 32 | u64::from(serial))
    }

    fn watcher(self) -> Slot {
        Slot::from_bits((self.0 >> 32) as u32)
    }
}

impl Watches {
    /// How many watches the worker's actors have open.
    pub(crate) fn open(&self) -> usize {
        self.open.borrow().len()
    }

    /// How many watchers the worker's actors have.
    pub(crate) fn watchers(&self) -> usize {
        self.watchers.borrow().len()
    }

    fn insert(&self, open: Open, max: usize) -> Result<Watch, WatchError> {
        let mut watches = self.open.borrow_mut();
        if watches.len() + self.stale.get() >= max {
            return Err(WatchError::TooManyWatches { max });
        }
        let slot = open.watcher.address.slot();
        loop {
            let serial = self.last.get().wrapping_add(1);
            self.last.set(serial);
            // A watch may be older than four thousand million others.
            if let Entry::Vacant(vacant) = watches.entry(Watch::new(slot, serial)) {
                let watch = *vacant.key();
                vacant.insert(open);
                return Ok(watch);
            }
        }
    }

    /// A `Down` has left a mailbox, and is dropped. It may be one that nobody wanted any more.
    pub(crate) fn dropped(&self, watch: Watch) {
        if !self.open.borrow().contains_key(&watch) {
            self.stale.set(self.stale.get().saturating_sub(1));
        }
    }

    fn remove(&self, watch: Watch) -> Option<Open> {
        self.open.borrow_mut().remove(&watch)
    }

    /// The watch, if its `Down` is still to come from this node.
    fn untold(&self, watch: Watch, node: Option<Peer>) -> Option<(Rc<ActorCell>, Address)> {
        let mut watches = self.open.borrow_mut();
        let open = watches.get_mut(&watch).filter(|open| open.node == node && !open.told)?;
        open.told = true;
        Some((open.watcher.clone(), open.target))
    }

    fn untold_from(&self, peer: Peer) -> Vec<Watch> {
        let watches = self.open.borrow();
        let lost = watches.iter().filter(|(_, open)| open.node == Some(peer) && !open.told);
        lost.map(|(watch, _)| *watch).collect()
    }

    /// Takes out the watches of an actor.
    fn take_open(&self, watcher: Slot) -> Vec<(Watch, Open)> {
        let mut watches = self.open.borrow_mut();
        let all = Watch::new(watcher, 0)..=Watch::new(watcher, u32::MAX);
        watches.extract_if(all, |_, _| true).collect()
    }

    /// Whether nobody here watches or is watched.
    fn are_none(&self) -> bool {
        self.open.borrow().is_empty() && self.watchers.borrow().is_empty()
    }

    /// Takes out the watchers of an actor.
    fn take_watchers(&self, target: Target) -> Vec<Watcher> {
        let mut watchers = self.watchers.borrow_mut();
        let at = |watch| Watcher { target, node: None, watch };
        // `None` comes before any node.
        let all = watchers.range(at(Watch(0))..).take_while(|watcher| watcher.target == target);
        let all: Vec<_> = all.copied().collect();
        for watcher in &all {
            watchers.remove(watcher);
        }
        all
    }
}

impl<A: Actor> Context<A> {
    /// Watches an actor: when it is down, this one gets a [`Down`] that says why. It comes exactly once for
    /// each watch, and at once if the actor has ended already or its node cannot be reached. It comes after
    /// every message of that actor to this one that arrives at all, unless that was sent as a
    /// [datagram](crate::DatagramRef), and a full mailbox does not refuse it.
    ///
    /// After [`DownReason::NodeLost`] nothing comes from that actor any more, even if it lives and its node is
    /// connected again: what it knows this one by is as [dead](crate::TellError::Dead) as what this one
    /// knows it by, until one of them looks the other up again.
    ///
    /// A watch ends with its `Down`, with [`unwatch`](Self::unwatch), or when this actor is told to end, also if
    /// it is still to handle what waits in its mailbox.
    ///
    /// ```
    /// use annulus::{Down, DownReason, prelude::*};
    ///
    /// #[message]
    /// struct Guard {
    ///     actor: ActorRef<(Job,)>,
    /// }
    ///
    /// #[message]
    /// struct Job;
    ///
    /// struct Guardian;
    ///
    /// impl Actor for Guardian {
    ///     type Protocol = (Guard, Down);
    /// }
    ///
    /// impl Handler<Guard> for Guardian {
    ///     async fn handle(&mut self, guard: Msg<Guard>, context: &mut Context<Self>) {
    ///         if let Err(error) = context.watch(guard.decode().actor) {
    ///             println!("not watched: {error}");
    ///         }
    ///     }
    /// }
    ///
    /// impl Handler<Down> for Guardian {
    ///     async fn handle(&mut self, down: Msg<Down>, _: &mut Context<Self>) {
    ///         match down.why {
    ///             DownReason::Ended(exit) => println!("{:?} has {exit}", down.who),
    ///             DownReason::NodeLost => println!("{:?} is out of reach", down.who),
    ///             why => println!("{:?} is not there: {why}", down.who),
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// If the actors of this worker have as many watches as they may, or there is no memory for what
    /// goes to the other node: then there is no watch.
    pub fn watch<P, I>(&mut self, actor: ActorRef<P>) -> Result<Watch, WatchError>
    where
        A::Protocol: Accepts<Down, I>,
    {
        self.core().watch(self.cell(), actor.address())
    }

    /// Ends a watch of this actor: its [`Down`] does not come any more, even if it is in the mailbox
    /// already. Returns whether it was still to come.
    pub fn unwatch(&mut self, watch: Watch) -> bool {
        watch.watcher() == self.address().slot() && self.core().unwatch(watch)
    }
}

impl Core {
    fn watch(
        self: &Rc<Self>,
        watcher: &Rc<ActorCell>,
        target: Address,
    ) -> Result<Watch, WatchError> {
        let node = self.peer_of(target);
        let open = Open { watcher: watcher.clone(), target, node, told: false };
        let watch = self.watches.insert(open, self.limits().watches)?;
        let wish = Say::Watch(Target::of(target));
        let down =
            |why| self.say_here(self.worker(), Notice { from: node, watch, say: Say::Down(why) });
        match node {
            None if target.incarnation() != self.shared.incarnation_tag => down(DownReason::Gone),
            None => {
                let notice = Notice { from: None, watch, say: wish };
                self.say_here(target.slot().worker(), notice);
            }
            Some(peer) => match self.link_with(peer) {
                Some(link) if !self.push_notice(&link, wish.header(watch)) => {
                    self.watches.remove(watch);
                    return Err(WatchError::Full);
                }
                Some(_) => {}
                // Something of the actor's may still be on its way: its loss is told behind that.
                None if self.sessions.contains(peer) => {}
                None => down(DownReason::NodeLost),
            },
        }
        Ok(watch)
    }

    fn unwatch(self: &Rc<Self>, watch: Watch) -> bool {
        if planted(Bug::DownAfterUnwatch) {
            return true;
        }
        let Some(open) = self.watches.remove(watch) else { return false };
        self.watches.stale.set(self.watches.stale.get() + usize::from(open.told));
        self.call_off(watch, &open);
        true
    }

    /// Tells the other end that a watch is over, if it does not know.
    fn call_off(self: &Rc<Self>, watch: Watch, open: &Open) {
        if open.told {
            return;
        }
        let say = Say::Unwatch(Target::of(open.target));
        match open.node {
            None => self.say_here(open.target.slot().worker(), Notice { from: None, watch, say }),
            Some(peer) => self.say_there(peer, say.header(watch)),
        }
    }

    /// Whether a `Down` is still wanted, asked just before it is handled. Its watch is over by that.
    pub(crate) fn accept_down(&self, watch: Watch) -> bool {
        let wanted = self.watches.remove(watch).is_some();
        if !wanted {
            self.watches.dropped(watch);
        }
        wanted || planted(Bug::DownTwice)
    }

    /// An actor has ended: it watches nobody any more, and whoever watches it is told.
    pub(crate) fn end_watches(self: &Rc<Self>, cell: &ActorCell, exit: Exit) {
        if self.watches.are_none() {
            return;
        }
        for (watch, open) in self.watches.take_open(cell.address.slot()) {
            self.call_off(watch, &open);
        }
        for watcher in self.watches.take_watchers(Target::of(cell.address)) {
            self.say_down(watcher, DownReason::Ended(exit));
        }
    }

    /// Nobody on that node watches anybody here any more.
    pub(crate) fn forget_watchers(&self, peer: Peer) {
        self.watches.watchers.borrow_mut().retain(|watcher| watcher.node != Some(peer));
    }

    /// All actors of that node are lost to those who watch them.
    pub(crate) fn lose_watched(self: &Rc<Self>, peer: Peer) {
        for watch in self.watches.untold_from(peer) {
            self.deliver_down(watch, Some(peer), DownReason::NodeLost);
        }
    }

    /// Takes a system frame from a link.
    pub(crate) fn take_system_frame(self: &Rc<Self>, header: &Header, from: Peer) {
        if let Some(say) = Say::from_header(header) {
            let notice = Notice { from: Some(from), watch: Watch(header.correlation), say };
            self.say_here(header.slot.worker(), notice);
        }
    }

    /// Tells a worker of this node. That an actor is down has to come behind what it has sent: the way of
    /// its messages is taken even if both ends are on this worker.
    fn say_here(self: &Rc<Self>, worker: usize, notice: Notice) {
        let Notice { from, watch, say } = notice;
        let in_turn = matches!(say, Say::Down(_)) && !planted(Bug::EarlyDown);
        if worker == self.worker() && !in_turn {
            return self.take_notice(&notice);
        }
        let told = self.tell_system(steward::of_worker(self, worker), notice);
        if let (Err(_), Say::Watch(target)) = (told, say) {
            // There is no such worker.
            self.say_down(Watcher { target, node: from, watch }, DownReason::Gone);
        }
    }

    /// One end of a watch has said something to the other, which is on this worker.
    pub(crate) fn take_notice(self: &Rc<Self>, notice: &Notice) {
        let Notice { from, watch, say } = *notice;
        match say {
            Say::Watch(target) => self.add_watcher(Watcher { target, node: from, watch }),
            Say::Unwatch(target) => {
                let watcher = Watcher { target, node: from, watch };
                self.watches.watchers.borrow_mut().remove(&watcher);
            }
            Say::Down(why) => self.deliver_down(watch, from, why),
        }
    }

    fn add_watcher(self: &Rc<Self>, watcher: Watcher) {
        let Watcher { target: Target { slot, generation }, node, .. } = watcher;
        if node.is_some_and(|peer| !self.sessions.contains(peer)) {
            return;
        }
        let mut watchers = self.watches.watchers.borrow_mut();
        let why = if self.actors.look(slot.index(), generation, |_| ()).is_none() {
            DownReason::Gone
        } else if watchers.len() >= self.limits().watches {
            DownReason::Refused
        } else {
            watchers.insert(watcher);
            return;
        };
        drop(watchers);
        self.say_down(watcher, why);
    }

    /// Tells a watcher, behind all that the actor has sent it.
    fn say_down(self: &Rc<Self>, watcher: Watcher, why: DownReason) {
        let Watcher { node, watch, .. } = watcher;
        let say = Say::Down(why);
        match node {
            None => self.say_here(watch.watcher().worker(), Notice { from: None, watch, say }),
            Some(peer) => self.say_there(peer, say.header(watch)),
        }
    }

    /// Puts a `Down` into the mailbox of its watcher. Whether it is still wanted is seen when it comes
    /// out.
    fn deliver_down(self: &Rc<Self>, watch: Watch, from: Option<Peer>, why: DownReason) {
        let Some((watcher, who)) = self.watches.untold(watch, from) else { return };
        for _ in 0..if planted(Bug::DownTwice) { 2 } else { 1 } {
            let Target { slot, generation } = Target::of(watcher.address);
            let header = Header::new(Kind::Tell, slot, generation, Down::ID, 0);
            let value = Value::new(header, None, Admission::Always, Down { watch, who, why });
            let mut delivery = Delivery::new(Envelope::Value(value), None);
            delivery.source = Some(Source::Watch(watch));
            // An actor that is to end takes nothing more.
            if !watcher.is_closed() {
                watcher.enqueue(Parked::other(delivery));
                self.nudge(&watcher);
            }
        }
    }

    fn link_with(&self, peer: Peer) -> Option<Rc<Link>> {
        let link = self.links.route(peer.node(), self.worker())?;
        (link.peer == peer && link.sends()).then_some(link)
    }

    /// Returns whether there was memory for it.
    fn push_notice(&self, link: &Rc<Link>, header: Header) -> bool {
        self.links.mark_dirty(link);
        link.outbox.borrow_mut().push_header(header).is_ok()
    }

    /// Tells another node. If the session with it ends first, both ends know by that.
    fn say_there(self: &Rc<Self>, peer: Peer, header: Header) {
        let Some(link) = self.link_with(peer) else { return };
        if self.push_notice(&link, header) {
            return;
        }
        let mut owed = self.watches.owed.borrow_mut();
        if owed.len() >= self.limits().watches {
            drop(owed);
            // The end of the session says it all.
            return self.close_link(&link, LinkEnd::Overflow);
        }
        owed.push_back((peer, header));
        if owed.len() == 1 {
            self.spawn_task(pay_owed(self.clone()));
        }
    }
}

/// How long after it was short of memory a worker tries again.
const MEMORY_PAUSE: Duration = Duration::from_millis(1);

/// Says what is owed to other nodes, as memory allows.
async fn pay_owed(core: Rc<Core>) {
    loop {
        sleep(MEMORY_PAUSE).await;
        let mut owed = core.watches.owed.borrow_mut();
        while let Some((peer, header)) = owed.front() {
            let link = core.link_with(*peer);
            if link.is_some_and(|link| !core.push_notice(&link, *header)) {
                break;
            }
            owed.pop_front();
        }
        if owed.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_say_to_each_other_survives_the_wire() {
        let target = Target { slot: Slot::new(3, 70_000), generation: u32::MAX };
        let watch = Watch::new(Slot::new(255, 5), 9);
        assert_eq!((watch.watcher(), watch.0 as u32), (Slot::new(255, 5), 9));
        let downs = [Exit::Stopped, Exit::Killed, Exit::Panicked].map(DownReason::Ended);
        let downs = downs.into_iter().chain([DownReason::Gone, DownReason::Refused]).map(Say::Down);
        for say in downs.chain([Say::Watch(target), Say::Unwatch(target)]) {
            let header = Header::from_wire(&say.header(watch).to_wire(), 0).unwrap();
            assert_eq!(Say::from_header(&header), Some(say));
            assert_eq!(header.correlation, watch.0);
        }
        assert_eq!(DownReason::from_code(99), DownReason::Gone);
    }
}
