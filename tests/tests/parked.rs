//! What waits in a mailbox takes about as much memory as it has bytes.

use std::time::Duration;

use annulus::prelude::*;
use annulus_tests::{Shared, eventually, total};

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

struct Sink;

impl Actor for Sink {
    type Protocol = (Large,);
}

impl Handler<Large> for Sink {
    async fn handle(&mut self, large: Msg<Large>, _: &mut Context<Self>) {
        assert_eq!(large.0.len(), 30_000);
    }
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
                sink.send(Large(vec![1; 30_000])).await.unwrap();
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
