//! The actors of the workload. Each looks after some promises.

use annulus::{MailboxLimits, SpawnError, StopMode, TimerHandle, now, prelude::*, spawn};
use annulus_sim::{Checks, Random};

use crate::business::Business;

/// Text to be sent back as it is.
#[message(reply = Say)]
pub(crate) struct Say {
    pub(crate) number: u64,
    pub(crate) text: Vec<u8>,
}

/// An ask that takes its time, and may be answered by nobody.
#[message(reply = Waited)]
pub(crate) struct Wait {
    pub(crate) number: u64,
    pub(crate) millis: u64,
    pub(crate) in_vain: bool,
}

/// So it was waited for.
#[message]
pub(crate) struct Waited {
    pub(crate) number: u64,
}

/// One of a stream of numbered messages from one sender.
#[message]
pub(crate) struct Count {
    pub(crate) sender: u64,
    pub(crate) number: u64,
    /// Makes the message large.
    pub(crate) filling: Vec<u8>,
}

/// The same as datagrams, in any order.
#[message]
pub(crate) struct Note {
    pub(crate) sender: u64,
    pub(crate) number: u64,
}

pub(crate) type Shop = (Say, Wait, Count, Note);

/// The name of the shop on a worker.
pub(crate) fn shop(worker: usize) -> Name<Shop> {
    Name::from_string(format!("shop-{worker}"))
}

/// Serves others: sends back what is said (P8), and looks at the order of what comes (P1, P3).
pub(crate) struct Shopkeeper {
    pub(crate) id: u64,
    pub(crate) checks: Checks,
    /// Every so many answers takes its time.
    pub(crate) slow_every: u64,
}

impl Actor for Shopkeeper {
    type Protocol = Shop;
}

impl Handler<Say> for Shopkeeper {
    async fn handle(&mut self, say: Msg<Say>, context: &mut Context<Self>) -> Say {
        let say = say.decode();
        if say.number.is_multiple_of(self.slow_every) {
            context.sleep(Duration::from_millis(say.number % 40)).await;
        }
        say
    }
}

impl Respond<Wait> for Shopkeeper {
    async fn respond(&mut self, wait: Msg<Wait>, context: &mut Context<Self>) -> Reply<Waited> {
        let (later, responder) = context.defer(&wait);
        context.task(|_| async move {
            sleep(Duration::from_millis(wait.millis.to_native())).await;
            if !wait.in_vain {
                responder.reply(Waited { number: wait.number.to_native() });
            }
        });
        later.into()
    }
}

impl Handler<Count> for Shopkeeper {
    async fn handle(&mut self, count: Msg<Count>, _: &mut Context<Self>) {
        let right = count.filling.iter().all(|byte| *byte == count.number.to_native() as u8);
        if !right {
            self.checks.violation("P3", format!("message {} was changed", count.number));
        }
        self.checks.arrived(count.sender.to_native(), self.id, count.number.to_native());
    }
}

impl Handler<Note> for Shopkeeper {
    async fn handle(&mut self, note: Msg<Note>, _: &mut Context<Self>) {
        self.checks.noted(note.sender.to_native(), self.id, note.number.to_native());
    }
}

/// A tick of an actor's own timer.
#[message]
pub(crate) struct Tick {
    due: u64,
}

/// A tick that may be called off.
#[message]
pub(crate) struct Perhaps {}

/// Looks at timers: none is early, none fires after it was cancelled (P14).
pub(crate) struct Clockmaker {
    checks: Checks,
    business: Business,
    random: Random,
    called_off: bool,
}

impl Clockmaker {
    pub(crate) fn new(checks: Checks, business: Business, random: Random) -> Self {
        Clockmaker { checks, business, random, called_off: false }
    }

    fn wind(&mut self, context: &mut Context<Self>) {
        let delay = Duration::from_micros(self.random.between(1, 400_000));
        let due = now().after(delay).0;
        let perhaps = context.after(delay / 2, &Perhaps {});
        let (Ok(perhaps), Ok(_)) = (perhaps, context.after(delay, &Tick { due })) else {
            return self.checks.violation("P14", "a timer was refused".into());
        };
        self.called_off = self.random.happens(0.5);
        if self.called_off {
            perhaps.cancel();
        }
    }
}

impl Actor for Clockmaker {
    type Protocol = (Tick, Perhaps);

    async fn started(&mut self, context: &mut Context<Self>) {
        self.wind(context);
    }
}

impl Handler<Tick> for Clockmaker {
    async fn handle(&mut self, tick: Msg<Tick>, context: &mut Context<Self>) {
        let (due, now) = (tick.due.to_native(), now().0);
        if now < due {
            self.checks.violation("P14", format!("a timer was {} ns early", due - now));
        }
        if self.business.is_open() {
            self.wind(context);
        }
    }
}

impl Handler<Perhaps> for Clockmaker {
    async fn handle(&mut self, _: Msg<Perhaps>, _: &mut Context<Self>) {
        if self.called_off {
            self.checks.violation("P14", "a timer fired after it was cancelled".into());
        }
    }
}

/// A tick that is called off when it is almost due.
#[message]
pub(crate) struct Late {
    number: u64,
}

/// Cancels timers when they are almost due, again and again (P14).
pub(crate) struct Canceller {
    checks: Checks,
    business: Business,
    /// The timer that is wound up, and whether it has fired.
    number: u64,
    fired: bool,
    cancelled: bool,
}

impl Canceller {
    pub(crate) fn new(checks: Checks, business: Business) -> Self {
        Canceller { checks, business, number: 0, fired: false, cancelled: false }
    }

    fn wind(&mut self, delay: Duration, context: &mut Context<Self>) -> Option<TimerHandle> {
        self.number += 1;
        (self.fired, self.cancelled) = (false, false);
        context.after(delay, &Late { number: self.number }).ok()
    }

    fn cancel(&mut self, handle: TimerHandle) {
        self.cancelled = handle.cancel();
        if self.cancelled == self.fired {
            self.checks.violation("P14", format!("cancelled and fired: both {}", self.fired));
        }
    }
}

impl Actor for Canceller {
    type Protocol = (Late,);

    async fn started(&mut self, context: &mut Context<Self>) {
        let business = self.business.clone();
        context.task(|me| async move {
            for millis in (1..20).cycle().take_while(|_| business.is_open()) {
                let delay = Duration::from_millis(millis);
                let wound = me.with(move |me: &mut Canceller, context| me.wind(delay, context));
                let Ok(Some(handle)) = wound.await else { return };
                sleep(delay - Duration::from_micros(500)).await;
                if me.with(move |me, _| me.cancel(handle)).await.is_err() {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
    }
}

impl Handler<Late> for Canceller {
    async fn handle(&mut self, late: Msg<Late>, _: &mut Context<Self>) {
        if self.cancelled || self.fired || late.number != self.number {
            self.checks.violation("P14", "a timer fired after it was cancelled, or twice".into());
        }
        self.fired = true;
    }
}

/// Looks at exclusive sections: only one runs at a time, across suspensions too (P9).
pub(crate) struct Hermit {
    pub(crate) checks: Checks,
    pub(crate) business: Business,
    pub(crate) alone: bool,
}

/// Come in, and stay a while.
#[message]
pub(crate) struct Visit {
    millis: u64,
}

impl Actor for Hermit {
    type Protocol = (Visit,);

    async fn started(&mut self, context: &mut Context<Self>) {
        let business = self.business.clone();
        context.task(|hermit| async move {
            while business.is_open() {
                let peeked = hermit.with(|hermit: &mut Hermit, _| {
                    if !hermit.alone {
                        hermit.checks.violation("P9", "a section ran within a handler".into());
                    }
                });
                if peeked.await.is_err() {
                    return;
                }
                sleep(Duration::from_millis(7)).await;
            }
        });
        let (me, business) = (context.me(), self.business.clone());
        context.task(|_| async move {
            for millis in (0..30).cycle().take_while(|_| business.is_open()) {
                let _ = me.tell(Visit { millis });
                sleep(Duration::from_millis(40)).await;
            }
        });
    }
}

impl Handler<Visit> for Hermit {
    async fn handle(&mut self, visit: Msg<Visit>, context: &mut Context<Self>) {
        if !std::mem::replace(&mut self.alone, false) {
            self.checks.violation("P9", "two handlers ran at the same time".into());
        }
        context.sleep(Duration::from_millis(visit.millis.to_native())).await;
        self.alone = true;
    }
}

/// Places in a [`Sluggard`]'s mailbox.
const PLACES: usize = 8;

/// A burden.
#[message]
pub(crate) struct Burden {}

/// Takes its time: its mailbox is full as a rule (P10).
pub(crate) struct Sluggard {
    pub(crate) handled: u64,
}

impl Actor for Sluggard {
    type Protocol = (Burden, Handled);
    const MAILBOX: MailboxLimits = MailboxLimits { messages: PLACES, ..MailboxLimits::DEFAULT };
}

/// How many burdens have been handled?
#[message(reply = Handled)]
pub(crate) struct Handled {
    pub(crate) count: u64,
}

impl Handler<Burden> for Sluggard {
    async fn handle(&mut self, _: Msg<Burden>, context: &mut Context<Self>) {
        self.handled += 1;
        context.sleep(Duration::from_millis(3)).await;
    }
}

impl Handler<Handled> for Sluggard {
    async fn handle(&mut self, _: Msg<Handled>, _: &mut Context<Self>) -> Handled {
        Handled { count: self.handled }
    }
}

/// Floods a [`Sluggard`] of the same worker, and counts (P10, P13).
pub(crate) async fn flood(checks: Checks, business: Business) -> Result<(), SpawnError> {
    for round in (0..).take_while(|_| business.is_open()) {
        let sluggard = spawn(Sluggard { handled: 0 })?;
        let taken = (0..50).filter(|_| sluggard.tell(Burden {}).is_ok()).count();
        // One is in the handler; the others wait.
        if taken > PLACES + 1 {
            let says = format!("a mailbox of {PLACES} took {taken} messages");
            checks.violation("P10", says);
        }
        sleep(Duration::from_millis(100)).await;
        match sluggard.ask(Handled { count: 0 }).await {
            Ok(handled) if handled.count.to_native() as usize != taken => {
                let says = format!("of {taken} messages {} were handled", handled.count);
                checks.violation("P3", says);
            }
            _ => {}
        }
        let mode = if round % 2 == 0 { StopMode::Drain } else { StopMode::Kill };
        let _ = sluggard.stop(mode);
        let _ = sluggard.join().await;
        // The place of a dead actor is another one's soon: what is for the dead must not reach it.
        let heir = spawn(Sluggard { handled: 0 })?;
        let misled = sluggard.tell(Burden {}).is_ok();
        sleep(Duration::from_millis(1)).await;
        let inherited = heir.ask(Handled { count: 0 }).await.map_or(0, |h| h.count.to_native());
        if misled || inherited > 0 {
            checks.violation("P13", "a message for a dead actor was taken".into());
        }
        let _ = heir.stop(StopMode::Stop);
        let _ = heir.join().await;
        sleep(Duration::from_millis(400)).await;
    }
    Ok(())
}
