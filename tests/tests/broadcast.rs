//! R57: one message for many actors, on this worker, on others and on other nodes: it arrives once at each, in
//! order, and those on one worker share its bytes.
#![allow(missing_docs, reason = "tests are named after what they show")]

use annulus::{MailboxLimits, StopMode, TellError, broadcast, prelude::*};
use annulus_tests::{Over, PATIENCE, Pair, Shared, messages::Number};

/// What a listener got: its number, the message, and where its bytes lie.
type Heard = (usize, u64, usize);

struct Listener {
    number: usize,
    heard: Shared<Heard>,
}

impl Actor for Listener {
    type Protocol = (Number,);
}

impl Respond<Number> for Listener {
    async fn respond(&mut self, said: Msg<Number>, _: &mut Context<Self>) -> Reply<Number> {
        let bytes = said.bytes();
        self.heard.push((self.number, said.number.to_native(), bytes.as_ptr().addr()));
        // Kept for ever, so that nothing else can come to lie there.
        std::mem::forget(bytes);
        said.into()
    }
}

fn listener(number: usize, heard: &Shared<Heard>) -> Listener {
    Listener { number, heard: heard.clone() }
}

fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort_unstable();
    items
}

#[test]
fn r57_actors_of_one_worker_share_the_bytes_of_a_broadcast() {
    // More than fit into one frame.
    const COUNT: usize = 1_500;
    let node = Node::builder("ann").workers(2).start().unwrap();
    let heard = Shared::default();
    let all: Vec<_> = (0..COUNT)
        .map(|number| node.spawn_on(number % 2, listener(number, &heard)).unwrap())
        .collect();
    node.run_on(0, async move || broadcast(&all, &Number { number: 7 }).unwrap()).unwrap();
    let heard = heard.wait_for(COUNT);
    assert_eq!(sorted(heard.iter().map(|heard| heard.0)), (0..COUNT).collect::<Vec<_>>());
    assert!(heard.iter().all(|heard| heard.1 == 7));
    for worker in 0..2 {
        let mut places = sorted(heard.iter().filter(|h| h.0 % 2 == worker).map(|h| h.2));
        places.dedup();
        assert_eq!(places.len(), 1, "copies on worker {worker}");
    }
}

#[test]
fn p01_broadcasts_and_tells_arrive_in_order() {
    const ROUNDS: u64 = 300;
    let pair = Pair::new(Over::Tcp, 2, 2);
    let heard = Shared::default();
    let homes = [(&pair.ann, 0), (&pair.ann, 1), (&pair.bob, 0), (&pair.bob, 1)];
    let listeners = homes.iter().enumerate();
    let all: Vec<_> = listeners
        .map(|(number, (node, worker))| node.spawn_on(*worker, listener(number, &heard)).unwrap())
        .collect();
    let to = all.clone();
    let run = pair.ann.run_on(0, async move || {
        for round in 0..ROUNDS {
            broadcast(&to, &Number { number: 2 * round }).unwrap();
            for actor in &to {
                actor.tell(Number { number: 2 * round + 1 }).unwrap();
            }
            if round % 50 == 49 {
                // What comes next meets actors that are idle.
                for actor in &to {
                    actor.ask(Number { number: u64::MAX }).await.unwrap();
                }
            }
        }
    });
    run.unwrap();
    let heard = heard.wait_for(all.len() * (2 * ROUNDS + ROUNDS / 50) as usize);
    for number in 0..all.len() {
        let of = heard.iter().filter(|heard| heard.0 == number).map(|heard| heard.1);
        let numbers: Vec<u64> = of.filter(|number| *number != u64::MAX).collect();
        assert_eq!(numbers, (0..2 * ROUNDS).collect::<Vec<_>>(), "listener {number}");
    }
    pair.shut_down();
}

/// Takes one message at a time, for as long as it takes.
struct Narrow;

impl Actor for Narrow {
    type Protocol = (Number,);
    const MAILBOX: MailboxLimits = MailboxLimits { messages: 1, ..MailboxLimits::DEFAULT };
}

impl Handler<Number> for Narrow {
    async fn handle(&mut self, said: Msg<Number>, context: &mut Context<Self>) -> Number {
        context.sleep(PATIENCE).await;
        said.decode()
    }
}

#[test]
fn p10_a_broadcast_says_whom_it_does_not_reach() {
    let node = Node::builder("ann").workers(1).start().unwrap();
    let heard = Shared::default();
    let lives = node.spawn(listener(0, &heard)).unwrap();
    let dead = node.spawn(listener(1, &heard)).unwrap();
    let full = node.spawn(Narrow).unwrap();
    let missed = node.run(async move || {
        dead.stop(StopMode::Stop).unwrap();
        let _ = dead.join().await;
        full.tell(Number { number: 0 }).unwrap();
        sleep(Duration::from_millis(1)).await;
        // It sleeps in its handler, so one more waits, and then its mailbox is full.
        full.tell(Number { number: 0 }).unwrap();
        let missed = broadcast(&[dead, lives, full], &Number { number: 1 }).unwrap_err();
        assert!(missed.contains(dead) && missed.contains(full) && !missed.contains(lives));
        assert!(missed.to_string().starts_with("2 of 3 actors were not told"), "{missed}");
        missed.refused.iter().map(|(_, reason)| *reason).collect::<Vec<_>>()
    });
    assert_eq!(missed, Ok(vec![TellError::Dead, TellError::Full]));
    assert_eq!(heard.wait_for(1).len(), 1);
    let stranger = broadcast(&[lives], &Number { number: 2 }).unwrap_err();
    assert_eq!(stranger.refused, [(lives, TellError::NoWorker)]);
}

#[test]
fn p12_a_message_that_is_too_large_for_a_broadcast_reaches_nobody() {
    use annulus::Limits;
    use annulus_tests::messages::Parcel;

    let limits = Limits { max_payload: 4_096, ..Limits::default() };
    let node = Node::builder("ann").workers(1).limits(limits).start().unwrap();
    let to: Vec<ActorRef<(Parcel,)>> = [node.spawn(Narrow).unwrap()]
        .iter()
        .map(|actor| ActorRef::from_address(actor.address()))
        .collect();
    let missed = node.run(async move || {
        let parcel = Parcel { sender: 0, number: 0, filling: vec![0; 10_000] };
        broadcast(&to, &parcel).unwrap_err().refused[0].1
    });
    assert_eq!(missed, Ok(TellError::TooLarge { max: 4_096 }));
}
