//! Messages that a router passes on as they are.

use annulus::{ActorRef, prelude::*};
use annulus_tests::{PATIENCE, Shared};

#[message(name = "forward.Parcel")]
struct Parcel {
    number: u64,
    filling: Vec<u8>,
}

struct Router {
    to: ActorRef<(Parcel,)>,
}

impl Actor for Router {
    type Protocol = (Parcel,);
}

impl Handler<Parcel> for Router {
    async fn handle(&mut self, parcel: Msg<Parcel>, _: &mut Context<Self>) {
        self.to.forward(parcel).unwrap();
    }
}

struct Sink {
    seen: Shared<u64>,
}

impl Actor for Sink {
    type Protocol = (Parcel,);
}

impl Handler<Parcel> for Sink {
    async fn handle(&mut self, parcel: Msg<Parcel>, _: &mut Context<Self>) {
        assert!(parcel.filling.iter().all(|byte| *byte == parcel.number.to_native() as u8));
        self.seen.push(parcel.number.to_native());
    }
}

const COUNT: u64 = 2_000;

/// Small and large parcels in turn, through a router.
async fn send_all(router: ActorRef<(Parcel,)>) {
    for number in 0..COUNT {
        let len = if number % 50 == 0 { 100_000 } else { number as usize % 6_000 };
        router.send(Parcel { number, filling: vec![number as u8; len] }).await.unwrap();
    }
}

#[test]
fn p01_forwarded_messages_stay_in_order_on_and_between_workers() {
    for (router_on, sink_on) in [(0, 0), (0, 1), (1, 0)] {
        let node = Node::builder("ann").workers(2).start().unwrap();
        let seen = Shared::default();
        let sink = node.spawn_on(sink_on, Sink { seen: seen.clone() }).unwrap();
        let router = node.spawn_on(router_on, Router { to: sink }).unwrap();
        node.run(async move || send_all(router).await).unwrap();
        assert_eq!(seen.wait_for(COUNT as usize), (0..COUNT).collect::<Vec<_>>());
    }
}

#[test]
fn p01_forwarded_messages_stay_in_order_between_nodes() {
    const SINK: Name<(Parcel,)> = Name::new("sink");
    let ann = Node::builder("ann").listen("tcp://127.0.0.1:0").start().unwrap();
    let bob = Node::builder("bob").join(&ann.endpoints()[0]).start().unwrap();
    let seen = Shared::default();
    let sink = ann.spawn(Sink { seen: seen.clone() }).unwrap();
    ann.run(async move || SINK.register(sink).await.unwrap()).unwrap();
    bob.run(async || {
        let to = SINK.find_on("ann", PATIENCE).await.unwrap();
        send_all(annulus::spawn(Router { to }).unwrap()).await;
    })
    .unwrap();
    assert_eq!(seen.wait_for(COUNT as usize), (0..COUNT).collect::<Vec<_>>());
}
