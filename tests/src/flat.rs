//! An actor that is slower than what it is sent, and what its sender does about its full mailbox: for as
//! many messages as one likes, with an eye on memory.

use std::{
    cell::Cell,
    hint::black_box,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};

use annulus::{TellError, WorkerStats, prelude::*};

use crate::{PATIENCE, yield_now};

/// What the sender does about a full mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// It tells, and drops what comes back.
    Shed,
    /// It tells, and tries again a little later with what comes back.
    Retry,
    /// It sends, which waits for room.
    Wait,
    /// It asks, with [`WINDOW`] asks open at the same time.
    Ask,
}

/// Where the receiver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the worker of its sender.
    Same,
    /// On another worker.
    Other,
}

/// Asks at the same time.
pub const WINDOW: usize = 256;

/// After how long a message that came back is tried again.
const RETRY_AFTER: Duration = Duration::from_micros(100);

/// Messages that a sender that drops what comes back sends in a row.
const ROUND: u64 = 128;

/// Messages that a receiver handles in a row before it lets others run.
const BATCH: u64 = 64;

/// Rounds of work for each message where sender and receiver have a thread each: it makes the receiver about
/// half as fast as the sender.
const WORK: u64 = 16;

/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What is to be sent, and how.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What the sender does about a full mailbox.
    pub policy: Policy,
    /// Where the receiver is.
    pub place: Place,
    /// How many messages it tries to send.
    pub messages: u64,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    /// How long it has been going on.
    pub elapsed: Duration,
    /// Messages that have been handled.
    pub handled: u64,
    /// Times that a message came back to the sender.
    pub refused: u64,
    /// Messages that found no room where the sender does not see it.
    pub dead_letters: u64,
    /// Bytes of memory of the process.
    pub resident: u64,
    /// Bytes of message memory.
    pub message_memory: u64,
    /// The chunks that these are in.
    pub chunks: u64,
}

/// What it came to.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Before the first message.
    pub start: Look,
    /// When all messages had been handled or refused.
    pub end: Look,
    /// The most that was seen of each.
    pub peak: Look,
}

impl Load {
    /// All ways to send this many messages in all.
    pub fn all(messages: u64) -> Vec<Load> {
        let policies = [Policy::Shed, Policy::Retry, Policy::Wait, Policy::Ask];
        let ways = policies.len() as u64 * 2;
        [Place::Same, Place::Other]
            .into_iter()
            .flat_map(|place| {
                policies.map(|policy| Load { policy, place, messages: messages / ways })
            })
            .collect()
    }

    /// Sends them, and shows now and then how far it has come.
    ///
    /// # Panics
    /// If a message is lost or overtakes another one, or nothing moves any more.
    pub fn run(self, mut show: impl FnMut(&Look)) -> Report {
        let worker = usize::from(self.place == Place::Other);
        let node = Node::builder("flat").workers(1 + worker).start().expect("it starts");
        let counts = Arc::new(Counts::default());
        let receiver = Receiver { pace: self.pace(), counts: counts.clone(), next: 0, handled: 0 };
        let to = node.spawn_on(worker, receiver).expect("there is room");
        let begin = Instant::now();
        let start = counts.look(&node, begin);
        let sender = Sender { load: self, to, counts: counts.clone() };
        node.spawn_on(0, sender).expect("there is room");
        let (mut peak, mut moved) = (start, (0, begin));
        let end = loop {
            thread::sleep(LOOK_EVERY);
            let look = counts.look(&node, begin);
            peak = peak.max(&look);
            show(&look);
            if counts.sent.load(Relaxed) && look.accounted(self.policy) == self.messages {
                break look;
            }
            if look.accounted(self.policy) > moved.0 {
                moved = (look.accounted(self.policy), Instant::now());
            }
            assert!(moved.1.elapsed() < PATIENCE, "nothing moves: {self:?} {look:?}");
        };
        assert_eq!(counts.overtaken.load(Relaxed), 0, "messages were overtaken: {self:?}");
        node.shutdown(PATIENCE).expect("it ends");
        Report { start, end, peak }
    }

    fn pace(self) -> Pace {
        match (self.policy, self.place) {
            (Policy::Shed, _) => Pace::Half,
            // A receiver that waits within its handler would let its mailbox fill, and what comes from
            // other workers then is lost. One that is busy holds them back.
            (Policy::Retry | Policy::Wait, Place::Other) => Pace::Busy,
            _ => Pace::Batches,
        }
    }
}

impl Look {
    /// The messages of which it is known what became of them.
    fn accounted(&self, policy: Policy) -> u64 {
        let dropped = if policy == Policy::Retry { 0 } else { self.refused };
        self.handled + dropped + self.dead_letters
    }

    fn max(&self, other: &Look) -> Look {
        Look {
            resident: self.resident.max(other.resident),
            message_memory: self.message_memory.max(other.message_memory),
            chunks: self.chunks.max(other.chunks),
            ..*other
        }
    }
}

/// What sender and receiver have done, for all to see.
#[derive(Debug, Default)]
struct Counts {
    offered: AtomicU64,
    refused: AtomicU64,
    handled: AtomicU64,
    overtaken: AtomicU64,
    sent: AtomicBool,
}

impl Counts {
    fn look(&self, node: &Node, begin: Instant) -> Look {
        let stats = node.stats().expect("it runs");
        let sum = |number: fn(&WorkerStats) -> u64| stats.iter().map(number).sum();
        Look {
            elapsed: begin.elapsed(),
            handled: self.handled.load(Relaxed),
            refused: self.refused.load(Relaxed),
            dead_letters: sum(|stats| stats.dead_letters),
            resident: resident(),
            message_memory: sum(|stats| stats.message_memory as u64),
            chunks: sum(|stats| stats.chunks as u64),
        }
    }

    /// Adds to a counter that one thread writes only.
    fn add(counter: &AtomicU64) {
        counter.store(counter.load(Relaxed) + 1, Relaxed);
    }
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux has it");
    let kib = line.trim().trim_end_matches("kB").trim().parse::<u64>();
    kib.expect("it is a number") << 10
}

/// A message of 64 bytes, header included.
#[message]
struct Item {
    number: u64,
    filling: [u64; 3],
}

/// What makes the receiver slow.
#[derive(Clone, Copy, Debug)]
enum Pace {
    /// It waits within its handler until twice as many messages have been sent as it has handled.
    Half,
    /// It lets others run after each batch.
    Batches,
    /// It works.
    Busy,
}

#[derive(Debug)]
struct Receiver {
    pace: Pace,
    counts: Arc<Counts>,
    next: u64,
    handled: u64,
}

impl Actor for Receiver {
    type Protocol = (Item,);
}

impl Handler<Item> for Receiver {
    async fn handle(&mut self, item: Msg<Item>, _: &mut Context<Self>) {
        let number = item.number.to_native();
        if number < self.next {
            Counts::add(&self.counts.overtaken);
        }
        self.next = number + 1;
        self.handled += 1;
        self.counts.handled.store(self.handled, Relaxed);
        match self.pace {
            Pace::Half => {
                while 2 * self.handled > self.counts.offered.load(Relaxed) {
                    yield_now().await;
                }
            }
            Pace::Batches if self.handled.is_multiple_of(BATCH) => yield_now().await,
            Pace::Batches => {}
            Pace::Busy => (0..WORK).for_each(|round| {
                black_box(round);
            }),
        }
    }
}

#[derive(Debug)]
struct Sender {
    load: Load,
    to: ActorRef<(Item,)>,
    counts: Arc<Counts>,
}

impl Actor for Sender {
    type Protocol = (Item,);

    async fn started(&mut self, context: &mut Context<Self>) {
        let sending = Sending {
            to: self.to,
            place: self.load.place,
            messages: self.load.messages,
            next: Cell::new(0),
            busy: Cell::new(0),
            counts: self.counts.clone(),
        };
        let sending = Rc::new(sending);
        let policy = self.load.policy;
        for _ in 0..if policy == Policy::Ask { WINDOW } else { 1 } {
            let sending = sending.clone();
            context.task(move |_| async move { sending.run(policy).await });
        }
    }
}

impl Handler<Item> for Sender {
    async fn handle(&mut self, _: Msg<Item>, _: &mut Context<Self>) {}
}

/// What the sender's tasks share.
struct Sending {
    to: ActorRef<(Item,)>,
    place: Place,
    messages: u64,
    next: Cell<u64>,
    busy: Cell<usize>,
    counts: Arc<Counts>,
}

impl Sending {
    async fn run(&self, policy: Policy) {
        self.busy.set(self.busy.get() + 1);
        while let Some(item) = self.next() {
            match policy {
                Policy::Shed => self.shed(item).await,
                Policy::Retry => self.retry(item).await,
                Policy::Wait => self.to.send(item).await.expect("the receiver is there"),
                Policy::Ask => {
                    self.to.ask(item).await.expect("a window has room");
                }
            }
        }
        self.busy.set(self.busy.get() - 1);
        if self.busy.get() == 0 {
            // Whoever waits for more need not.
            self.counts.offered.store(u64::MAX, Relaxed);
            self.counts.sent.store(true, Relaxed);
        }
    }

    fn next(&self) -> Option<Item> {
        let number = self.next.get();
        self.next.set(number + 1);
        (number < self.messages).then_some(Item { number, filling: [number; 3] })
    }

    async fn shed(&self, item: Item) {
        let number = item.number;
        if let Err(undelivered) = self.to.tell(item) {
            assert_eq!(undelivered.reason, TellError::Full);
            Counts::add(&self.counts.refused);
        }
        if (number + 1).is_multiple_of(ROUND) {
            // From another worker only what has left counts: most of what finds no room finds it there.
            let held_back = match self.place {
                Place::Same => 0,
                Place::Other => self.counts.refused.load(Relaxed),
            };
            self.counts.offered.store(number + 1 - held_back, Relaxed);
            yield_now().await;
        }
    }

    async fn retry(&self, mut item: Item) {
        while let Err(undelivered) = self.to.tell(item) {
            assert_eq!(undelivered.reason, TellError::Full);
            Counts::add(&self.counts.refused);
            item = undelivered.message;
            sleep(RETRY_AFTER).await;
        }
    }
}
