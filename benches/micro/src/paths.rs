//! Whole paths through a node, whose workers take turns in one thread on the simulated driver.
//!
//! A lap is one task that starts everything and waits for its end. What that and the simulated world cost
//! is part of what is counted; [`Nothing`] says how much it is.

use std::{marker::PhantomData, time::Duration};

use annulus::{Pinning, StopMode, prelude::*};
use annulus_sim::Sim;

use crate::{
    PATH_LAP, Work,
    messages::{Number, Sample},
};

const NODE: &str = "ann";

/// A node with two workers, which has started.
fn node() -> Sim {
    let mut sim = Sim::new(1);
    sim.node(NODE, 2, |node| node.pin(Pinning::Cores(vec![0, 1])), async |_| ());
    sim.run_for(Duration::from_secs(1));
    sim
}

fn spawn_on<A: Actor + Send>(sim: &mut Sim, worker: usize, actor: A) -> ActorRef<A::Protocol> {
    let node = sim.handle(NODE).expect("it is up");
    sim.drive(node.spawn_on(worker, actor)).expect("there is room")
}

fn run<T: Send + 'static>(sim: &mut Sim, task: impl AsyncFnOnce() -> T + Send + 'static) -> T {
    sim.run_on(NODE, task).expect("it does not panic")
}

/// A work after a first lap, which has got the memory that it needs.
fn warm<W: Work>(mut work: W) -> W {
    work.lap();
    work
}

/// What a lap has besides its operations.
pub struct Nothing(Sim);

impl Work for Nothing {
    fn prepare() -> Self {
        warm(Nothing(node()))
    }

    fn lap(&mut self) {
        run(&mut self.0, async || ());
    }
}

/// Tells an actor of a worker something; the first worker is the sender's own.
pub struct Tell<M: Sample, const WORKER: usize> {
    sim: Sim,
    counter: ActorRef<(M, Count)>,
}

impl<M: Sample, const WORKER: usize> Work for Tell<M, WORKER> {
    fn prepare() -> Self {
        let mut sim = node();
        let counter = Counter { sum: 0, counted: PhantomData::<fn(M)> };
        let counter = spawn_on(&mut sim, WORKER, counter);
        warm(Tell { sim, counter })
    }

    fn lap(&mut self) {
        let counter = self.counter;
        let sum = run(&mut self.sim, async move || {
            for _ in 0..PATH_LAP {
                counter.tell(M::make()).expect("there is room");
            }
            counter.ask(Count).await.expect("it answers").0.to_native()
        });
        assert!(sum > 0 && sum.is_multiple_of(PATH_LAP as u64));
    }
}

/// What has been counted since this was asked last?
#[message(reply = Answer)]
struct Count;

/// A number in return.
#[message]
struct Answer(u64);

struct Counter<M> {
    sum: u64,
    counted: PhantomData<fn(M)>,
}

impl<M: Sample> Actor for Counter<M> {
    type Protocol = (M, Count);
}

impl<M: Sample> Handler<M> for Counter<M> {
    async fn handle(&mut self, message: Msg<M>, _: &mut Context<Self>) {
        self.sum += M::look(&message);
    }
}

impl<M: Sample> Handler<Count> for Counter<M> {
    async fn handle(&mut self, _: Msg<Count>, _: &mut Context<Self>) -> Answer {
        Answer(std::mem::take(&mut self.sum))
    }
}

/// Asks an actor of a worker, one ask after the other; the first worker is the asker's own.
pub struct Ask<const WORKER: usize> {
    sim: Sim,
    server: ActorRef<(Question,)>,
}

impl<const WORKER: usize> Work for Ask<WORKER> {
    fn prepare() -> Self {
        let mut sim = node();
        let server = spawn_on(&mut sim, WORKER, Server);
        warm(Ask { sim, server })
    }

    fn lap(&mut self) {
        let server = self.server;
        let sum = run(&mut self.sim, async move || {
            let mut sum = 0;
            for number in 0..PATH_LAP as u64 {
                sum += server.ask(Question(number)).await.expect("it answers").0.to_native();
            }
            sum
        });
        assert_eq!(sum, (1..=PATH_LAP as u64).sum::<u64>());
    }
}

/// What comes after this number?
#[message(reply = Answer)]
struct Question(u64);

struct Server;

impl Actor for Server {
    type Protocol = (Question,);
}

impl Handler<Question> for Server {
    async fn handle(&mut self, question: Msg<Question>, _: &mut Context<Self>) -> Answer {
        Answer(question.0.to_native() + 1)
    }
}

/// Starts actors that do nothing, and ends them.
pub struct SpawnAndEnd(Sim);

/// Actors that there are at the same time.
const LITTER: usize = 100;

impl Work for SpawnAndEnd {
    fn prepare() -> Self {
        warm(SpawnAndEnd(node()))
    }

    fn lap(&mut self) {
        let before = self.0.stats(NODE)[0].actors;
        run(&mut self.0, async || {
            for _ in 0..PATH_LAP / LITTER {
                let spawn = |_| annulus::spawn(Server).expect("there is room");
                let litter: [_; LITTER] = std::array::from_fn(spawn);
                litter.iter().for_each(|actor| actor.stop(StopMode::Stop).expect("it is there"));
                litter[LITTER - 1].join().await.expect("it has not ended before");
            }
        });
        assert_eq!(self.0.stats(NODE)[0].actors, before);
    }
}

/// Sets timers, which send a message each.
pub struct Timers {
    sim: Sim,
    alarm: ActorRef<(SetTimers, Number, Count)>,
}

impl Work for Timers {
    fn prepare() -> Self {
        let mut sim = node();
        let alarm = spawn_on(&mut sim, 0, Alarm { rung: 0 });
        warm(Timers { sim, alarm })
    }

    fn lap(&mut self) {
        let alarm = self.alarm;
        run(&mut self.sim, async move || alarm.tell(SetTimers)).expect("there is room");
        self.sim.run_for(Duration::from_millis(10));
        let rung = run(&mut self.sim, async move || {
            alarm.ask(Count).await.expect("it answers").0.to_native()
        });
        assert_eq!(rung, PATH_LAP as u64);
    }
}

/// Sets the timers of a lap.
#[message]
struct SetTimers;

struct Alarm {
    rung: u64,
}

impl Actor for Alarm {
    type Protocol = (SetTimers, Number, Count);
}

impl Handler<SetTimers> for Alarm {
    async fn handle(&mut self, _: Msg<SetTimers>, context: &mut Context<Self>) {
        for number in 0..PATH_LAP as u64 {
            let delay = Duration::from_millis(1 + number % 4);
            context.after(delay, &Number::make()).expect("there is room");
        }
    }
}

impl Handler<Number> for Alarm {
    async fn handle(&mut self, _: Msg<Number>, _: &mut Context<Self>) {
        self.rung += 1;
    }
}

impl Handler<Count> for Alarm {
    async fn handle(&mut self, _: Msg<Count>, _: &mut Context<Self>) -> Answer {
        Answer(std::mem::take(&mut self.rung))
    }
}
