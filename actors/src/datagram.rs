//! Messages as datagrams: a class of delivery of its own.
//!
//! A datagram arrives at most once, in no order, or not at all, and the sender does not learn which.
//! In return no message waits for another one. Each worker has a socket; datagrams go straight to the
//! worker that the actor lives on.
//!
//! A datagram, little-endian:
//!
//! ```text
//! offset  size  field
//!      0     4  "ANUD"
//!      4     4  number of the sending node
//!      8     8  token that the receiving node gave the sending one in its hello
//!     16     7  number of the datagram among those of the sending worker, from 1
//!     23     1  number of the sending worker
//!     24     8  zero
//!     32     .  one frame
//! ```
//!
//! A network may deliver a datagram twice. The receiver knows the numbers of the last 1024 of each
//! sending worker, and drops what it has had, or is older than those.
//!
//! The token is random, for one node and one session: without it a datagram is dropped unread. Where
//! it comes from counts for nothing, as hosts with several addresses may send from any of them.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    fmt,
    future::poll_fn,
    net::SocketAddr,
    rc::Rc,
    task::{Poll, Waker},
};

use annulus_codec::{
    address::{Address, NodeId},
    chunk::Lease,
    extension::Extensions,
    frame::{FrameReader, Header, Kind},
    message::Message,
    outbox::{Admission, Destination, Outbox, OutboxLimits, PushError},
    passing::Passing,
};
use annulus_transport::{
    datagram::{Datagram, DatagramSocket},
    driver::Data,
};

use crate::{
    ask::{Ask, Way},
    core::Core,
    delivery::{Origin, Peer},
    error::{TellError, Undelivered},
    planted::{Bug, planted},
    protocol::Accepts,
    reference::{ActorRef, tell_with},
    timers::sleep,
};

const MAGIC: [u8; 4] = *b"ANUD";

/// Bytes before the frame.
const PREFIX: usize = 32;

/// Datagrams that may wait to be sent; more are dropped.
const MOST_WAITING: usize = 4096;

/// Sends, and receives, that a worker has in flight at the same time.
const IN_FLIGHT: usize = 16;

/// Bytes of the kernel's buffers that each socket asks for.
const SOCKET_BUFFER: usize = 8 << 20;

/// A reference to an actor that is reached by datagrams: what is sent may arrive in any order, or
/// never, and nobody hears of a loss.
pub struct DatagramRef<P> {
    to: ActorRef<P>,
}

impl<P> DatagramRef<P> {
    pub(crate) fn new(to: ActorRef<P>) -> Self {
        DatagramRef { to }
    }

    /// The same actor, by the ordinary way.
    pub fn by_link(self) -> ActorRef<P> {
        self.to
    }

    /// Sends a message in one datagram. To an actor of this node it goes the ordinary way.
    ///
    /// # Errors
    /// The message comes back if it is known at once that it cannot be sent.
    pub fn tell<M: Message, I>(self, message: M) -> Result<(), Undelivered<M>>
    where
        P: Accepts<M, I>,
    {
        tell_with(message, |core, message| {
            core.send_datagram(self.to.address(), Kind::Tell, 0, None, message)
        })
    }

    /// Sends a message in one datagram and waits for the answer, which comes in one too. If either is
    /// lost, the ask ends with [`Timeout`](crate::AskError::Timeout).
    pub fn ask<M: Message, I>(self, message: M) -> Ask<M>
    where
        P: Accepts<M, I>,
    {
        Ask::new(self.to.address(), Way::Datagram, message)
    }
}

impl<P> Copy for DatagramRef<P> {}

impl<P> Clone for DatagramRef<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> fmt::Debug for DatagramRef<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} by datagram", self.to)
    }
}

struct Outgoing {
    to: SocketAddr,
    pieces: Vec<Lease>,
}

/// Which of the last datagrams of each of a peer's workers have come.
pub(crate) type SeenBySender = Rc<RefCell<BTreeMap<u8, Seen>>>;

/// Which of the last datagrams of a worker have come.
///
/// A number far ahead of all others may be true, as the worker may have sent as many to others. It may also be
/// wrong, and then all that follow would be taken for old ones. So it counts for itself until a second one
/// comes near it, and is forgotten when only older ones come.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    near: Window,
    ahead: Option<Window>,
    /// How many that were older than the one ahead have come in a row.
    older: u64,
}

impl Seen {
    /// Whether the datagram with this number has not come before, as far as is known. It has now.
    fn is_new(&mut self, number: u64) -> bool {
        if number <= self.near.highest + REMEMBERED {
            return self.near.is_new(number);
        }
        let Some(ahead) = self.ahead.as_mut().filter(|ahead| number <= ahead.highest + REMEMBERED)
        else {
            self.older = 0;
            return self.ahead.insert(Window::default()).is_new(number);
        };
        if ahead.is_new(number) {
            self.near = self.ahead.take().unwrap_or_default();
            return true;
        }
        self.older += 1;
        if self.older >= REMEMBERED {
            self.ahead = None;
        }
        false
    }
}

/// Which of the last numbers up to the highest have come.
#[derive(Debug, Default)]
struct Window {
    highest: u64,
    /// A bit for each of the last [`REMEMBERED`] numbers, by its remainder.
    came: [u64; REMEMBERED as usize / 64],
}

/// How many datagrams of a worker are told apart.
const REMEMBERED: u64 = 1024;

impl Window {
    fn is_new(&mut self, number: u64) -> bool {
        if number + REMEMBERED <= self.highest {
            return false;
        }
        for passed in (self.highest + 1..=number).rev().take(REMEMBERED as usize) {
            self.came[Self::word(passed)] &= !Self::bit(passed);
        }
        self.highest = self.highest.max(number);
        let word = &mut self.came[Self::word(number)];
        let is_new = *word & Self::bit(number) == 0;
        *word |= Self::bit(number);
        is_new
    }

    fn word(number: u64) -> usize {
        (number % REMEMBERED / 64) as usize
    }

    fn bit(number: u64) -> u64 {
        1 << (number % 64)
    }
}

/// The datagrams of a worker.
#[derive(Default)]
pub(crate) struct Datagrams {
    /// Where datagrams are archived; `None` if the worker has no socket.
    outbox: RefCell<Option<Outbox>>,
    waiting: RefCell<VecDeque<Outgoing>>,
    senders: RefCell<Vec<Waker>>,
    /// The number of the last datagram that was made.
    last: Cell<u64>,
    /// Datagrams that the kernel has not taken yet.
    sending: Cell<usize>,
    /// Datagrams dropped here: too many waited, or they made no sense.
    pub(crate) dropped: Cell<u64>,
}

impl Datagrams {
    /// Whether everything is in the kernel's hands.
    pub(crate) fn is_flushed(&self) -> bool {
        self.waiting.borrow().is_empty() && self.sending.get() == 0
    }

    fn count_dropped(&self) {
        self.dropped.set(self.dropped.get() + 1);
    }
}

impl Core {
    /// Gives the worker its socket.
    pub(crate) fn open_datagrams(self: &Rc<Self>, socket: DatagramSocket) {
        let limits = OutboxLimits {
            bytes: usize::MAX,
            // The room for a frame's header and extensions is checked when it is written.
            max_payload: self.limits().max_datagram - PREFIX - 32,
            by_reference_from: usize::MAX,
        };
        let outbox = Outbox::new(Destination::Node, limits, self.pool.clone());
        self.datagrams.outbox.replace(Some(outbox));
        let socket = Rc::new(socket);
        for _ in 0..IN_FLIGHT {
            self.spawn_task(send_loop(self.clone(), socket.clone()));
            self.spawn_task(receive_loop(self.clone(), socket.clone()));
        }
    }

    /// Sends a message to an actor in one datagram.
    pub(crate) fn send_datagram<M: Message>(
        self: &Rc<Self>,
        to: Address,
        kind: Kind,
        correlation: u64,
        extensions: Option<&Extensions>,
        message: &mut Option<M>,
    ) -> Result<(), TellError> {
        let Some(peer) = self.peer_of(to) else {
            return self.send(to, kind, correlation, extensions, message, Admission::Bounded);
        };
        let target = self.datagram_target(peer, to.slot().worker());
        let (target, token) = target.ok_or(TellError::Unreachable)?;
        let header = Header::new(kind, to.slot(), to.generation(), M::ID, correlation);
        self.push_datagram(target, token, |outbox| {
            M::Passing::pack(message, header, extensions, outbox, Admission::Bounded)
        })
        .ok_or(TellError::Unreachable)??;
        Ok(())
    }

    /// Sends an answer in one datagram to where the ask came from.
    pub(crate) fn answer_by_datagram(
        self: &Rc<Self>,
        peer: Peer,
        to: SocketAddr,
        push: impl FnOnce(&mut Outbox) -> Result<(), PushError>,
    ) -> Option<Result<(), PushError>> {
        let token = self.links.any(peer)?.datagram_token;
        self.push_datagram(to, token, push)
    }

    /// Archives one datagram and queues it.
    fn push_datagram(
        &self,
        to: SocketAddr,
        token: u64,
        push: impl FnOnce(&mut Outbox) -> Result<(), PushError>,
    ) -> Option<Result<(), PushError>> {
        let mut prefix = [0; PREFIX];
        prefix[0..4].copy_from_slice(&MAGIC);
        prefix[4..8].copy_from_slice(&self.shared.id.bits().to_le_bytes());
        prefix[8..16].copy_from_slice(&token.to_le_bytes());
        self.datagrams.last.update(|last| last + 1);
        prefix[16..24].copy_from_slice(&self.datagrams.last.get().to_le_bytes());
        prefix[23] = self.worker() as u8;
        let mut outbox = self.datagrams.outbox.borrow_mut();
        let outbox = outbox.as_mut()?;
        if let Err(error) = outbox.push_prefix(&prefix) {
            return Some(Err(error));
        }
        let pushed = push(outbox);
        let mut pieces = Vec::with_capacity(1);
        while let Some(piece) = outbox.pop_bytes() {
            pieces.push(piece);
        }
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut waiting = self.datagrams.waiting.borrow_mut();
        if len == PREFIX {
            // Nothing was pushed: the caller has the reason.
        } else if len > self.limits().max_datagram {
            return Some(Err(PushError::TooLarge { max: self.limits().max_datagram }));
        } else if waiting.len() >= MOST_WAITING {
            self.datagrams.count_dropped();
        } else {
            waiting.push_back(Outgoing { to, pieces });
            drop(waiting);
            let sender = self.datagrams.senders.borrow_mut().pop();
            if let Some(sender) = sender {
                sender.wake();
            }
        }
        Some(pushed)
    }

    fn receive_datagram(self: &Rc<Self>, datagram: Lease, from: SocketAddr) -> Option<()> {
        let (prefix, _) = datagram.split_first_chunk::<PREFIX>()?;
        let node =
            NodeId::from_bits(u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]));
        if prefix[0..4] != MAGIC {
            return None;
        }
        let link = self.links.any_to(node)?;
        if prefix[8..16] != link.own_datagram_token.to_le_bytes() {
            return None;
        }
        let peer = link.peer;
        let frame = datagram.slice(PREFIX, datagram.len() - PREFIX);
        let mut frames = FrameReader::foreign(frame, self.limits().max_payload);
        let frame = frames.next_frame().ok()??;
        if frames.remaining() > 0 || frame.header().kind == Kind::System {
            return None;
        }
        let number = u64::from_le_bytes(prefix[16..24].try_into().ok()?) & (u64::MAX >> 8);
        let mut seen = link.datagrams_seen.borrow_mut();
        let is_new = seen.entry(prefix[23]).or_default().is_new(number);
        drop(seen);
        if !is_new && !planted(Bug::DatagramTwice) {
            return None;
        }
        self.dispatch_foreign(frame, Origin::Datagram(peer, from));
        Some(())
    }
}

async fn send_loop(core: Rc<Core>, socket: Rc<DatagramSocket>) {
    loop {
        let Outgoing { to, pieces } = poll_fn(|context| {
            let next = core.datagrams.waiting.borrow_mut().pop_front();
            match next {
                Some(outgoing) => Poll::Ready(outgoing),
                None => {
                    core.datagrams.senders.borrow_mut().push(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
        core.datagrams.sending.update(|sending| sending + 1);
        let sent = socket.send_to(to, Data::Leases(pieces)).await;
        core.datagrams.sending.update(|sending| sending - 1);
        if let Err(error) = sent {
            core.datagrams.count_dropped();
            tracing::debug!(target: "annulus", %to, %error, "a datagram was not sent");
        }
    }
}

async fn receive_loop(core: Rc<Core>, socket: Rc<DatagramSocket>) {
    loop {
        let Ok(chunk) = core.pool.acquire_sized(core.limits().max_datagram) else {
            sleep(std::time::Duration::from_millis(1)).await;
            continue;
        };
        match socket.receive(chunk).await {
            Ok(Datagram { mut chunk, from, truncated: false, .. }) => {
                let datagram = chunk.take_committed();
                drop(chunk);
                if core.receive_datagram(datagram, from).is_none() {
                    core.datagrams.count_dropped();
                }
            }
            Ok(_) => core.datagrams.count_dropped(),
            Err(error) => {
                // An earlier datagram to a socket that is gone shows up here: it concerns that one.
                tracing::debug!(target: "annulus", %error, "receiving a datagram failed");
                sleep(std::time::Duration::from_millis(1)).await;
            }
        }
    }
}

/// Bytes of kernel buffer for each worker's socket.
pub(crate) const fn socket_buffer() -> usize {
    SOCKET_BUFFER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p17_a_datagram_is_new_once() {
        let mut seen = Seen::default();
        for number in [1, 2, 5, 3, 1024, 4, 1026] {
            assert!(seen.is_new(number), "{number}");
            assert!(!seen.is_new(number), "{number}");
        }
        assert!(!seen.is_new(2), "too old to tell");
        assert!(seen.is_new(1025));
        assert!(seen.is_new(1 << 40));
        assert!(!seen.is_new(1026), "long gone");
        assert!(seen.is_new((1 << 40) - 1023));
        assert!(!seen.is_new((1 << 40) - 1023));
        assert!(!seen.is_new((1 << 40) - 1024));
    }

    #[test]
    fn p17_a_wrong_number_silences_nobody() {
        let mut seen = Seen::default();
        for number in 1..100 {
            assert!(seen.is_new(number));
            assert!(number % 10 > 0 || seen.is_new(number << 40), "far ahead, and never the same");
            assert!(!seen.is_new(number));
        }
        let mut later = (1..).map(|step| step * 2 * REMEMBERED);
        assert!(!seen.is_new(later.next().unwrap()), "the one ahead may be right");
        assert!(later.take(REMEMBERED as usize).any(|number| seen.is_new(number)));
    }

    #[test]
    fn p17_a_worker_that_sends_to_many_others_is_heard() {
        let mut seen = Seen::default();
        for number in (2..100).map(|step| step * 3 * REMEMBERED) {
            assert!(seen.is_new(number));
            assert!(!seen.is_new(number));
            assert!(!seen.is_new(number - 3 * REMEMBERED), "the one before");
        }
    }

    #[test]
    fn p17_numbers_in_any_order_are_each_new_once() {
        let mut seen = Seen::default();
        let mut state = 1_u64;
        let mut came = std::collections::BTreeSet::new();
        for base in 0..20_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = base + 1 + (state >> 33) % 500;
            assert_eq!(seen.is_new(number), came.insert(number), "{number}");
        }
    }
}
