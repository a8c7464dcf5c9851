//! P1 for one actor: what it tells itself is handled in order, in whatever way it is told and however long its
//! handlers take; and nobody else is kept waiting by an actor that is never done with itself.
#![allow(missing_docs, reason = "tests are named after what they show")]

use annulus::{broadcast, prelude::*};
use annulus_tests::{
    Shared,
    messages::{Number, Parcel, Ping},
};

/// A number that is moved.
#[message(local)]
struct Moved(u64);

#[message]
struct Go {
    count: u64,
}

/// Tells itself numbers in all ways that there are, and each of them once more when it gets it.
struct Diarist {
    other: ActorRef<(Ping,)>,
    count: u64,
    heard: Shared<u64>,
}

impl Actor for Diarist {
    type Protocol = (Go, Number, Parcel, Moved);
}

impl Diarist {
    fn note(&self, number: u64, context: &Context<Self>) {
        let me = context.me();
        match number % 5 {
            0 => me.tell(Number { number }).unwrap(),
            1 => me.tell(Moved(number)).unwrap(),
            2 => broadcast(&[me], &Number { number }).unwrap(),
            3 => me.tell(Parcel { sender: 0, number, filling: vec![1; 70_000] }).unwrap(),
            _ => me.tell(Parcel { sender: 0, number, filling: vec![1; 10] }).unwrap(),
        }
    }

    async fn hear(&mut self, number: u64, context: &mut Context<Self>) {
        self.heard.push(number);
        if number < self.count {
            self.note(number + self.count, context);
        }
        if number % 7 == 3 {
            // What is asked runs while this handler does.
            self.other.ask(Ping).await.unwrap();
        }
        if number % 11 == 5 {
            context.sleep(Duration::from_micros(20)).await;
        }
    }
}

impl Handler<Go> for Diarist {
    async fn handle(&mut self, go: Msg<Go>, context: &mut Context<Self>) {
        self.count = go.count.to_native();
        (0..self.count).for_each(|number| self.note(number, context));
    }
}

impl Respond<Number> for Diarist {
    async fn respond(&mut self, said: Msg<Number>, context: &mut Context<Self>) -> Reply<Number> {
        self.hear(said.number.to_native(), context).await;
        said.into()
    }
}

impl Respond<Parcel> for Diarist {
    async fn respond(&mut self, said: Msg<Parcel>, context: &mut Context<Self>) -> Reply<Parcel> {
        let number = said.number.to_native();
        if number < self.count && number.is_multiple_of(2) {
            // It goes on as it is, and is heard once more.
            context.me().forward(said).unwrap();
            self.heard.push(number);
            return Reply::Value(Parcel { sender: 0, number, filling: Vec::new() });
        }
        self.hear(number, context).await;
        said.into()
    }
}

impl Handler<Moved> for Diarist {
    async fn handle(&mut self, said: Msg<Moved>, context: &mut Context<Self>) {
        self.hear(said.0, context).await;
    }
}

struct Other;

impl Actor for Other {
    type Protocol = (Ping,);
}

impl Handler<Ping> for Other {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {}
}

#[test]
fn p01_what_an_actor_tells_itself_is_in_order() {
    const COUNT: u64 = 1_000;
    let node = Node::builder("ann").workers(2).start().unwrap();
    for worker in 0..2 {
        let heard = Shared::default();
        let other = node.spawn_on(worker, Other).unwrap();
        let diarist = Diarist { other, count: 0, heard: heard.clone() };
        let diarist = node.spawn_on(0, diarist).unwrap();
        node.run(async move || diarist.tell(Go { count: COUNT }).unwrap()).unwrap();
        // What is forwarded keeps its number; all else has a new one the second time.
        let forwarded = |number: u64| matches!(number % 5, 3 | 4) && number.is_multiple_of(2);
        let second =
            (0..COUNT).map(|number| if forwarded(number) { number } else { number + COUNT });
        let expected: Vec<u64> = (0..COUNT).chain(second).collect();
        assert_eq!(heard.wait_for(expected.len())[..expected.len()], expected, "worker {worker}");
    }
}

/// Is never done with itself.
struct Busy;

#[message]
struct Again;

impl Actor for Busy {
    type Protocol = (Again, Ping);
}

impl Handler<Again> for Busy {
    async fn handle(&mut self, _: Msg<Again>, context: &mut Context<Self>) {
        context.me().tell(Again).unwrap();
    }
}

impl Handler<Ping> for Busy {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {}
}

#[test]
fn r61_an_actor_that_is_never_done_with_itself_answers_and_lets_others_run() {
    let node = Node::builder("ann").workers(2).start().unwrap();
    let busy = node.spawn_on(0, Busy).unwrap();
    let beside = node.spawn_on(0, Other).unwrap();
    let asked = node.run_on(1, async move || {
        busy.tell(Again).unwrap();
        for _ in 0..200 {
            busy.ask(Ping).await.unwrap();
            beside.ask(Ping).await.unwrap();
        }
    });
    asked.unwrap();
}
