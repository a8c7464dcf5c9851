//! Actors in a ring pass a token on.

use annulus::prelude::*;

use crate::{
    finish::Finish,
    meter::Meter,
    rules::{HOPS, RING, ring_sum},
    subjects::annulus::{spawn, time},
};

pub(super) fn run(node: &Node, meter: Meter) -> Meter {
    let finish = Finish::default();
    let first = Member { number: 0, next: None, finish: finish.clone() };
    let first = spawn(node, first);
    let mut next = first;
    for number in (1..RING as u64).rev() {
        next = spawn(node, Member { number, next: Some(next), finish: finish.clone() });
    }
    let closed = node.run(async move || first.tell(Close { next }).is_ok());
    assert!(closed.expect("telling does not panic"));
    time(node, meter, HOPS, ring_sum(), async move || {
        first.tell(Token { left: HOPS, sum: 0 }).expect("there is room");
        finish.wait().await
    })
}

type RingProtocol = (Token, Close);

#[message]
struct Token {
    left: u64,
    sum: u64,
}

/// Closes the ring.
#[message]
struct Close {
    next: ActorRef<RingProtocol>,
}

struct Member {
    number: u64,
    next: Option<ActorRef<RingProtocol>>,
    finish: Finish,
}

impl Actor for Member {
    type Protocol = RingProtocol;
}

impl Handler<Close> for Member {
    async fn handle(&mut self, close: Msg<Close>, _: &mut Context<Self>) {
        self.next = Some(close.decode().next);
    }
}

impl Handler<Token> for Member {
    async fn handle(&mut self, token: Msg<Token>, _: &mut Context<Self>) {
        let sum = token.sum.to_native() + self.number;
        match token.left.to_native() {
            0 => self.finish.with(sum),
            left => {
                let next = self.next.expect("the ring is closed");
                next.tell(Token { left: left - 1, sum }).expect("there is room");
            }
        }
    }
}
