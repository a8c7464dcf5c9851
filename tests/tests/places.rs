//! P10: a mailbox takes as many messages as it has places, whoever tells how many of them in which order.
#![allow(missing_docs, reason = "tests are named after what they show")]

use annulus::{Access, MailboxLimits, TellError, broadcast, prelude::*};
use annulus_tests::{
    Shared, eventually,
    messages::{Fail, Number, Parcel, Ping, Worker},
    start_polling, total, yield_now,
};

/// More than are kept at once, and no multiple of that.
const PLACES: u64 = 100;

type Takes = (Ping, Number, Parcel, Moved);

/// A number that is moved.
#[message(local)]
struct Moved(u64);

/// Waits within its handler of a ping until it may go on, and notes the numbers that it gets.
#[derive(Clone, Default)]
struct Stuck {
    begun: Shared<()>,
    go_on: Shared<()>,
    heard: Shared<u64>,
}

impl Actor for Stuck {
    type Protocol = Takes;
    const MAILBOX: MailboxLimits =
        MailboxLimits { messages: PLACES as usize, ..MailboxLimits::DEFAULT };
}

impl Handler<Ping> for Stuck {
    async fn handle(&mut self, _: Msg<Ping>, context: &mut Context<Self>) {
        self.begun.push(());
        while self.go_on.len() < self.begun.len() {
            context.sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Handler<Number> for Stuck {
    async fn handle(&mut self, said: Msg<Number>, _: &mut Context<Self>) -> Number {
        self.heard.push(said.number.to_native());
        said.decode()
    }
}

impl Handler<Parcel> for Stuck {
    async fn handle(&mut self, said: Msg<Parcel>, _: &mut Context<Self>) -> Parcel {
        self.heard.push(said.number.to_native());
        said.decode()
    }
}

impl Handler<Moved> for Stuck {
    async fn handle(&mut self, said: Msg<Moved>, _: &mut Context<Self>) {
        self.heard.push(said.0);
    }
}

/// An actor that is stuck, and its notes.
struct Target {
    actor: ActorRef<Takes>,
    notes: Stuck,
}

impl Target {
    fn start(node: &Node) -> Self {
        let notes = Stuck::default();
        let target = Target { actor: node.spawn(notes.clone()).unwrap(), notes };
        target.gets_stuck(node);
        target
    }

    fn gets_stuck(&self, node: &Node) {
        let (actor, before) = (self.actor, self.notes.begun.len());
        node.run(async move || actor.tell(Ping).unwrap()).unwrap();
        self.notes.begun.wait_for(before + 1);
    }

    /// It goes on, has as many numbers as it has places, from 0, in order, and takes as many once more.
    fn was_full(self, node: &Node) {
        self.notes.go_on.push(());
        let actor = self.actor;
        eventually("there is room", || {
            let ask = async move || actor.ask(Number { number: PLACES }).await.map(|_| ());
            let asked = node.run(ask).unwrap();
            assert!(matches!(asked, Ok(()) | Err(AskError::Overloaded)), "{asked:?}");
            asked.is_ok()
        });
        assert_eq!(self.notes.heard.all(), (0..=PLACES).collect::<Vec<_>>());
        assert_eq!(total(node, |stats| stats.dead_letters), 0);
        self.gets_stuck(node);
        assert_eq!(node.run(async move || fill(actor, 0)), Ok(PLACES), "for the second time");
    }
}

fn node() -> Node {
    Node::builder("ann").workers(1).start().unwrap()
}

/// Tells numbers from this one on until one comes back. Returns how many were taken.
fn fill(stuck: ActorRef<Takes>, first: u64) -> u64 {
    let mut number = first;
    loop {
        match stuck.tell(Number { number }) {
            Ok(()) => number += 1,
            Err(back) => {
                assert_eq!((back.message.number, back.reason), (number, TellError::Full));
                return number - first;
            }
        }
    }
}

#[test]
fn p10_one_task_fills_a_mailbox_to_the_last_place() {
    let node = node();
    let target = Target::start(&node);
    let to = target.actor;
    let taken = node.run(async move || {
        let taken = fill(to, 0);
        assert_eq!(fill(to, PLACES), 0, "it is full");
        yield_now().await;
        assert_eq!(fill(to, PLACES), 0, "it still is");
        taken
    });
    assert_eq!(taken, Ok(PLACES));
    target.was_full(&node);
}

#[test]
fn p10_one_task_fills_a_mailbox_in_small_parts() {
    for part in [1, 2, 3, 5, 64, 66, 99] {
        let node = node();
        let target = Target::start(&node);
        let to = target.actor;
        let more = node.run(async move || {
            for number in 0..PLACES {
                to.tell(Number { number }).unwrap();
                if (number + 1).is_multiple_of(part) {
                    yield_now().await;
                }
            }
            fill(to, PLACES)
        });
        assert_eq!(more, Ok(0), "in parts of {part}");
        target.was_full(&node);
    }
}

/// Tells two actors numbers in turns, until many have come back from both. Returns how many each has taken.
fn fill_in_turns(to: [ActorRef<Takes>; 2], row: &[usize]) -> [u64; 2] {
    let (mut taken, mut refused) = ([0; 2], [0; 2]);
    for at in row.iter().copied().cycle() {
        match to[at].tell(Number { number: taken[at] }) {
            Ok(()) => taken[at] += 1,
            Err(back) => {
                assert_eq!((back.message.number, back.reason), (taken[at], TellError::Full));
                refused[at] += 1;
            }
        }
        if refused.iter().all(|refused| *refused > PLACES) {
            break;
        }
    }
    taken
}

#[test]
fn p10_one_task_fills_two_mailboxes_in_turns() {
    let rows: [&'static [usize]; 5] =
        [&[0, 0, 0, 1, 0, 0, 1], &[0, 1], &[0, 0, 1, 1], &[0, 0, 0, 0, 0, 1], &[0, 0, 1]];
    for row in rows {
        let node = node();
        let targets = [Target::start(&node), Target::start(&node)];
        let to = [targets[0].actor, targets[1].actor];
        let taken = node.run(async move || fill_in_turns(to, row));
        assert_eq!(taken, Ok([PLACES; 2]), "{row:?}");
        targets.into_iter().for_each(|target| target.was_full(&node));
    }
}

/// A way to send a number.
#[derive(Clone, Copy, Debug)]
enum Way {
    Flat,
    Text,
    Large,
    Moved,
    Broadcast,
    Sent,
    Asked,
}

impl Way {
    const ALL: [Way; 7] =
        [Way::Flat, Way::Text, Way::Large, Way::Moved, Way::Broadcast, Way::Sent, Way::Asked];

    /// Sends a number. Returns whether that was taken.
    async fn send(self, to: ActorRef<Takes>, number: u64) -> bool {
        let parcel = |len| Parcel { sender: 0, number, filling: vec![1; len] };
        let told = match self {
            Way::Flat => to.tell(Number { number }).map_err(|back| back.reason),
            Way::Text => to.tell(parcel(10)).map_err(|back| back.reason),
            Way::Large => to.tell(parcel(10_000)).map_err(|back| back.reason),
            Way::Moved => to.tell(Moved(number)).map_err(|back| back.reason),
            Way::Broadcast => broadcast(&[to], &Number { number }).map_err(|b| b.refused[0].1),
            Way::Sent => return start_polling(to.send(Number { number })).await.is_ok(),
            Way::Asked => match start_polling(to.ask(Number { number })).await {
                Ok(outcome) => {
                    assert_eq!(outcome.map(|_| ()), Err(AskError::Overloaded));
                    return false;
                }
                // It is given up, and handled all the same.
                Err(_) => return true,
            },
        };
        assert!(matches!(told, Ok(()) | Err(TellError::Full)), "{told:?}");
        told.is_ok()
    }
}

#[test]
fn p10_one_task_fills_a_mailbox_in_all_ways() {
    use Way::*;

    const ROWS: [&[Way]; 4] = [
        &[Flat, Flat, Flat, Text, Flat, Flat, Broadcast, Text, Text, Broadcast, Broadcast, Flat],
        &[Text, Text, Text, Flat, Text],
        &[Flat, Flat, Flat, Moved, Moved, Moved, Flat, Sent, Sent, Sent, Large, Large, Large],
        &[Flat, Asked, Flat, Flat, Asked, Asked, Asked, Text, Asked],
    ];
    for row in ROWS {
        let node = node();
        let target = Target::start(&node);
        let to = target.actor;
        let told = node.run(async move || {
            for (number, way) in (0..PLACES).zip(row.iter().cycle()) {
                assert!(way.send(to, number).await, "{number} by {way:?}: {row:?}");
            }
            for way in Way::ALL {
                assert!(!way.send(to, PLACES).await, "it is full, by {way:?}: {row:?}");
            }
        });
        told.unwrap();
        target.was_full(&node);
    }
}

/// How many messages somebody else tells first.
const FEW: u64 = 3;

fn tell_few(stuck: ActorRef<Takes>) {
    (0..FEW).for_each(|number| stuck.tell(Number { number }).unwrap());
}

/// How many were taken.
#[message]
struct Taken {
    count: u64,
}

/// Tell this one a few numbers, and panic then or not.
#[message]
struct TellFew {
    to: ActorRef<Takes>,
    panic: bool,
}

/// Tell this one numbers until it is full.
#[message(reply = Taken)]
struct Fill {
    to: ActorRef<Takes>,
}

/// Tell this one a few numbers, and have another one fill it. Then try to tell more.
#[message(reply = Taken)]
struct HaveFilled {
    to: ActorRef<Takes>,
    by: ActorRef<Tells>,
}

/// Have another one tell this one a few numbers, and fill it.
#[message(reply = Taken)]
struct FillRest {
    to: ActorRef<Takes>,
    by: ActorRef<Tells>,
}

/// Have one task tell this one a few numbers, and another one fill it. The answer comes from that.
#[message(reply = Taken)]
struct HaveTasks {
    to: ActorRef<Takes>,
}

type Tells = (TellFew, Fill, HaveFilled, FillRest, HaveTasks);

struct Teller;

impl Actor for Teller {
    type Protocol = Tells;
}

impl Handler<TellFew> for Teller {
    async fn handle(&mut self, order: Msg<TellFew>, _: &mut Context<Self>) {
        tell_few(order.decode().to);
        assert!(!order.panic, "as it was told to");
    }
}

impl Handler<Fill> for Teller {
    async fn handle(&mut self, order: Msg<Fill>, _: &mut Context<Self>) -> Taken {
        Taken { count: fill(order.decode().to, FEW) }
    }
}

impl Handler<HaveFilled> for Teller {
    async fn handle(&mut self, order: Msg<HaveFilled>, _: &mut Context<Self>) -> Taken {
        let HaveFilled { to, by } = order.decode();
        tell_few(to);
        let taken = by.ask(Fill { to }).await.unwrap();
        assert_eq!(fill(to, PLACES), 0, "the other one has filled it");
        taken.decode()
    }
}

impl Handler<FillRest> for Teller {
    async fn handle(&mut self, order: Msg<FillRest>, _: &mut Context<Self>) -> Taken {
        let FillRest { to, by } = order.decode();
        by.ask(TellFew { to, panic: false }).await.unwrap();
        Taken { count: fill(to, FEW) }
    }
}

impl Respond<HaveTasks> for Teller {
    async fn respond(
        &mut self,
        order: Msg<HaveTasks>,
        context: &mut Context<Self>,
    ) -> Reply<Taken> {
        let to = order.decode().to;
        let (later, responder) = context.defer(&order);
        context.task(move |_: Access<Self>| async move { tell_few(to) });
        context.task(move |_: Access<Self>| async move {
            responder.reply(Taken { count: fill(to, FEW) });
        });
        later.into()
    }
}

/// Runs something that tells an actor a few numbers, and leaves it to somebody else to tell it the others, with
/// the help of two tellers. It returns how many others were taken.
fn shared_out(
    run: impl AsyncFnOnce(ActorRef<Takes>, ActorRef<Tells>, ActorRef<Tells>) -> u64 + Send + 'static,
) {
    let node = node();
    let target = Target::start(&node);
    let (to, first, second) =
        (target.actor, node.spawn(Teller).unwrap(), node.spawn(Teller).unwrap());
    let taken = node.run(async move || run(to, first, second).await);
    assert_eq!(taken, Ok(PLACES - FEW));
    target.was_full(&node);
}

#[test]
fn p10_what_one_task_does_not_tell_the_next_one_may() {
    let node = node();
    let target = Target::start(&node);
    let to = target.actor;
    node.run(async move || tell_few(to)).unwrap();
    assert_eq!(node.run(async move || fill(to, FEW)), Ok(PLACES - FEW));
    target.was_full(&node);
    shared_out(async |to, teller, _| teller.ask(HaveTasks { to }).await.unwrap().count.to_native());
}

#[test]
fn p10_what_one_handler_does_not_tell_the_next_one_may() {
    shared_out(async |to, first, second| {
        first.ask(TellFew { to, panic: false }).await.unwrap();
        second.ask(Fill { to }).await.unwrap().count.to_native()
    });
}

#[test]
fn p10_what_an_asker_does_not_tell_whom_it_asks_may() {
    shared_out(async |to, first, second| {
        first.ask(HaveFilled { to, by: second }).await.unwrap().count.to_native()
    });
}

#[test]
fn p10_what_one_that_is_asked_does_not_tell_its_asker_may() {
    shared_out(async |to, first, second| {
        first.ask(FillRest { to, by: second }).await.unwrap().count.to_native()
    });
}

#[test]
fn p10_what_a_handler_that_panics_does_not_tell_others_may() {
    shared_out(async |to, teller, _| {
        let asked = teller.ask(TellFew { to, panic: true }).await;
        assert_eq!(asked.map(|_| ()), Err(AskError::Dead));
        fill(to, FEW)
    });
}

#[test]
fn p10_who_has_told_an_actor_several_messages_gets_the_next_one_back_when_it_has_ended() {
    let node = node();
    let done = Shared::default();
    let worker = node.spawn(Worker::noting(&done)).unwrap();
    let told = node.run(async move || {
        (0..FEW).for_each(|number| worker.tell(Number { number }).unwrap());
        worker.tell(Fail).unwrap();
        // Nobody is told anything in between.
        while done.all().last().is_none_or(|last| last != "dropped") {
            yield_now().await;
        }
        let back = worker.tell(Number { number: FEW }).unwrap_err();
        (back.message.number, back.reason)
    });
    assert_eq!(told, Ok((FEW, TellError::Dead)));
    assert_eq!(total(&node, |stats| stats.dead_letters), 0);
}
