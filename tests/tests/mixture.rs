//! Bursts for many actors in turn.

use std::collections::BTreeMap;

use annulus::{MailboxLimits, prelude::*};
use annulus_tests::{Shared, eventually, total};

#[message]
struct Number(u64);

#[message]
struct Text(String);

#[message(reply = Number)]
struct HowMany;

/// Takes numbers, as such and as text.
#[derive(Default)]
struct Sink {
    next: u64,
    faults: Shared<String>,
}

impl Sink {
    fn take(&mut self, number: u64) {
        if number != self.next {
            self.faults.push(format!("{number} instead of {}", self.next));
        }
        self.next = number + 1;
    }
}

impl Actor for Sink {
    type Protocol = (Number, Text, HowMany);
}

impl Handler<Number> for Sink {
    async fn handle(&mut self, number: Msg<Number>, context: &mut Context<Self>) {
        self.take(number.0.to_native());
        if number.0 == 77 {
            // What comes meanwhile waits in the mailbox.
            context.sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Handler<Text> for Sink {
    async fn handle(&mut self, text: Msg<Text>, _: &mut Context<Self>) {
        self.take(text.0.parse().unwrap());
    }
}

impl Handler<HowMany> for Sink {
    async fn handle(&mut self, _: Msg<HowMany>, _: &mut Context<Self>) -> Number {
        Number(self.next)
    }
}

/// Of all mixtures of few and many actors, short and long runs.
const MIXTURES: [(usize, u64); 4] = [(2, 1), (60, 1), (60, 3), (700, 1)];
const EACH: u64 = 300;

#[test]
fn p01_order_on_one_worker_and_across_workers_for_many_actors_in_turn() {
    for worker in [0, 1] {
        let node = Node::builder("ann").workers(2).start().unwrap();
        let faults = Shared::default();
        for (actors, run) in MIXTURES {
            let sink = || Sink { next: 0, faults: faults.clone() };
            let sinks: Vec<_> =
                (0..actors).map(|_| node.spawn_on(worker, sink()).unwrap()).collect();
            let counts = node.run_on(0, async move || {
                for first in (0..EACH).step_by(run as usize) {
                    for sink in &sinks {
                        for number in first..first + run {
                            match number % 3 {
                                0 => sink.send(Text(number.to_string())).await.unwrap(),
                                _ => sink.send(Number(number)).await.unwrap(),
                            }
                        }
                    }
                }
                let mut counts = BTreeMap::new();
                for sink in sinks {
                    let count = sink.ask(HowMany).await.unwrap().0.to_native();
                    *counts.entry(count).or_insert(0) += 1;
                }
                counts
            });
            assert_eq!(counts, Ok(BTreeMap::from([(EACH, actors)])));
        }
        assert_eq!(faults.all(), Vec::<String>::new());
        assert_eq!(total(&node, |stats| stats.dead_letters), 0);
    }
}

/// A sink with little room.
struct Small(Shared<u64>);

impl Actor for Small {
    type Protocol = (Number,);

    const MAILBOX: MailboxLimits = MailboxLimits { messages: 8, ..MailboxLimits::DEFAULT };
}

impl Handler<Number> for Small {
    async fn handle(&mut self, number: Msg<Number>, _: &mut Context<Self>) {
        self.0.push(number.0.to_native());
    }
}

#[test]
fn p10_small_mailboxes_of_actors_that_keep_up_lose_nothing_of_a_mixture() {
    let node = Node::builder("ann").workers(2).start().unwrap();
    let seen = Shared::default();
    let sinks: Vec<_> = (0..50).map(|_| node.spawn_on(1, Small(seen.clone())).unwrap()).collect();
    let told = node.run_on(0, async move || {
        for number in 0..400 {
            for sink in &sinks {
                sink.tell(Number(number)).unwrap();
            }
        }
    });
    assert_eq!(told, Ok(()));
    eventually("all has come", || seen.len() == 400 * 50);
    assert_eq!(total(&node, |stats| stats.dead_letters), 0);
}
