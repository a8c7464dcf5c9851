//! Time on a worker: sleeping, deadlines, and messages that an actor sends itself later.

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll, Waker},
    time::Duration,
};

use annulus_codec::{frame::Frame, passing::Envelope};
use annulus_transport::{
    driver::Mono,
    timer::{TimerKey, TimerWheel},
};
use slab::Slab;

use crate::{
    ask_table::AskKey,
    cell::ActorCell,
    contain::{discard, wake},
    core::Core,
    delivery::{Delivery, Source},
    error::AskError,
    planted::{Bug, planted},
};

/// What a timer of the wheel does when its time has come.
pub(crate) enum TimerEvent {
    /// Wake somebody.
    Wake(Waker),
    /// End an ask.
    Ask(AskKey),
    /// Put a message into an actor's mailbox.
    Message(AlarmKey),
}

/// Names a message timer. A key that is out of date names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AlarmKey {
    index: u32,
    generation: u32,
}

/// A message timer: it lives until it has been handled for the last time, or is cancelled.
struct Alarm {
    generation: u32,
    actor: Rc<ActorCell>,
    /// The message, archived once; its correlation id is the key.
    frame: Frame,
    period: Option<Duration>,
    due: Mono,
    timer: Option<TimerKey>,
    /// The other timers of the same actor.
    previous: Option<u32>,
    next: Option<u32>,
}

/// Message timers on one worker.
const MAX_ALARMS: usize = 1 << 20;

#[derive(Default)]
struct Alarms {
    alarms: Slab<Alarm>,
    generation: u32,
}

impl Alarms {
    fn find(&mut self, key: AlarmKey) -> Option<&mut Alarm> {
        self.alarms.get_mut(key.index as usize).filter(|alarm| alarm.generation == key.generation)
    }

    /// Adds a timer, in front of the others of its actor.
    fn insert(&mut self, make: impl FnOnce(AlarmKey) -> Alarm) -> AlarmKey {
        self.generation = self.generation.wrapping_add(1);
        let vacant = self.alarms.vacant_entry();
        let key = AlarmKey { index: vacant.key() as u32, generation: self.generation };
        let mut alarm = make(key);
        alarm.next = alarm.actor.first_alarm.replace(Some(key.index));
        let next = alarm.next;
        vacant.insert(alarm);
        if let Some(next) = next {
            self.alarms[next as usize].previous = Some(key.index);
        }
        key
    }

    fn remove(&mut self, key: AlarmKey) -> Option<Alarm> {
        self.find(key)?;
        let alarm = self.alarms.remove(key.index as usize);
        match alarm.previous {
            Some(previous) => self.alarms[previous as usize].next = alarm.next,
            None => alarm.actor.first_alarm.set(alarm.next),
        }
        if let Some(next) = alarm.next {
            self.alarms[next as usize].previous = alarm.previous;
        }
        Some(alarm)
    }

    /// The first timer of an actor.
    fn first_of(&self, actor: &ActorCell) -> Option<AlarmKey> {
        let index = actor.first_alarm.get()?;
        let generation = self.alarms.get(index as usize)?.generation;
        Some(AlarmKey { index, generation })
    }
}

/// The timers of a worker.
pub(crate) struct Timers {
    wheel: RefCell<TimerWheel<TimerEvent>>,
    alarms: RefCell<Alarms>,
    expired: RefCell<Vec<(TimerKey, TimerEvent)>>,
}

impl Timers {
    pub(crate) fn new(now: Mono) -> Self {
        Timers {
            wheel: RefCell::new(TimerWheel::new(now)),
            alarms: RefCell::default(),
            expired: RefCell::default(),
        }
    }
}

impl Core {
    pub(crate) fn insert_timer(&self, deadline: Mono, event: TimerEvent) -> TimerKey {
        self.timers.wheel.borrow_mut().insert(deadline, event)
    }

    pub(crate) fn cancel_timer(&self, key: TimerKey) {
        let event = self.timers.wheel.borrow_mut().cancel(key);
        discard("a timer", event);
    }

    pub(crate) fn next_timer(&self) -> Option<Mono> {
        self.timers.wheel.borrow().next_deadline()
    }

    /// Runs all timers whose time has come.
    pub(crate) fn expire_timers(self: &Rc<Self>) {
        let mut expired = self.timers.expired.take();
        self.timers.wheel.borrow_mut().expire(self.now(), &mut expired);
        for (_, event) in expired.drain(..) {
            match event {
                TimerEvent::Wake(waker) => wake(waker),
                TimerEvent::Ask(key) => self.settle_ask(key, Err(AskError::Timeout)),
                TimerEvent::Message(key) => self.ring_alarm(key),
            }
        }
        self.timers.expired.replace(expired);
    }

    /// Sets a message timer. `None` if the worker has too many.
    pub(crate) fn set_alarm(
        &self,
        actor: Rc<ActorCell>,
        frame: Frame,
        delay: Duration,
        period: Option<Duration>,
    ) -> Option<AlarmKey> {
        let early = if planted(Bug::EarlyTimer) { delay / 64 } else { Duration::ZERO };
        let due = self.io.now().after(delay - early);
        let mut alarms = self.timers.alarms.borrow_mut();
        if alarms.alarms.len() >= MAX_ALARMS {
            return None;
        }
        let key = alarms.insert(|key| Alarm {
            generation: key.generation,
            actor,
            frame,
            period,
            due,
            timer: Some(self.insert_timer(due, TimerEvent::Message(key))),
            previous: None,
            next: None,
        });
        Some(key)
    }

    /// The message goes into the mailbox. Whether it is still wanted is seen when it comes out.
    fn ring_alarm(self: &Rc<Self>, key: AlarmKey) {
        let ring = {
            let mut alarms = self.timers.alarms.borrow_mut();
            let Some(alarm) = alarms.find(key) else {
                return;
            };
            alarm.timer = None;
            (alarm.actor.clone(), alarm.frame.clone())
        };
        let (actor, frame) = ring;
        let mut delivery = Delivery::new(Envelope::Frame(frame), None);
        delivery.source = Some(Source::Alarm(key));
        self.deliver_alarm(&actor, delivery);
    }

    /// Whether the message of a timer is still wanted, asked just before it is handled. A periodic
    /// timer is set anew here, so that a slow actor is never flooded by its own timers.
    pub(crate) fn accept_alarm(&self, key: AlarmKey) -> bool {
        let mut alarms = self.timers.alarms.borrow_mut();
        let Some(alarm) = alarms.find(key) else {
            return false;
        };
        match alarm.period {
            Some(period) => {
                let now = self.now();
                // Ticks that were missed are left out; the beat stays.
                let late = now.since(alarm.due).as_nanos();
                let beats = late / period.as_nanos().max(1) + 1;
                let step =
                    u64::try_from(beats.saturating_mul(period.as_nanos())).unwrap_or(u64::MAX);
                alarm.due = alarm.due.after(Duration::from_nanos(step));
                alarm.timer = Some(self.insert_timer(alarm.due, TimerEvent::Message(key)));
                true
            }
            None => {
                let alarm = alarms.remove(key);
                drop(alarms);
                drop(alarm);
                true
            }
        }
    }

    pub(crate) fn cancel_alarm(&self, key: AlarmKey) -> bool {
        let alarm = self.timers.alarms.borrow_mut().remove(key);
        if let Some(timer) = alarm.as_ref().and_then(|alarm| alarm.timer) {
            self.cancel_timer(timer);
        }
        alarm.is_some()
    }

    /// Cancels the message timers of an actor that has ended.
    pub(crate) fn cancel_alarms_of(&self, actor: &ActorCell) {
        loop {
            let first = self.timers.alarms.borrow().first_of(actor);
            let Some(key) = first else { return };
            self.cancel_alarm(key);
        }
    }
}

/// A timer of an actor that sends it a message. Dropping the handle leaves the timer running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerHandle {
    pub(crate) key: AlarmKey,
    /// The worker whose timer it is.
    pub(crate) worker: usize,
}

impl TimerHandle {
    /// Cancels the timer: its message is not handled any more, even if it is in the mailbox already.
    /// Returns whether there was anything left to cancel.
    pub fn cancel(self) -> bool {
        if planted(Bug::CancelNothing) {
            return true;
        }
        Core::try_with(|core| core.worker() == self.worker && core.cancel_alarm(self.key))
            .unwrap_or(false)
    }
}

/// The time of the worker's monotonic clock, read anew. On a thread that is no worker it is always the
/// start of time.
pub fn now() -> Mono {
    Core::try_with(|core| core.io.now()).unwrap_or_default()
}

/// Waits for `duration`; never less, and about 0.1 ms longer at most on an idle worker.
///
/// # Panics
/// If it is awaited on a thread that is no worker.
pub fn sleep(duration: Duration) -> Sleep {
    Sleep { duration, until: None, timer: None }
}

/// See [`sleep`].
#[derive(Debug)]
#[must_use = "it waits only when it is awaited"]
pub struct Sleep {
    duration: Duration,
    until: Option<Mono>,
    timer: Option<TimerKey>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<()> {
        Core::try_with(|core| {
            let until = self.until.unwrap_or_else(|| core.io.now().after(self.duration));
            self.until = Some(until);
            if let Some(timer) = self.timer.take() {
                core.cancel_timer(timer);
            }
            if core.now() >= until {
                return Poll::Ready(());
            }
            let event = TimerEvent::Wake(context.waker().clone());
            self.timer = Some(core.insert_timer(until, event));
            Poll::Pending
        })
        .expect("sleep is awaited on a worker")
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            Core::with(|core| core.cancel_timer(timer));
        }
    }
}

/// Why [`timeout`] ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it did not end in time")
    }
}

impl std::error::Error for Elapsed {}

/// Runs a future for at most `limit`, then drops it.
///
/// # Errors
/// [`Elapsed`] if it was not ready in time.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = std::pin::pin!(future);
    let mut sleep = std::pin::pin!(sleep(limit));
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        sleep.as_mut().poll(context).map(|()| Err(Elapsed))
    })
    .await
}
