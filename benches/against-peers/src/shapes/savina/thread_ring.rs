//! Actors in a ring pass a token on.

use crate::{
    finish::Finish,
    meter::Meter,
    rules::{HOPS, RING, ring_sum},
    shapes::{Behaviour, Flow, Framework},
};

pub(super) async fn run<F: Framework>(peer: F, meter: &mut Meter) {
    let finish = Finish::default();
    let mut ring = Vec::new();
    for number in 0..RING as u64 {
        ring.push(peer.spawn(Node::<F> { number, next: None, finish: finish.clone() }).await);
    }
    for (node, next) in ring.iter().zip(ring.iter().cycle().skip(1)) {
        F::tell(node, ToNode::Next(next.clone())).await;
    }
    meter
        .time(HOPS, ring_sum(), async || {
            F::tell(&ring[0], ToNode::Token { left: HOPS, sum: 0 }).await;
            finish.wait().await
        })
        .await;
}

enum ToNode<F: Framework> {
    Next(F::Ref<Node<F>>),
    Token { left: u64, sum: u64 },
}

struct Node<F: Framework> {
    number: u64,
    next: Option<F::Ref<Node<F>>>,
    finish: Finish,
}

impl<F: Framework> Behaviour<F> for Node<F> {
    type Message = ToNode<F>;

    async fn handle(&mut self, message: ToNode<F>) -> Flow {
        match message {
            ToNode::Next(next) => self.next = Some(next),
            ToNode::Token { left: 0, sum } => self.finish.with(sum + self.number),
            ToNode::Token { left, sum } => {
                let next = self.next.as_ref().expect("it comes first");
                F::tell(next, ToNode::Token { left: left - 1, sum: sum + self.number }).await;
            }
        }
        Flow::On
    }
}
