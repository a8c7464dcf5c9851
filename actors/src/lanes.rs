//! A worker's lanes to and from the other workers of its node.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use annulus_codec::{
    chunk::{ChunkPool, SealedChunk},
    frame::Frames,
    outbox::{Crossing, Destination, Landing, Outbox, OutboxLimits, Parcel},
};
use annulus_transport::{
    driver::Mono,
    lane::{self, Receiver, Sender},
};

use crate::{
    core::Core,
    entry::Entry,
    planted::{Bug, planted},
};

/// Both ends of the lanes of one worker, as they are made: index is the other worker.
pub(crate) struct LaneEnds {
    outbound: Vec<Option<OutboundEnds>>,
    inbound: Vec<Option<InboundEnds>>,
}

struct OutboundEnds {
    crossings: Sender<Crossing>,
    returns: Receiver<SealedChunk>,
}

struct InboundEnds {
    crossings: Receiver<Crossing>,
    returns: Sender<SealedChunk>,
}

/// Makes the lanes between all pairs of `workers` workers.
pub(crate) fn connect(workers: usize, capacity: usize) -> Vec<LaneEnds> {
    let empty = || LaneEnds {
        outbound: (0..workers).map(|_| None).collect(),
        inbound: (0..workers).map(|_| None).collect(),
    };
    let mut ends: Vec<LaneEnds> = (0..workers).map(|_| empty()).collect();
    for from in 0..workers {
        for to in (0..workers).filter(|to| *to != from) {
            let (crossings, incoming) = lane::channel(capacity);
            let (home, returns) = lane::channel(capacity);
            ends[from].outbound[to] = Some(OutboundEnds { crossings, returns });
            ends[to].inbound[from] = Some(InboundEnds { crossings: incoming, returns: home });
        }
    }
    ends
}

/// The way to one other worker.
struct Outbound {
    outbox: RefCell<Outbox>,
    crossings: RefCell<Sender<Crossing>>,
    /// A crossing that did not fit into the lane.
    held: RefCell<Option<Crossing>>,
    /// Chunks that come home empty.
    returns: RefCell<Receiver<SealedChunk>>,
    entry: Arc<Entry>,
    /// When it last got something in the middle of a turn that cost more than its place in the lane.
    early_at: Cell<Mono>,
}

impl Outbound {
    /// Whether everything has left.
    fn is_flushed(&self) -> bool {
        self.held.borrow().is_none() && self.outbox.borrow().is_empty()
    }

    fn takes_no_chunk(&self) -> bool {
        self.outbox.borrow().crosses_without_chunk()
    }
}

/// The way from one other worker.
struct Inbound {
    from: usize,
    crossings: RefCell<Receiver<Crossing>>,
    /// What is left of a walk.
    unwalked: RefCell<Option<Frames>>,
    returns: RefCell<Sender<SealedChunk>>,
}

/// See the [module](self).
pub(crate) struct Lanes {
    outbound: Vec<Option<Outbound>>,
    inbound: Vec<Option<Inbound>>,
    /// Which lane is emptied first: another one each time, since there may be no time for all.
    first: Cell<usize>,
    /// Where small parcels come in.
    landing: RefCell<Landing>,
    /// Parcels taken in since the start.
    crossings: Cell<u64>,
    /// Workers for whom something has been put into an outbox since it was last looked whether they sleep: a bit
    /// for each, modulo 64.
    touched: Cell<u64>,
    /// Doorbells that have been rung in the middle of a turn.
    rung_early: Cell<u64>,
}

/// The bit that stands for a worker in [`Lanes::touched`].
const fn bit_of(worker: usize) -> u64 {
    1 << (worker % 64)
}

impl Lanes {
    pub(crate) fn new(
        ends: LaneEnds,
        entries: &[Arc<Entry>],
        limits: OutboxLimits,
        pool: &ChunkPool,
    ) -> Self {
        let outbound = ends.outbound.into_iter().zip(entries).map(|(ends, entry)| {
            let OutboundEnds { crossings, returns } = ends?;
            Some(Outbound {
                outbox: RefCell::new(Outbox::new(Destination::Worker, limits, pool.clone())),
                crossings: RefCell::new(crossings),
                held: RefCell::new(None),
                returns: RefCell::new(returns),
                entry: entry.clone(),
                early_at: Cell::default(),
            })
        });
        let inbound = ends.inbound.into_iter().enumerate().map(|(from, ends)| {
            let InboundEnds { crossings, returns } = ends?;
            Some(Inbound {
                from,
                crossings: RefCell::new(crossings),
                unwalked: RefCell::default(),
                returns: RefCell::new(returns),
            })
        });
        Lanes {
            outbound: outbound.collect(),
            inbound: inbound.collect(),
            first: Cell::new(0),
            landing: RefCell::new(Landing::new(pool.clone())),
            crossings: Cell::new(0),
            touched: Cell::new(0),
            rung_early: Cell::new(0),
        }
    }

    /// The way for something to another worker.
    #[inline]
    pub(crate) fn outbox(&self, worker: usize) -> Option<&RefCell<Outbox>> {
        self.touched.set(self.touched.get() | bit_of(worker));
        Some(&self.outbound.get(worker)?.as_ref()?.outbox)
    }

    /// Whether anything may have been put into an outbox since it was last looked whether its worker sleeps.
    #[inline]
    pub(crate) fn are_touched(&self) -> bool {
        self.touched.get() != 0
    }

    pub(crate) fn rung_early(&self) -> u64 {
        self.rung_early.get()
    }

    /// Whether something may still be sent to each of the other workers.
    pub(crate) fn have_room(&self) -> bool {
        self.outbound.iter().flatten().all(|out| !out.outbox.borrow().is_full())
    }

    fn next_first(&self) -> usize {
        let next = self.first.get() + 1;
        self.first.replace(if next < self.inbound.len() { next } else { 0 })
    }

    /// Whether no other worker has sent anything that has not been taken in.
    pub(crate) fn is_empty(&self) -> bool {
        self.inbound.iter().flatten().all(|inbound| {
            inbound.unwalked.borrow().is_none() && inbound.crossings.borrow().is_empty()
        })
    }

    /// Whether everything for other workers has left.
    pub(crate) fn is_flushed(&self) -> bool {
        self.outbound.iter().flatten().all(Outbound::is_flushed)
    }

    pub(crate) fn crossings(&self) -> u64 {
        self.crossings.get()
    }
}

/// The time after which a worker that sleeps is woken in the middle of a turn again, if nobody waits for what it gets:
/// doorbells are to cost a tenth of it at most.
const EARLY_WAKES: Duration = Duration::from_micros(20);

/// Parcels that are taken from one lane before the next one has its turn.
const PARCELS_PER_LANE: usize = 16;

impl Core {
    /// Takes in what other workers have sent. Returns whether there was anything.
    pub(crate) fn drain_lanes(self: &Rc<Self>) -> bool {
        let mut any = false;
        let (before, from) = self.lanes.inbound.split_at(self.lanes.next_first());
        for inbound in from.iter().chain(before).flatten() {
            for _ in 0..PARCELS_PER_LANE {
                if self.clock.is_over() {
                    return true;
                }
                let Some(parcel) = self.next_parcel(inbound) else { break };
                if any && self.lanes.are_touched() {
                    self.wake_sleepers();
                }
                any = true;
                let Some(walked) = self.walk(parcel) else { continue };
                if !walked.is_at_end() {
                    inbound.unwalked.replace(Some(walked));
                }
            }
        }
        any
    }

    fn next_parcel(&self, inbound: &Inbound) -> Option<Parcel> {
        if let Some(rest) = inbound.unwalked.take() {
            return Some(Parcel::Frames(rest));
        }
        let mut crossings = inbound.crossings.borrow_mut();
        let mut landing = self.lanes.landing.borrow_mut();
        let landed = crossings.peek(|crossing| crossing.land(&mut landing))?;
        let crossing = crossings.try_recv()?;
        self.lanes.crossings.set(self.lanes.crossings.get() + 1);
        Some(landed.unwrap_or_else(|| crossing.open(&mut landing, inbound.from as u32)))
    }

    /// Gives chunks of other workers back to them. Each keeps as much memory as it had: two workers that ask
    /// each other would else end up with all chunks on one side.
    fn send_home(&self) {
        while let Some((lender, chunk)) = self.pool.pop_borrowed() {
            let Some(inbound) = &self.lanes.inbound[lender as usize] else { continue };
            if let Err(chunk) = inbound.returns.borrow_mut().try_send(chunk) {
                self.pool.restock(chunk);
            }
        }
    }

    /// Publishes what waits for other workers, and rings for those that are parked.
    pub(crate) fn flush_lanes(&self) {
        self.send_home();
        self.lanes.touched.set(0);
        for (worker, outbound) in self.lanes.outbound.iter().enumerate() {
            let Some(outbound) = outbound else { continue };
            if self.publish(outbound) {
                self.io.ring_doorbell(worker);
            }
            self.take_home(outbound);
        }
    }

    /// Takes in the chunks that another worker has given back.
    fn take_home(&self, outbound: &Outbound) {
        let mut returns = outbound.returns.borrow_mut();
        while let Some(chunk) = returns.try_recv() {
            self.pool.restock(chunk);
        }
    }

    /// Publishes what waits for workers that have nothing to do, while this one goes on with its turn: else they would
    /// wait until it has nothing more to do, and then it would wait for them. Not too often: a doorbell costs more
    /// than most handlers.
    #[cold]
    pub(crate) fn wake_sleepers(&self) {
        let touched = self.lanes.touched.take();
        for (worker, outbound) in self.lanes.outbound.iter().enumerate() {
            let Some(outbound) = outbound else { continue };
            if touched & bit_of(worker) == 0 || outbound.is_flushed() {
                continue;
            }
            let is_early = || self.io.now().since(outbound.early_at.get()) < EARLY_WAKES;
            if !outbound.entry.waits() || is_early() {
                // It may be about to, or there will be time for it.
                self.lanes.touched.set(self.lanes.touched.get() | bit_of(worker));
            } else {
                self.publish_at_cost(outbound);
            }
        }
    }

    /// Somebody will wait for what is about to be put into the outbox to this worker, which is then to be
    /// [hurried](Self::hurry). If the worker sleeps it is rung now: to wake up takes it many times as long as it takes
    /// to make a message. Returns whether it was.
    #[inline]
    pub(crate) fn ring_ahead(&self, worker: usize) -> bool {
        let Some(Some(outbound)) = self.lanes.outbound.get(worker) else { return false };
        let parker = &outbound.entry.parker;
        // The claim comes last but for what is planted: whoever has it must ring. While a node ends nobody is in a
        // hurry: what a worker says as it drops everything goes nowhere.
        let rings = parker.is_parked()
            // On the same core it would wake up before there is anything for it.
            && self.shared.rings_ahead
            && self.io.rings_at_once()
            && self.is_due(outbound)
            && !self.ending.get()
            && parker.claim_ahead()
            && !planted(Bug::ForgetDoorbell);
        if rings {
            self.ring_early(outbound);
        }
        rings
    }

    /// Somebody waits for what has just been put into the outbox to this worker, which has been `rung` for it, or has
    /// not. If the worker has nothing to do it gets it at once, and not when the turn ends: it may well be busy with it
    /// by then.
    #[inline]
    pub(crate) fn hurry(&self, worker: usize, rung: bool) {
        let Some(Some(outbound)) = self.lanes.outbound.get(worker) else { return };
        if rung {
            self.publish_at_cost(outbound);
        } else if outbound.entry.waits() && !self.ending.get() {
            self.hand_out(outbound);
        }
    }

    #[inline(never)]
    fn hand_out(&self, outbound: &Outbound) {
        // What was refused leaves nothing behind, and if nobody was rung for it takes nothing from what comes next.
        if outbound.is_flushed() {
            return;
        }
        let parked = outbound.entry.parker.is_parked();
        if !parked && outbound.takes_no_chunk() {
            self.publish_early(outbound);
        } else if self.is_due(outbound) && (!parked || self.io.rings_at_once()) {
            self.publish_at_cost(outbound);
        }
    }

    /// Whether a worker may get something in the middle of a turn that costs a system call or a chunk: once for each
    /// look at the clock. At the end of the turn one serves for all that has gathered.
    fn is_due(&self, outbound: &Outbound) -> bool {
        outbound.early_at.get() < self.now()
    }

    /// Publishes what waits for a worker in the middle of a turn, and wakes it if it sleeps: that costs a system call,
    /// or a chunk. Whether there is anything to publish or not, the worker is not due again at once.
    fn publish_at_cost(&self, outbound: &Outbound) {
        if !outbound.takes_no_chunk() {
            self.take_home(outbound);
        }
        self.publish_early(outbound);
        // The clock is read last: somebody waits for what has just left.
        outbound.early_at.set(self.io.now());
    }

    fn publish_early(&self, outbound: &Outbound) {
        if self.publish(outbound) {
            self.ring_early(outbound);
        }
    }

    fn ring_early(&self, outbound: &Outbound) {
        self.lanes.rung_early.set(self.lanes.rung_early.get() + 1);
        outbound.entry.ring();
    }

    /// Puts what waits for another worker into the lane. Returns whether its doorbell is to be rung.
    fn publish(&self, outbound: &Outbound) -> bool {
        let mut outbox = outbound.outbox.borrow_mut();
        let mut held = outbound.held.borrow_mut();
        if outbox.is_empty() && held.is_none() {
            return false;
        }
        let mut crossings = outbound.crossings.borrow_mut();
        let mut published = false;
        while let Some(crossing) = held.take().or_else(|| outbox.pop_crossing()) {
            if let Err(crossing) = crossings.try_send(crossing) {
                *held = Some(crossing);
                break;
            }
            published = true;
        }
        if published {
            self.room_made.set(true);
        }
        published && outbound.entry.parker.claim() && !planted(Bug::ForgetDoorbell)
    }
}
