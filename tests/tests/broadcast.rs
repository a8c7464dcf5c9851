//! R57: one message for many actors, on this worker, on others and on other nodes: it arrives once at each, in
//! order, and those on one worker share its bytes.
#![allow(missing_docs, reason = "tests are named after what they show")]

use annulus::{Limits, MailboxLimits, StopMode, TellError, broadcast, prelude::*};
use annulus_tests::{
    DAY, Over, Pair, Shared,
    messages::{Number, Parcel, Ping},
    watching::{self, Follow, Hears, Word},
};

/// What a listener got: its number, and the message.
type Heard = (usize, u64);

struct Listener {
    number: usize,
    heard: Shared<Heard>,
}

impl Actor for Listener {
    type Protocol = (Number,);
}

impl Respond<Number> for Listener {
    async fn respond(&mut self, said: Msg<Number>, _: &mut Context<Self>) -> Reply<Number> {
        self.heard.push((self.number, said.number.to_native()));
        said.into()
    }
}

fn listener(number: usize, heard: &Shared<Heard>) -> Listener {
    Listener { number, heard: heard.clone() }
}

/// Notes its number, that of the parcel, and where the parcel lies.
struct Witness {
    number: usize,
    seen: Shared<(usize, u64, usize)>,
}

impl Actor for Witness {
    type Protocol = (Parcel,);
}

impl Respond<Parcel> for Witness {
    async fn respond(&mut self, parcel: Msg<Parcel>, _: &mut Context<Self>) -> Reply<Parcel> {
        let bytes = parcel.bytes();
        self.seen.push((self.number, parcel.number.to_native(), bytes.as_ptr().addr()));
        // Kept for ever, so that nothing else can come to lie there.
        std::mem::forget(bytes);
        parcel.into()
    }
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
    let seen = Shared::default();
    let all: Vec<_> = (0..COUNT)
        .map(|number| node.spawn_on(number % 2, Witness { number, seen: seen.clone() }).unwrap())
        .collect();
    // What is as small as a number is copied instead.
    let parcel = Parcel { sender: 0, number: 7, filling: vec![1; 100] };
    node.run_on(0, async move || broadcast(&all, &parcel).unwrap()).unwrap();
    let seen = seen.wait_for(COUNT);
    assert_eq!(sorted(seen.iter().map(|seen| seen.0)), (0..COUNT).collect::<Vec<_>>());
    assert!(seen.iter().all(|seen| seen.1 == 7));
    for worker in 0..2 {
        let mut places = sorted(seen.iter().filter(|s| s.0 % 2 == worker).map(|s| s.2));
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

#[test]
fn p01_an_actor_that_is_named_twice_hears_both_before_what_is_told_next() {
    let node = Node::builder("ann").workers(1).start().unwrap();
    let heard = Shared::default();
    let twice = node.spawn(listener(0, &heard)).unwrap();
    let told = node.run(async move || {
        // It is idle when this is answered.
        twice.ask(Number { number: 0 }).await.unwrap();
        broadcast(&[twice, twice], &Number { number: 1 }).unwrap();
        twice.tell(Number { number: 2 }).unwrap();
    });
    told.unwrap();
    assert_eq!(heard.wait_for(4), [(0, 0), (0, 1), (0, 1), (0, 2)]);
}

type Speaks = (Announce, Ping);

/// Say a word to all of these at once.
#[message]
struct Announce {
    to: Vec<ActorRef<Hears>>,
}

/// When it is asked, it says another word to the last of those, or stops.
struct Speaker {
    to: Vec<ActorRef<Hears>>,
    stops: bool,
}

impl Actor for Speaker {
    type Protocol = Speaks;
}

impl Handler<Announce> for Speaker {
    async fn handle(&mut self, announce: Msg<Announce>, _: &mut Context<Self>) {
        self.to = announce.decode().to;
        broadcast(&self.to, &Word::new(0)).unwrap();
    }
}

impl Handler<Ping> for Speaker {
    async fn handle(&mut self, _: Msg<Ping>, context: &mut Context<Self>) {
        if self.stops {
            return context.stop();
        }
        self.to.last().unwrap().tell(Word::new(1)).unwrap();
    }
}

/// Asks the speaker something at each word.
struct Heckler {
    speaker: ActorRef<Speaks>,
}

impl Actor for Heckler {
    type Protocol = (Word, Ping);
}

impl Handler<Word> for Heckler {
    async fn handle(&mut self, _: Msg<Word>, _: &mut Context<Self>) {
        self.speaker.ask(Ping).await.unwrap();
    }
}

impl Handler<Ping> for Heckler {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {}
}

/// A speaker addresses a heckler and, behind it, a listener that watches the speaker. Returns the first two
/// things that the listener hears.
fn heckled(stops: bool) -> Vec<String> {
    let node = Node::builder("ann").workers(1).start().unwrap();
    let heard = Shared::default();
    let speaker = node.spawn(Speaker { to: Vec::new(), stops }).unwrap();
    let heckler = node.spawn(Heckler { speaker }).unwrap();
    let listener = node.spawn(watching::Listener::noting(&heard)).unwrap();
    let told = node.run(async move || {
        // Both are idle when these are answered, and so get the word at once.
        heckler.ask(Ping).await.unwrap();
        let talker = ActorRef::from_address(speaker.address());
        listener.ask(Follow { talker, times: 1 }).await.unwrap();
        let first = ActorRef::from_address(heckler.address());
        speaker.tell(Announce { to: vec![first, listener] }).unwrap();
    });
    told.unwrap();
    heard.wait_for(2)
}

#[test]
fn p01_what_its_sender_tells_while_it_is_handed_out_does_not_overtake_a_broadcast() {
    assert_eq!(heckled(false), ["word 0", "word 1"]);
}

#[test]
fn p06_the_end_of_its_sender_while_it_is_handed_out_does_not_overtake_a_broadcast() {
    assert_eq!(heckled(true), ["word 0", "down: stopped"]);
}

/// Takes one message, never finishes with it, and has room for one more.
#[derive(Default)]
struct Narrow {
    begun: Shared<()>,
}

impl Actor for Narrow {
    type Protocol = (Number,);
    const MAILBOX: MailboxLimits = MailboxLimits { messages: 1, ..MailboxLimits::DEFAULT };
}

impl Handler<Number> for Narrow {
    async fn handle(&mut self, said: Msg<Number>, context: &mut Context<Self>) -> Number {
        self.begun.push(());
        context.sleep(DAY).await;
        said.decode()
    }
}

#[test]
fn p10_a_broadcast_says_whom_it_does_not_reach() {
    let node = Node::builder("ann").workers(1).start().unwrap();
    let heard = Shared::default();
    let lives = node.spawn(listener(0, &heard)).unwrap();
    let dead = node.spawn(listener(1, &heard)).unwrap();
    let narrow = Narrow::default();
    let begun = narrow.begun.clone();
    let full = node.spawn(narrow).unwrap();
    node.run(async move || full.tell(Number { number: 0 }).unwrap()).unwrap();
    begun.wait_for(1);
    let missed = node.run(async move || {
        dead.stop(StopMode::Stop).unwrap();
        let _ = dead.join().await;
        // One more waits, and then its mailbox is full.
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
fn p10_a_message_that_is_too_large_for_a_broadcast_reaches_nobody() {
    let limits = Limits { max_payload: 4_096, ..Limits::default() };
    let node = Node::builder("ann").workers(1).limits(limits).start().unwrap();
    let seen = Shared::default();
    let to = [0, 1].map(|number| node.spawn(Witness { number, seen: seen.clone() }).unwrap());
    let missed = node.run(async move || {
        let parcel = Parcel { sender: 0, number: 0, filling: vec![0; 10_000] };
        let missed = broadcast(&to, &parcel).unwrap_err();
        // What had been sent before would have been handled before this.
        for witness in to {
            let small = Parcel { sender: 0, number: 1, filling: Vec::new() };
            witness.ask(small).await.unwrap();
        }
        missed.refused.iter().map(|(_, reason)| *reason).collect::<Vec<_>>()
    });
    assert_eq!(missed, Ok(vec![TellError::TooLarge { max: 4_096 }; 2]));
    assert!(seen.all().iter().all(|seen| seen.1 == 1));
}
