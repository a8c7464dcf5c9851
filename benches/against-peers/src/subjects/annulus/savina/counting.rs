//! One actor tells another one to count, many times, and asks it how far it is.

use annulus::prelude::*;

use crate::{
    finish::Finish,
    meter::Meter,
    rules::INCREMENTS,
    subjects::annulus::{spawn, time},
};

pub(super) fn run(node: &Node, meter: Meter) -> Meter {
    let finish = Finish::default();
    let producer = spawn(node, Producer { counter: None, finish: finish.clone() });
    time(node, meter, INCREMENTS, INCREMENTS, async move || {
        producer.tell(Go).expect("there is room");
        finish.wait().await
    })
}

/// Start a lap.
#[message]
struct Go;

#[message]
struct Counted(u64);

#[message]
struct Increment;

#[message]
struct Retrieve;

struct Producer {
    counter: Option<ActorRef<(Increment, Retrieve)>>,
    finish: Finish,
}

impl Actor for Producer {
    type Protocol = (Go, Counted);

    async fn started(&mut self, context: &mut Context<Self>) {
        let counter = Counter { producer: context.me(), count: 0 };
        self.counter = Some(context.spawn(counter).expect("there is room"));
    }
}

impl Handler<Go> for Producer {
    async fn handle(&mut self, _: Msg<Go>, _: &mut Context<Self>) {
        let counter = self.counter.expect("it has been started first");
        for _ in 0..INCREMENTS {
            counter.tell(Increment).expect("there is room");
        }
        counter.tell(Retrieve).expect("there is room");
    }
}

impl Handler<Counted> for Producer {
    async fn handle(&mut self, counted: Msg<Counted>, _: &mut Context<Self>) {
        self.finish.with(counted.0.to_native());
    }
}

struct Counter {
    producer: ActorRef<(Go, Counted)>,
    count: u64,
}

impl Actor for Counter {
    type Protocol = (Increment, Retrieve);
}

impl Handler<Increment> for Counter {
    async fn handle(&mut self, _: Msg<Increment>, _: &mut Context<Self>) {
        self.count += 1;
    }
}

impl Handler<Retrieve> for Counter {
    async fn handle(&mut self, _: Msg<Retrieve>, _: &mut Context<Self>) {
        self.producer.tell(Counted(std::mem::take(&mut self.count))).expect("there is room");
    }
}
