//! What waits in a mailbox takes about as much memory as it has bytes.
#![allow(missing_docs, reason = "tests are named after what they show")]

use std::time::Duration;

use annulus::{Limits, prelude::*};
use annulus_tests::{DAY, Shared, eventually, total, yield_now};

#[message]
struct Small(u64);

#[message]
struct Large(Vec<u8>);

#[message(reply = Small)]
struct Ask;

/// Holds its first message until it may go on.
struct Slow {
    go_on: Shared<()>,
    sum: u64,
}

impl Actor for Slow {
    type Protocol = (Small, Ask);
}

impl Handler<Small> for Slow {
    async fn handle(&mut self, small: Msg<Small>, context: &mut Context<Self>) {
        while self.go_on.is_empty() {
            context.sleep(Duration::from_millis(1)).await;
        }
        self.sum += small.0.to_native();
    }
}

impl Handler<Ask> for Slow {
    async fn handle(&mut self, _: Msg<Ask>, _: &mut Context<Self>) -> Small {
        Small(self.sum)
    }
}

/// Takes what fills chunks, so that others have few small messages in one.
struct Sink;

impl Actor for Sink {
    type Protocol = (Large, Fill);
}

/// Tell yourself more than fits into a chunk.
#[message]
struct Fill;

impl Handler<Fill> for Sink {
    async fn handle(&mut self, _: Msg<Fill>, context: &mut Context<Self>) {
        for _ in 0..3 {
            context.me().tell(large()).unwrap();
        }
    }
}

impl Handler<Large> for Sink {
    async fn handle(&mut self, large: Msg<Large>, _: &mut Context<Self>) {
        assert_eq!(large.0.len(), 30_000);
    }
}

fn large() -> Large {
    Large(vec![1; 30_000])
}

const MESSAGES: u64 = 500;

#[test]
fn p10_small_messages_that_wait_do_not_hold_on_to_whole_chunks() {
    for worker in [0, 1] {
        let node = Node::builder("ann").workers(2).start().unwrap();
        let go_on = Shared::default();
        let slow = node.spawn_on(worker, Slow { go_on: go_on.clone(), sum: 0 }).unwrap();
        let sink = node.spawn_on(worker, Sink).unwrap();
        let told = node.run_on(0, async move || {
            for number in 1..=MESSAGES {
                slow.send(Small(number)).await.unwrap();
                // Two of these fill a chunk: each chunk has few small messages in it.
                sink.send(large()).await.unwrap();
            }
        });
        assert_eq!(told, Ok(()));
        eventually("all but the one that is handled wait", || {
            total(&node, |stats| stats.mailbox_messages as u64) == MESSAGES - 1
        });
        let chunks = total(&node, |stats| stats.chunks as u64);
        assert!(chunks < 60, "{chunks} chunks");
        go_on.push(());
        let sum = node.run(async move || slow.ask(Ask).await.unwrap().0.to_native());
        assert_eq!(sum, Ok(MESSAGES * (MESSAGES + 1) / 2));
    }
}

/// When a sleeper is told the message that waits while it sleeps.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    /// By another one, while it sleeps.
    Asleep,
    /// By another one, before it has started.
    Early,
    /// By itself, just before it falls asleep.
    ByItself,
    /// The same, but it has been suspended in that handler before.
    ByItselfLater,
}

/// Sleeps within its handler for ever.
struct Sleeper {
    told: Told,
}

#[message]
struct Sleep;

impl Actor for Sleeper {
    type Protocol = (Sleep, Small);
}

impl Handler<Sleep> for Sleeper {
    async fn handle(&mut self, order: Msg<Sleep>, context: &mut Context<Self>) {
        // What is handled is not what waits.
        drop(order);
        if self.told == Told::ByItselfLater {
            yield_now().await;
        }
        if matches!(self.told, Told::ByItself | Told::ByItselfLater) {
            context.me().tell(Small(1)).unwrap();
        }
        context.sleep(DAY).await;
    }
}

impl Handler<Small> for Sleeper {
    async fn handle(&mut self, _: Msg<Small>, _: &mut Context<Self>) {}
}

/// Has so many sleepers fall asleep, with one message each that waits.
async fn fall_asleep(count: u64, told: Told, sink: ActorRef<(Large, Fill)>) {
    for _ in 0..count {
        let sleeper = annulus::spawn(Sleeper { told }).unwrap();
        if told != Told::Early {
            // It starts.
            yield_now().await;
        }
        sleeper.tell(Sleep).unwrap();
        if matches!(told, Told::Asleep | Told::Early) {
            sleeper.tell(Small(1)).unwrap();
        }
        for _ in 0..3 {
            sink.tell(large()).unwrap();
        }
        sink.ask(Fill).await.unwrap();
        // When this is answered, nothing of all that waits for the sink any more.
        sink.ask(Fill).await.unwrap();
    }
}

/// The message memory that so many sleepers hold for what waits for them.
fn held_by(sleepers: u64, told: Told) -> u64 {
    let node = Node::builder("ann").workers(1).start().unwrap();
    let sink = node.spawn(Sink).unwrap();
    node.run(async move || fall_asleep(sleepers, told, sink).await).unwrap();
    eventually("a message waits for each", || {
        total(&node, |stats| stats.mailbox_messages as u64) == sleepers
    });
    total(&node, |stats| stats.message_memory as u64)
}

fn hold_on_to_no_whole_chunk(ways: [Told; 2]) {
    // The most that a sleeper may cost: one small chunk.
    const EACH: u64 = 4 << 10;
    const SLEEPERS: u64 = 300;
    // What comes next is written into whole chunks.
    let open = 4 * Limits::default().chunk_size as u64;
    for told in ways {
        let held = held_by(SLEEPERS, told);
        assert!(held <= SLEEPERS * EACH + open, "{told:?}: {} bytes each", held / SLEEPERS);
    }
}

#[test]
fn p10_what_others_have_told_a_suspended_actor_holds_on_to_no_whole_chunk() {
    hold_on_to_no_whole_chunk([Told::Asleep, Told::Early]);
}

#[test]
fn p10_what_a_suspended_actor_has_told_itself_holds_on_to_no_whole_chunk() {
    hold_on_to_no_whole_chunk([Told::ByItself, Told::ByItselfLater]);
}
