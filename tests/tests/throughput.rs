//! P1 and P10 under load: nothing is lost, nothing is out of order, and workers do not wake each other
//! for each message.
#![allow(missing_docs, reason = "tests are named after what they show")]

use annulus::prelude::*;
use annulus_tests::{PATIENCE, Shared, ends, total};

/// Ten million; without optimisation that takes some seconds.
const MESSAGES: u64 = 10_000_000;

/// Messages on their way before the source waits for an answer.
const WINDOW: u64 = 10_000;

#[message]
struct Tick {
    number: u64,
}

/// Asks how many ticks have come, in order.
#[message(reply = Seen)]
struct Count;

#[message]
struct Seen {
    ticks: u64,
    gaps: u64,
}

#[derive(Default)]
struct Counter {
    ticks: u64,
    gaps: u64,
}

impl Actor for Counter {
    type Protocol = (Tick, Count);
}

impl Handler<Tick> for Counter {
    async fn handle(&mut self, tick: Msg<Tick>, _: &mut Context<Self>) {
        if tick.number != self.ticks {
            self.gaps += 1;
        }
        self.ticks = tick.number.to_native() + 1;
    }
}

impl Handler<Count> for Counter {
    async fn handle(&mut self, _: Msg<Count>, _: &mut Context<Self>) -> Seen {
        Seen { ticks: self.ticks, gaps: self.gaps }
    }
}

#[test]
fn p01_ten_million_messages_between_two_workers_none_lost_none_out_of_order() {
    let node = Node::builder("ann").workers(2).start().unwrap();
    let counter = node.spawn_on(1, Counter::default()).unwrap();
    let seen = node.run_on(0, async move || {
        for number in 0..MESSAGES {
            counter.send(Tick { number }).await.unwrap();
            if number % WINDOW == 0 {
                counter.ask(Count).await.unwrap();
            }
        }
        counter.ask(Count).await.unwrap().decode()
    });
    let Seen { ticks, gaps } = seen.unwrap();
    assert_eq!((ticks, gaps), (MESSAGES, 0));
    let rung = total(&node, |stats| stats.doorbells_rung);
    let parcels = total(&node, |stats| stats.lane_parcels);
    println!("{rung} doorbells and {parcels} parcels for {MESSAGES} messages");
    assert!(rung < MESSAGES / 100, "{rung} doorbells");
    assert_eq!(total(&node, |stats| stats.dead_letters), 0);
    node.shutdown(PATIENCE).unwrap();
}

/// Sends ticks as fast as `send` lets it.
struct Flood {
    to: ActorRef<(Tick, Count)>,
    done: Shared<()>,
}

#[message]
struct Go {
    count: u64,
}

impl Actor for Flood {
    type Protocol = (Go,);
}

impl Handler<Go> for Flood {
    async fn handle(&mut self, go: Msg<Go>, _: &mut Context<Self>) {
        for number in 0..go.count.to_native() {
            self.to.send(Tick { number }).await.unwrap();
        }
        self.done.push(());
    }
}

/// What was accepted is handled: three senders that never wait for answers, only for room.
#[test]
fn p10_send_holds_fast_senders_back_instead_of_losing_messages() {
    const EACH: u64 = 1_000_000;
    let node = Node::builder("ann").workers(4).start().unwrap();
    let counter = node.spawn_on(0, Counter::default()).unwrap();
    let done = Shared::default();
    for worker in 1..4 {
        let flood = Flood { to: counter, done: done.clone() };
        let flood = node.spawn_on(worker, flood).unwrap();
        node.run(async move || flood.tell(Go { count: EACH }).unwrap()).unwrap();
    }
    done.wait_for(3);
    ends("the last tick is handled", move || {
        annulus_tests::eventually("all are handled or lost", || {
            total(&node, |s| s.messages_handled + s.dead_letters) >= 3 * EACH
        });
        assert_eq!(total(&node, |stats| stats.dead_letters), 0);
        node.shutdown(PATIENCE).unwrap();
    });
}
