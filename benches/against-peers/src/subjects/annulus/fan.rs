//! Many actors tell one, and one tells many.

use annulus::{broadcast, prelude::*};

use crate::{
    finish::Finish,
    flow::{Receiving, Sending, WINDOW_HERE},
    meter::Meter,
    rules::fan::{
        EACH_SENDS, EACH_TAKES, IN_LAP, OUT_LAP, RECEIVERS, SENDERS, TAKES, in_sum, out_sum,
    },
};

use super::{spawn, time};

/// Many tell one.
pub(super) fn run_in(node: &Node, meter: Meter) -> Meter {
    let finish = Finish::default();
    let funnel = Funnel { senders: Vec::new(), finish: finish.clone(), done: 0, sum: 0 };
    let funnel = spawn(node, funnel);
    time(node, meter, IN_LAP, in_sum(), async move || {
        funnel.tell(Go).expect("there is room");
        finish.wait().await
    })
}

type SenderProtocol = (Go, Taken);
type FunnelProtocol = (Go, Value, Done);

/// Start a lap.
#[message]
struct Go;

/// A batch has been taken; this is what it came to.
#[message]
struct Taken(u64);

#[message]
struct Value {
    from: u32,
    value: u64,
}

/// A sender has sent all; this is what it came to.
#[message]
struct Done(u64);

struct Sender {
    number: u32,
    funnel: ActorRef<FunnelProtocol>,
    sending: Sending,
}

impl Sender {
    fn send(&mut self) {
        let (from, funnel) = (self.number, self.funnel);
        while let Some(batch) = self.sending.batch() {
            for value in batch {
                funnel.tell(Value { from, value }).expect("the window has room");
            }
        }
    }
}

impl Actor for Sender {
    type Protocol = SenderProtocol;
}

impl Handler<Go> for Sender {
    async fn handle(&mut self, _: Msg<Go>, _: &mut Context<Self>) {
        self.sending.start(EACH_SENDS);
        self.send();
    }
}

impl Handler<Taken> for Sender {
    async fn handle(&mut self, taken: Msg<Taken>, _: &mut Context<Self>) {
        match self.sending.taken(taken.0.to_native()) {
            Some(sum) => self.funnel.tell(Done(sum)).expect("there is room"),
            None => self.send(),
        }
    }
}

struct Funnel {
    senders: Vec<(ActorRef<SenderProtocol>, Receiving)>,
    finish: Finish,
    done: usize,
    sum: u64,
}

impl Actor for Funnel {
    type Protocol = FunnelProtocol;

    async fn started(&mut self, context: &mut Context<Self>) {
        let funnel = context.me();
        for number in 0..SENDERS as u32 {
            let sender = Sender { number, funnel, sending: Sending::new(WINDOW_HERE) };
            let sender = context.spawn(sender).expect("there is room");
            self.senders.push((sender, Receiving::default()));
        }
    }
}

impl Handler<Go> for Funnel {
    async fn handle(&mut self, _: Msg<Go>, _: &mut Context<Self>) {
        self.senders.iter().for_each(|(sender, _)| sender.tell(Go).expect("there is room"));
    }
}

impl Handler<Value> for Funnel {
    async fn handle(&mut self, value: Msg<Value>, _: &mut Context<Self>) {
        let (sender, receiving) = &mut self.senders[value.from.to_native() as usize];
        if let Some(sum) = receiving.take(value.value.to_native()) {
            sender.tell(Taken(sum)).expect("there is room");
        }
    }
}

impl Handler<Done> for Funnel {
    async fn handle(&mut self, done: Msg<Done>, _: &mut Context<Self>) {
        self.done += 1;
        self.sum += done.0.to_native();
        if self.done == SENDERS {
            self.done = 0;
            self.finish.with(std::mem::take(&mut self.sum));
        }
    }
}

/// One tells many.
pub(super) fn run_out(node: &Node, at_once: bool, meter: Meter) -> Meter {
    let finish = Finish::default();
    let (leaves, finished) = (Vec::new(), finish.clone());
    let spout = Spout { leaves, at_once, finish: finished, turns: 0, open: 0, sum: 0 };
    let spout = spawn(node, spout);
    time(node, meter, OUT_LAP, out_sum(), async move || {
        spout.tell(Go).expect("there is room");
        finish.wait().await
    })
}

#[message]
struct Drop(u64);

struct Spout {
    leaves: Vec<ActorRef<(Drop,)>>,
    /// Whether all of them get one message.
    at_once: bool,
    finish: Finish,
    turns: u64,
    open: usize,
    sum: u64,
}

impl Spout {
    fn send(&mut self) {
        for value in 0..EACH_TAKES {
            if self.at_once {
                broadcast(&self.leaves, &Drop(value)).expect("the window has room");
                continue;
            }
            for leaf in &self.leaves {
                leaf.tell(Drop(value)).expect("the window has room");
            }
        }
        self.open = RECEIVERS;
        self.turns += 1;
    }
}

impl Actor for Spout {
    type Protocol = (Go, Taken);

    async fn started(&mut self, context: &mut Context<Self>) {
        let spout = context.me();
        let leaf = |_| context.spawn(Leaf { spout, count: 0, sum: 0 }).expect("there is room");
        self.leaves = (0..RECEIVERS).map(leaf).collect();
    }
}

impl Handler<Go> for Spout {
    async fn handle(&mut self, _: Msg<Go>, _: &mut Context<Self>) {
        (self.turns, self.sum) = (0, 0);
        self.send();
    }
}

impl Handler<Taken> for Spout {
    async fn handle(&mut self, taken: Msg<Taken>, _: &mut Context<Self>) {
        self.sum += taken.0.to_native();
        self.open -= 1;
        match (self.open, self.turns) {
            (0, TAKES) => self.finish.with(self.sum),
            (0, _) => self.send(),
            _ => {}
        }
    }
}

struct Leaf {
    spout: ActorRef<(Go, Taken)>,
    count: u64,
    sum: u64,
}

impl Actor for Leaf {
    type Protocol = (Drop,);
}

impl Handler<Drop> for Leaf {
    async fn handle(&mut self, drop: Msg<Drop>, _: &mut Context<Self>) {
        self.count += 1;
        self.sum += drop.0.to_native();
        if self.count == EACH_TAKES {
            self.count = 0;
            self.spout.tell(Taken(std::mem::take(&mut self.sum))).expect("there is room");
        }
    }
}
