//! No wake-up is lost: workers fall asleep and wake each other in every way there is, at all moments. A fuse
//! ends a sleep from which nobody wakes a worker, and then there is never anything that has been sent to it.
//!
//! The long form:
//! `ANNULUS_SOAK_MINUTES=60 cargo test --release -p annulus-tests --test soak -- --ignored --nocapture`.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(clippy::disallowed_methods, reason = "tests look from the outside")]

use std::{
    array,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{self, Poll, Waker},
    thread,
    time::Instant,
};

use annulus::{NodeBuilder, StopMode, WorkerStats, prelude::*, transport::ring::RingConfig};
use annulus_tests::{Over, Pair, eventually, quiet, start_polling, total, yield_now};
use fastrand::Rng;

/// Each worker has something to do far more often than that, on a machine that is not too busy.
const FUSE: Duration = Duration::from_secs(1);

const WORKERS_ANN: usize = 3;
const WORKERS_BOB: usize = 2;

/// The workers of both nodes.
const PLACES: usize = WORKERS_ANN + WORKERS_BOB;

/// One cycle: some seconds, without optimisation too.
const CALLS: usize = 2000;
const COMMANDS: usize = 400;
const HOPS: u64 = 4000;
const BURSTS: usize = 150;

/// Messages in a burst, at most.
const BURST: usize = 200;

#[test]
fn r54_no_wake_up_is_lost_in_some_seconds() {
    let mut soak = Soak::new();
    soak.cycle();
    soak.end();
}

#[test]
#[ignore = "it takes as many minutes as ANNULUS_SOAK_MINUTES says"]
fn r54_no_wake_up_is_lost_in_many_minutes() {
    let minutes = std::env::var("ANNULUS_SOAK_MINUTES").map(|text| text.parse::<f64>().unwrap());
    let end = Duration::from_secs_f64(60.0 * minutes.unwrap_or(10.0));
    let (mut soak, begin) = (Soak::new(), Instant::now());
    while begin.elapsed() < end {
        soak.cycle();
        println!("{:>7.1} s  {}", begin.elapsed().as_secs_f64(), soak.progress());
    }
    soak.end();
}

/// A time about as long as it takes a worker to park, or to be woken, or longer.
fn pause(dice: &mut Rng) -> Duration {
    let most = [8_000, 50_000, 100_000, 1_000_000][dice.usize(..4)];
    Duration::from_nanos(dice.u64(..most))
}

/// Keeps the thread busy for a while.
fn linger(pause: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < pause {
        std::hint::spin_loop();
    }
}

/// Keeps the worker awake for a while, and lets others run.
async fn stay_awake(pause: Duration) {
    let begin = annulus::now();
    while annulus::now().since(begin) < pause {
        yield_now().await;
    }
}

/// Polls a future on this thread, which is no worker's.
fn poll_once<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut task::Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Polls a future on this thread until it is ready, without ever sleeping.
fn poll_awake<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Some(output) = poll_once(future.as_mut()) {
            return output;
        }
        std::hint::spin_loop();
    }
}

struct Soak {
    pair: Pair,
    cycles: u64,
    messages: u64,
}

impl Soak {
    fn new() -> Self {
        let fused = |node: NodeBuilder, workers| {
            let ring = RingConfig { park_fuse: Some(FUSE), ..RingConfig::default() };
            node.workers(workers).limits(quiet()).ring(ring)
        };
        let ann = |node| fused(node, WORKERS_ANN);
        let pair = Pair::with(Over::Tcp, ann, |node| fused(node, WORKERS_BOB));
        Soak { pair, cycles: 0, messages: 0 }
    }

    fn cycle(&mut self) {
        self.cycles += 1;
        self.call();
        self.command();
        self.relay();
        self.burst();
        let lost = self.sum(|stats| stats.wakeups_lost);
        assert_eq!(lost, 0, "wake-ups were lost: {}", self.progress());
    }

    fn end(self) {
        println!("{}", self.progress());
        assert!(self.sum(|stats| stats.parks) > self.cycles * HOPS, "workers were asleep");
        assert_eq!(self.sum(|stats| stats.dead_letters), 0);
        self.pair.shut_down();
    }

    fn sum(&self, number: impl Fn(&WorkerStats) -> u64) -> u64 {
        total(&self.pair.ann, &number) + total(&self.pair.bob, &number)
    }

    fn progress(&self) -> String {
        format!(
            "{} cycles, {} messages; {} parks, {} doorbells rung, {} heard; {} fuses",
            self.cycles,
            self.messages,
            self.sum(|stats| stats.parks),
            self.sum(|stats| stats.doorbells_rung),
            self.sum(|stats| stats.doorbells_heard),
            self.sum(|stats| stats.fuses),
        )
    }

    fn dice(&self, place: usize) -> Rng {
        Rng::with_seed(self.cycles * PLACES as u64 + place as u64)
    }

    /// A worker of either node, counted over both.
    fn place(&self, place: usize) -> (&Node, usize) {
        match place.checked_sub(WORKERS_ANN) {
            None => (&self.pair.ann, place),
            Some(worker) => (&self.pair.bob, worker),
        }
    }

    /// One actor on each worker.
    fn spawn<A: Actor + Send>(&self, make: impl Fn() -> A) -> [ActorRef<A::Protocol>; PLACES] {
        array::from_fn(|place| {
            let (node, worker) = self.place(place);
            node.spawn_on(worker, make()).unwrap()
        })
    }

    fn stop<P: 'static>(&self, actors: [ActorRef<P>; PLACES]) {
        for (place, actor) in actors.into_iter().enumerate() {
            let (node, worker) = self.place(place);
            let stopped = node.run_on(worker, async move || actor.stop(StopMode::Stop));
            assert_eq!(stopped, Ok(Ok(())));
        }
    }

    /// The first worker of each node stays awake and asks each of the others two things, the second one a
    /// moment after the first, and again a moment after both answers: just when it wakes up, or falls asleep.
    /// Nothing else would wake that one.
    fn call(&mut self) {
        let lines = PLACES - 2;
        let sinks = self.spawn(Sink::default);
        let done = Arc::new(AtomicUsize::new(0));
        thread::scope(|scope| {
            for (place, sink) in sinks.into_iter().enumerate() {
                let (node, worker) = self.place(place);
                let (mut dice, done) = (self.dice(place), done.clone());
                let all_done = done.clone();
                if worker == 0 {
                    let awake = async move || {
                        while done.load(Relaxed) < lines {
                            yield_now().await;
                        }
                    };
                    scope.spawn(move || node.run_on(0, awake).unwrap());
                    continue;
                }
                let calls = async move || {
                    let mut calls = 0;
                    // The last one is waited for by calling on, so that nobody is left asleep.
                    while done.load(Relaxed) < lines {
                        let first = start_polling(sink.ask(Count { place: 0 })).await;
                        stay_awake(pause(&mut dice)).await;
                        sink.ask(Count { place: 0 }).await.unwrap();
                        let first = match first {
                            Ok(answer) => answer,
                            Err(waits) => waits.await,
                        };
                        first.unwrap();
                        stay_awake(pause(&mut dice)).await;
                        calls += 1;
                        done.fetch_add(usize::from(calls == CALLS), Relaxed);
                    }
                };
                scope.spawn(move || {
                    let called = node.run_on(0, calls);
                    // If it failed, the others do not wait for it.
                    all_done.fetch_add(lines * usize::from(called.is_err()), Relaxed);
                    called.unwrap();
                });
            }
        });
        self.stop(sinks);
        self.messages += (2 * lines * CALLS) as u64;
    }

    /// A thread that stays awake does the same, in series with each worker in turn.
    fn command(&mut self) {
        const SERIES: usize = 25;
        let mut dice = self.dice(0);
        for _ in 0..COMMANDS / SERIES {
            for place in 0..PLACES {
                let (node, worker) = self.place(place);
                let handle = node.handle();
                for _ in 0..SERIES {
                    let mut first = pin!(handle.run_on(worker, async || ()));
                    let begun = poll_once(first.as_mut());
                    linger(pause(&mut dice));
                    let second = poll_awake(handle.run_on(worker, async || ()));
                    let first = begun.unwrap_or_else(|| poll_awake(first));
                    assert_eq!((first, second), (Ok(()), Ok(())));
                    linger(pause(&mut dice));
                }
            }
        }
        self.messages += (2 * COMMANDS * PLACES) as u64;
    }

    /// One message goes round among all workers of both nodes, and all but one of them sleep.
    fn relay(&mut self) {
        let (ring, hops) = (Arc::<OnceLock<_>>::default(), Arc::new(AtomicU64::new(0)));
        let relays = self.spawn(|| Relay { ring: ring.clone(), hops: hops.clone() });
        ring.set(relays).unwrap();
        let token = Token { seed: self.cycles };
        self.pair.ann.run(async move || relays[0].tell(token).unwrap()).unwrap();
        let mut before = 0;
        while before < HOPS {
            eventually("the token goes on", || hops.load(Relaxed) > before);
            before = hops.load(Relaxed);
        }
        self.stop(relays);
        self.messages += HOPS;
    }

    /// All workers send bursts to all, with pauses; and threads give them something to do meanwhile.
    fn burst(&mut self) {
        let sinks = self.spawn(Sink::default);
        let running = AtomicUsize::new(PLACES);
        let sent = Mutex::new(0);
        thread::scope(|scope| {
            for place in 0..PLACES {
                let (node, worker) = self.place(place);
                let (dice, running, sent) = (self.dice(place), &running, &sent);
                scope.spawn(move || {
                    let bursts =
                        node.run_on(worker, async move || bursts(place, sinks, dice).await);
                    running.fetch_sub(1, Relaxed);
                    *sent.lock().unwrap() += bursts.unwrap();
                });
            }
            let mut dice = self.dice(PLACES);
            while running.load(Relaxed) > 0 {
                let (node, worker) = self.place(dice.usize(..PLACES));
                assert_eq!(
                    node.run_on(worker, async || annulus::sleep(FUSE / 10_000).await),
                    Ok(())
                );
                linger(pause(&mut dice));
            }
        });
        self.stop(sinks);
        self.messages += sent.into_inner().unwrap();
    }
}

type Sunk = (Mark, Count);

/// Sends bursts to all sinks, and asks them at the end whether they have had everything. Returns how many
/// messages that were.
async fn bursts(place: usize, sinks: [ActorRef<Sunk>; PLACES], mut dice: Rng) -> u64 {
    let mut sent = [0; PLACES];
    for _ in 0..BURSTS {
        let to = dice.usize(..PLACES);
        for _ in 0..dice.usize(1..=BURST) {
            sinks[to].send(Mark { place: place as u64, number: sent[to] }).await.unwrap();
            sent[to] += 1;
        }
        if dice.bool() {
            count(sinks[to], place, sent[to]).await;
        }
        annulus::sleep(pause(&mut dice) * dice.u32(..4)).await;
    }
    for (sink, sent) in sinks.iter().zip(sent) {
        count(*sink, place, sent).await;
    }
    sent.iter().sum()
}

/// Asks a sink whether it has had everything that was sent to it from a place.
async fn count(sink: ActorRef<Sunk>, place: usize, sent: u64) {
    let had = sink.ask(Count { place: place as u64 }).await.unwrap();
    assert_eq!((had.count.to_native(), had.gaps.to_native()), (sent, 0));
}

/// A message, numbered among those from the same place to the same sink.
#[message]
struct Mark {
    place: u64,
    number: u64,
}

/// Asks how many messages have come from a place.
#[message(reply = Had)]
struct Count {
    place: u64,
}

#[message]
struct Had {
    count: u64,
    gaps: u64,
}

#[derive(Default)]
struct Sink {
    had: [u64; PLACES],
    gaps: u64,
}

impl Actor for Sink {
    type Protocol = Sunk;
}

impl Handler<Mark> for Sink {
    async fn handle(&mut self, mark: Msg<Mark>, _: &mut Context<Self>) {
        let had = &mut self.had[mark.place.to_native() as usize];
        self.gaps += u64::from(mark.number.to_native() != *had);
        *had += 1;
    }
}

impl Handler<Count> for Sink {
    async fn handle(&mut self, count: Msg<Count>, _: &mut Context<Self>) -> Had {
        Had { count: self.had[count.place.to_native() as usize], gaps: self.gaps }
    }
}

/// The message that goes round.
#[message]
struct Token {
    seed: u64,
}

struct Relay {
    ring: Arc<OnceLock<[ActorRef<(Token,)>; PLACES]>>,
    hops: Arc<AtomicU64>,
}

impl Actor for Relay {
    type Protocol = (Token,);
}

impl Handler<Token> for Relay {
    async fn handle(&mut self, token: Msg<Token>, _: &mut Context<Self>) {
        let mut dice = Rng::with_seed(token.seed.to_native());
        linger(pause(&mut dice));
        let next = self.ring.get().unwrap()[dice.usize(..PLACES)];
        if self.hops.fetch_add(1, Relaxed) + 1 < HOPS {
            next.tell(Token { seed: dice.u64(..) }).unwrap();
        }
    }
}
