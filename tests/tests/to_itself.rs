//! P1 for one actor: what it tells itself is handled in order, in whatever way it is told and however long its
//! handlers take; and nobody else is kept waiting by an actor that is never done with itself. P10: what does not
//! fit, or will not be handled any more, comes back.
#![allow(missing_docs, reason = "tests are named after what they show")]

use std::future::pending;

use annulus::{MailboxLimits, TellError, broadcast, prelude::*};
use annulus_tests::{
    Shared,
    messages::{Number, Parcel, Ping},
    total,
};

/// A number that is moved.
#[message(local)]
struct Moved(u64);

#[message]
struct Go {
    count: u64,
}

/// Tells itself numbers in all ways that there are, and each of them once more when it gets it.
struct Diarist {
    other: ActorRef<(Ping,)>,
    count: u64,
    heard: Shared<u64>,
}

impl Actor for Diarist {
    type Protocol = (Go, Number, Parcel, Moved);
}

impl Diarist {
    fn note(&self, number: u64, context: &Context<Self>) {
        let me = context.me();
        match number % 5 {
            0 => me.tell(Number { number }).unwrap(),
            1 => me.tell(Moved(number)).unwrap(),
            2 => broadcast(&[me], &Number { number }).unwrap(),
            3 => me.tell(Parcel { sender: 0, number, filling: vec![1; 70_000] }).unwrap(),
            _ => me.tell(Parcel { sender: 0, number, filling: vec![1; 10] }).unwrap(),
        }
    }

    async fn hear(&mut self, number: u64, context: &mut Context<Self>) {
        self.heard.push(number);
        if number < self.count {
            self.note(number + self.count, context);
        }
        if number % 7 == 3 {
            // What is asked runs while this handler does.
            self.other.ask(Ping).await.unwrap();
        }
        if number % 11 == 5 {
            context.sleep(Duration::from_micros(20)).await;
        }
    }
}

impl Handler<Go> for Diarist {
    async fn handle(&mut self, go: Msg<Go>, context: &mut Context<Self>) {
        self.count = go.count.to_native();
        (0..self.count).for_each(|number| self.note(number, context));
    }
}

impl Respond<Number> for Diarist {
    async fn respond(&mut self, said: Msg<Number>, context: &mut Context<Self>) -> Reply<Number> {
        self.hear(said.number.to_native(), context).await;
        said.into()
    }
}

impl Respond<Parcel> for Diarist {
    async fn respond(&mut self, said: Msg<Parcel>, context: &mut Context<Self>) -> Reply<Parcel> {
        let number = said.number.to_native();
        if number < self.count && number.is_multiple_of(2) {
            // It goes on as it is, and is heard once more.
            context.me().forward(said).unwrap();
            self.heard.push(number);
            return Reply::Value(Parcel { sender: 0, number, filling: Vec::new() });
        }
        self.hear(number, context).await;
        said.into()
    }
}

impl Handler<Moved> for Diarist {
    async fn handle(&mut self, said: Msg<Moved>, context: &mut Context<Self>) {
        self.hear(said.0, context).await;
    }
}

struct Other;

impl Actor for Other {
    type Protocol = (Ping,);
}

impl Handler<Ping> for Other {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {}
}

#[test]
fn p01_what_an_actor_tells_itself_is_in_order() {
    const COUNT: u64 = 1_000;
    let node = Node::builder("ann").workers(2).start().unwrap();
    for worker in 0..2 {
        let heard = Shared::default();
        let other = node.spawn_on(worker, Other).unwrap();
        let diarist = Diarist { other, count: 0, heard: heard.clone() };
        let diarist = node.spawn_on(0, diarist).unwrap();
        node.run(async move || diarist.tell(Go { count: COUNT }).unwrap()).unwrap();
        // What is forwarded keeps its number; all else has a new one the second time.
        let forwarded = |number: u64| matches!(number % 5, 3 | 4) && number.is_multiple_of(2);
        let second =
            (0..COUNT).map(|number| if forwarded(number) { number } else { number + COUNT });
        let expected: Vec<u64> = (0..COUNT).chain(second).collect();
        assert_eq!(heard.wait_for(expected.len())[..expected.len()], expected, "worker {worker}");
    }
}

/// Is never done with itself.
struct Busy;

#[message]
struct Again;

impl Actor for Busy {
    type Protocol = (Again, Ping);
}

impl Handler<Again> for Busy {
    async fn handle(&mut self, _: Msg<Again>, context: &mut Context<Self>) {
        context.me().tell(Again).unwrap();
    }
}

impl Handler<Ping> for Busy {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {}
}

#[test]
fn r61_an_actor_that_is_never_done_with_itself_answers_and_lets_others_run() {
    let node = Node::builder("ann").workers(2).start().unwrap();
    let busy = node.spawn_on(0, Busy).unwrap();
    let beside = node.spawn_on(0, Other).unwrap();
    let asked = node.run_on(1, async move || {
        busy.tell(Again).unwrap();
        for _ in 0..200 {
            busy.ask(Ping).await.unwrap();
            beside.ask(Ping).await.unwrap();
        }
    });
    asked.unwrap();
}

/// Asks somebody who ends meanwhile, and notes the numbers that it gets.
struct Caller {
    host: ActorRef<Hosts>,
    heard: Shared<u64>,
}

impl Actor for Caller {
    type Protocol = Calls;
}

type Calls = (Go, Number);

impl Handler<Go> for Caller {
    async fn handle(&mut self, _: Msg<Go>, context: &mut Context<Self>) {
        self.host.ask(Farewell { to: context.me() }).await.unwrap();
    }
}

impl Handler<Number> for Caller {
    async fn handle(&mut self, said: Msg<Number>, _: &mut Context<Self>) -> Number {
        self.heard.push(said.number.to_native());
        said.decode()
    }
}

/// Say a number to this one, and end.
#[message]
struct Farewell {
    to: ActorRef<Calls>,
}

type Hosts = (Farewell, Ping);

/// Has a task that is dropped with it, and whose destructor says a number too.
struct Host;

/// Says a number when it is dropped.
struct Last(ActorRef<Calls>);

impl Drop for Last {
    fn drop(&mut self) {
        let _ = self.0.tell(Number { number: 2 });
    }
}

impl Actor for Host {
    type Protocol = Hosts;
}

impl Handler<Farewell> for Host {
    async fn handle(&mut self, farewell: Msg<Farewell>, context: &mut Context<Self>) {
        let to = farewell.decode().to;
        let last = Last(to);
        context.task(move |_| async move {
            let _last = last;
            pending::<()>().await;
        });
        to.tell(Number { number: 1 }).unwrap();
        context.stop();
    }
}

impl Handler<Ping> for Host {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {}
}

#[test]
fn p01_destructors_of_one_that_ends_do_not_speak_as_its_asker() {
    let node = Node::builder("ann").workers(1).start().unwrap();
    // Not every time is there time for what is asked while its asker is polled.
    for _ in 0..10 {
        let heard = Shared::default();
        let host = node.spawn(Host).unwrap();
        let caller = node.spawn(Caller { host, heard: heard.clone() }).unwrap();
        let told = node.run(async move || {
            // It is idle when this is answered, and so may handle the next ask at once.
            host.ask(Ping).await.unwrap();
            caller.tell(Go { count: 0 }).unwrap();
        });
        told.unwrap();
        assert_eq!(heard.wait_for(2), [1, 2]);
    }
}

const PLACES: u64 = 10;

/// Tells itself numbers in all ways, and notes what it hears of them, and what comes back and why.
#[derive(Clone, Default)]
struct Crowded {
    heard: Shared<u64>,
    refused: Shared<(u64, TellError)>,
}

/// Tell yourself four numbers, end, and tell yourself four more.
#[message]
struct End {
    drain: bool,
}

impl Actor for Crowded {
    type Protocol = (Go, End, Number, Parcel, Moved);
    const MAILBOX: MailboxLimits =
        MailboxLimits { messages: PLACES as usize, ..MailboxLimits::DEFAULT };

    async fn stopped(&mut self, context: &mut Context<Self>) {
        (8..12).for_each(|number| self.note(number, context));
    }
}

impl Crowded {
    fn note(&self, number: u64, context: &Context<Self>) {
        let me = context.me();
        let parcel = Parcel { sender: 0, number, filling: vec![1; 70_000] };
        let told = match number % 4 {
            0 => me.tell(Number { number }).map_err(|back| (back.message.number, back.reason)),
            1 => me.tell(Moved(number)).map_err(|back| (back.message.0, back.reason)),
            2 => me.tell(parcel).map_err(|back| (back.message.number, back.reason)),
            _ => broadcast(&[me], &Number { number }).map_err(|back| (number, back.refused[0].1)),
        };
        told.unwrap_or_else(|refused| self.refused.push(refused));
    }
}

impl Handler<Go> for Crowded {
    async fn handle(&mut self, go: Msg<Go>, context: &mut Context<Self>) {
        (0..go.count.to_native()).for_each(|number| self.note(number, context));
    }
}

impl Handler<End> for Crowded {
    async fn handle(&mut self, end: Msg<End>, context: &mut Context<Self>) {
        (0..4).for_each(|number| self.note(number, context));
        if end.drain {
            context.drain()
        } else {
            context.stop()
        }
        (4..8).for_each(|number| self.note(number, context));
    }
}

impl Handler<Number> for Crowded {
    async fn handle(&mut self, said: Msg<Number>, _: &mut Context<Self>) -> Number {
        self.heard.push(said.number.to_native());
        said.decode()
    }
}

impl Handler<Parcel> for Crowded {
    async fn handle(&mut self, said: Msg<Parcel>, _: &mut Context<Self>) -> Parcel {
        self.heard.push(said.number.to_native());
        said.decode()
    }
}

impl Handler<Moved> for Crowded {
    async fn handle(&mut self, said: Msg<Moved>, _: &mut Context<Self>) {
        self.heard.push(said.0);
    }
}

fn all(numbers: std::ops::Range<u64>, reason: TellError) -> Vec<(u64, TellError)> {
    numbers.map(|number| (number, reason)).collect()
}

#[test]
fn p10_what_an_actor_tells_itself_comes_back_if_its_mailbox_is_full() {
    let node = Node::builder("ann").workers(1).start().unwrap();
    let notes = Crowded::default();
    let crowded = node.spawn(notes.clone()).unwrap();
    let places: Vec<u64> = (0..PLACES).collect();
    let full = all(PLACES..PLACES + 4, TellError::Full);
    for round in 1..=3 {
        let told = node.run(async move || crowded.tell(Go { count: PLACES + 4 }).unwrap());
        told.unwrap();
        assert_eq!(notes.heard.wait_for(round * places.len()), places.repeat(round));
        assert_eq!(notes.refused.all(), full.repeat(round));
    }
    assert_eq!(total(&node, |stats| stats.dead_letters), 0);
}

#[test]
fn p10_what_an_actor_that_ends_tells_itself_comes_back() {
    for (drain, heard) in [(false, vec![]), (true, vec![0, 1, 2, 3])] {
        let node = Node::builder("ann").workers(1).start().unwrap();
        let notes = Crowded::default();
        let crowded = node.spawn(notes.clone()).unwrap();
        let ended = node.run(async move || {
            crowded.tell(End { drain }).unwrap();
            let _ = crowded.join().await;
        });
        ended.unwrap();
        assert_eq!(notes.heard.all(), heard);
        assert_eq!(notes.refused.all(), all(4..12, TellError::Dead));
        // What it had told itself before, if it is not handled any more.
        assert_eq!(total(&node, |stats| stats.dead_letters), 4 - heard.len() as u64);
    }
}
