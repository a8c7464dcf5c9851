//! One actor tells another: batches of messages, each acknowledged by one message back.

use std::marker::PhantomData;

use annulus::{NodeHandle, codec::message::Message, prelude::*};

use crate::{
    finish::Finish,
    flow::{Receiving, Sending, WINDOW_ACROSS, WINDOW_HERE},
    meter::Meter,
    payload::{BLOCK, LAP, Payload, mark, weigh_block, weigh_lap, weigh_text},
};

use super::{spawn, time};

/// Numbers, with the receiver on a given worker.
pub(super) fn numbers(node: &Node, worker: usize, meter: Meter) -> Meter {
    run::<Number>(node, worker, meter, weigh_lap::<u64>())
}

/// Strings.
pub(super) fn texts(node: &Node, meter: Meter) -> Meter {
    run::<Text>(node, 0, meter, weigh_lap::<String>())
}

/// Blocks of bytes.
pub(super) fn blocks(node: &Node, meter: Meter) -> Meter {
    run::<Block>(node, 0, meter, weigh_lap::<Box<[u8]>>())
}

/// A message that is made anew by its sender, and looked at by its receiver.
trait Load: Message<Reply = ()> {
    fn make(number: u64) -> Self;

    fn weigh(message: &Msg<Self>) -> u64;
}

#[message]
struct Number(u64);

impl Load for Number {
    #[inline]
    fn make(number: u64) -> Self {
        Number(Payload::make(number))
    }

    #[inline]
    fn weigh(message: &Msg<Self>) -> u64 {
        message.0.to_native()
    }
}

#[message]
struct Text(String);

impl Load for Text {
    #[inline]
    fn make(number: u64) -> Self {
        Text(Payload::make(number))
    }

    #[inline]
    fn weigh(message: &Msg<Self>) -> u64 {
        weigh_text(&message.0)
    }
}

#[message]
struct Block([u8; BLOCK]);

impl Load for Block {
    #[inline]
    fn make(number: u64) -> Self {
        let mut block = [0; BLOCK];
        mark(&mut block, number);
        Block(block)
    }

    #[inline]
    fn weigh(message: &Msg<Self>) -> u64 {
        weigh_block(&message.0)
    }
}

fn run<M: Load>(node: &Node, worker: usize, meter: Meter, expected: u64) -> Meter {
    let finish = Finish::default();
    let window = if worker == 0 { WINDOW_HERE } else { WINDOW_ACROSS };
    let sender = Sender::<M> {
        receiver: None,
        place: (node.handle(), worker),
        sending: Sending::new(window),
        finish: finish.clone(),
    };
    let sender = spawn(node, sender);
    time(node, meter, LAP, expected, async move || {
        sender.tell(Go).expect("there is room");
        finish.wait().await
    })
}

/// Start a lap.
#[message]
struct Go;

/// A batch has been taken; this is what it came to.
#[message]
struct Taken(u64);

struct Sender<M: Load> {
    receiver: Option<ActorRef<(M,)>>,
    /// Where the receiver is to be.
    place: (NodeHandle, usize),
    sending: Sending,
    finish: Finish,
}

impl<M: Load> Sender<M> {
    fn send(&mut self) {
        let receiver = self.receiver.expect("it has been started first");
        while let Some(batch) = self.sending.batch() {
            for number in batch {
                receiver.tell(M::make(number)).expect("the window has room");
            }
        }
    }
}

impl<M: Load> Actor for Sender<M> {
    type Protocol = (Go, Taken);

    async fn started(&mut self, context: &mut Context<Self>) {
        let receiver =
            Receiver { sender: context.me(), receiving: Receiving::default(), load: PhantomData };
        let (node, worker) = &self.place;
        let receiver = node.spawn_on(*worker, receiver).await;
        self.receiver = Some(receiver.expect("there is room"));
    }
}

impl<M: Load> Handler<Go> for Sender<M> {
    async fn handle(&mut self, _: Msg<Go>, _: &mut Context<Self>) {
        self.sending.start(LAP);
        self.send();
    }
}

impl<M: Load> Handler<Taken> for Sender<M> {
    async fn handle(&mut self, taken: Msg<Taken>, _: &mut Context<Self>) {
        match self.sending.taken(taken.0.to_native()) {
            Some(sum) => self.finish.with(sum),
            None => self.send(),
        }
    }
}

struct Receiver<M> {
    sender: ActorRef<(Go, Taken)>,
    receiving: Receiving,
    load: PhantomData<fn(M)>,
}

impl<M: Load> Actor for Receiver<M> {
    type Protocol = (M,);
}

impl<M: Load> Handler<M> for Receiver<M> {
    async fn handle(&mut self, message: Msg<M>, _: &mut Context<Self>) {
        if let Some(sum) = self.receiving.take(M::weigh(&message)) {
            self.sender.tell(Taken(sum)).expect("the sender is there");
        }
    }
}
