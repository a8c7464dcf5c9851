//! P10: nothing waits for ever. A full queue is the sender's to know, and what is sent leaves at once.
#![allow(missing_docs, reason = "tests are named after what they show")]

use annulus::{Limits, StopMode, TellError, prelude::*};
use annulus_tests::{
    DAY, Over, PATIENCE, Pair, Shared, ends, eventually, messages::*, quiet, total,
};

#[test]
fn p10_what_is_sent_after_a_sleep_leaves_at_once() {
    let pair = Pair::with(Over::Tcp, |ann| ann.limits(quiet()), |bob| bob.limits(quiet()));
    let worker = pair.ann.spawn(Worker::default()).unwrap();
    ends("an ask after a sleep", move || {
        let asked = pair.bob.run(async move || {
            let mut answered = 0;
            for number in 0..20 {
                sleep(Duration::from_millis(1)).await;
                let asked = worker.ask(Number { number });
                answered += asked.within(PATIENCE / 8).await.is_ok() as u64;
            }
            answered
        });
        assert_eq!(asked, Ok(20));
    });
}

#[test]
fn p10_what_a_handler_answers_after_a_sleep_leaves_at_once() {
    let pair =
        Pair::with(Over::Unix, |ann| ann.workers(2).limits(quiet()), |bob| bob.limits(quiet()));
    for at in 0..2 {
        let worker = pair.ann.spawn_on(at, Worker::default()).unwrap();
        let asked = pair.bob.run(async move || {
            let nap = worker.ask(Nap { millis: 2 }).within(PATIENCE / 2);
            nap.await.map(|_| ())
        });
        assert_eq!(asked, Ok(Ok(())));
    }
}

#[test]
fn p10_a_tell_to_a_full_mailbox_hands_the_message_back() {
    let node = Node::builder("ann").start().unwrap();
    let cramped = node.spawn(Cramped::default()).unwrap();
    let told = node.run(async move || {
        cramped.tell(Nap { millis: 60_000 }).unwrap();
        sleep(Duration::from_millis(1)).await;
        let mut number = 0;
        loop {
            match cramped.tell(Number { number }) {
                Ok(()) => number += 1,
                Err(undelivered) => break (undelivered.message.number, undelivered.reason),
            }
            sleep(Duration::from_micros(100)).await;
        }
    });
    assert_eq!(told, Ok((2, TellError::Full)));
    assert_eq!(total(&node, |stats| stats.dead_letters), 0);
}

#[test]
fn p10_send_waits_for_room_in_a_mailbox() {
    let node = Node::builder("ann").start().unwrap();
    let done = Shared::default();
    let cramped = node.spawn(Cramped { done: done.clone() }).unwrap();
    ends("the sends", move || {
        node.run(async move || {
            cramped.tell(Nap { millis: 10 }).unwrap();
            sleep(Duration::from_millis(1)).await;
            for number in 0..10 {
                cramped.send(Number { number }).await.unwrap();
                // So that each message is in the mailbox before the next one is tried.
                sleep(Duration::from_micros(100)).await;
            }
        })
        .unwrap();
        done.wait_for(12);
        assert_eq!(total(&node, |stats| stats.dead_letters), 0);
    });
}

/// Sends more than fits to an actor of the same worker, in one go: nothing else wakes the sender.
#[test]
fn p10_send_to_a_napping_actor_goes_on_when_it_wakes_up() {
    let node = Node::builder("ann").start().unwrap();
    let done = Shared::default();
    let cramped = node.spawn(Cramped { done: done.clone() }).unwrap();
    ends("the sends", move || {
        node.run(async move || {
            cramped.send(Nap { millis: 10 }).await.unwrap();
            sleep(Duration::from_millis(1)).await;
            cramped.send(Number { number: 0 }).await.unwrap();
            sleep(Duration::from_millis(1)).await;
            cramped.send(Number { number: 1 }).await.unwrap();
            sleep(Duration::from_millis(1)).await;
            // The mailbox is full now, and all that moves is the napping actor.
            cramped.send(Number { number: 2 }).await.unwrap();
        })
        .unwrap();
        done.wait_for(5);
    });
}

#[test]
fn p10_send_across_workers_waits_for_room_and_loses_nothing() {
    let small = Limits { queue_bytes: 64 << 10, ..Limits::default() };
    let node = Node::builder("ann").workers(2).limits(small);
    let node = node.start().unwrap();
    let done = Shared::default();
    let worker = node.spawn_on(1, Worker::noting(&done)).unwrap();
    ends("the sends", move || {
        node.run_on(0, async move || {
            for number in 0..20_000 {
                worker.send(Number { number }).await.unwrap();
            }
        })
        .unwrap();
        let done = done.wait_for(20_000);
        assert!((0..20_000).all(|number| done[number] == format!("number {number}")));
    });
}

#[test]
fn p10_send_across_nodes_waits_for_room_and_loses_nothing() {
    let small = Limits { queue_bytes: 64 << 10, ..Limits::default() };
    let pair = Pair::with(Over::Tcp, |ann| ann, |bob| bob.limits(small));
    let done = Shared::default();
    let worker = pair.ann.spawn(Worker::noting(&done)).unwrap();
    let full = pair.bob.run(async move || {
        let mut full = 0;
        for number in 0..20_000 {
            if let Err(undelivered) = worker.tell(Number { number }) {
                assert_eq!(undelivered.reason, TellError::Full);
                full += 1;
                worker.send(undelivered.message).await.unwrap();
            }
        }
        full
    });
    assert!(full.unwrap() > 0);
    let done = done.wait_for(20_000);
    assert!((0..20_000).all(|number| done[number] == format!("number {number}")));
}

/// A peer floods an actor that sleeps on another worker than the one its link ends on.
#[test]
fn p10_a_flood_for_a_sleeping_actor_does_not_grow_without_bound() {
    let small = Limits { queue_bytes: 1 << 20, message_memory: 256 << 20, ..Limits::default() };
    let pair = Pair::with(Over::Tcp, |ann| ann.workers(2).limits(small), |bob| bob);
    let sink = pair.ann.spawn_on(1, Sleeper).unwrap();
    pair.bob
        .run(async move || {
            for number in 0..3000 {
                let parcel = Parcel { sender: 0, number, filling: vec![1; 100_000] };
                sink.send(parcel).await.unwrap();
            }
        })
        .unwrap();
    // The mailbox takes 1 MiB; the rest is refused. What is held is a few queues, not 300 MB.
    eventually("the flood is over", || total(&pair.ann, |stats| stats.dead_letters) > 2900);
    let held = total(&pair.ann, |stats| stats.message_memory as u64);
    assert!(held < 16 << 20, "{held}");
}

#[test]
fn statistics_count_what_waits_in_mailboxes() {
    let node = Node::builder("ann").start().unwrap();
    let sleeper = node.spawn(Sleeper).unwrap();
    let waiting = || {
        let messages = total(&node, |stats| stats.mailbox_messages as u64);
        (messages, total(&node, |stats| stats.mailbox_bytes as u64))
    };
    let told = node.run(async move || {
        let parcel = |number| Parcel { sender: 0, number, filling: vec![1; 1000] };
        (0..4).all(|number| sleeper.tell(parcel(number)).is_ok())
    });
    assert_eq!(told, Ok(true));
    // The first one is in the handler.
    eventually("three wait", || waiting().0 == 3);
    assert!((3000..3200).contains(&waiting().1), "{:?}", waiting());
    assert!(total(&node, |stats| stats.chunks as u64) > 0);
    node.run(async move || sleeper.stop(StopMode::Kill).is_ok()).unwrap();
    eventually("nothing waits", || waiting() == (0, 0));
}

struct Sleeper;

impl Actor for Sleeper {
    type Protocol = (Parcel,);
    const MAILBOX: annulus::MailboxLimits =
        annulus::MailboxLimits { messages: 1000, bytes: 1 << 20 };
}

impl Handler<Parcel> for Sleeper {
    async fn handle(&mut self, parcel: Msg<Parcel>, context: &mut Context<Self>) -> Parcel {
        context.sleep(DAY).await;
        parcel.decode()
    }
}
