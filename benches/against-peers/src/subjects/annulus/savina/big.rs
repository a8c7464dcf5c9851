//! Every actor pings another one, chosen by chance, and when that has answered, the next.

use annulus::prelude::*;

use crate::{
    finish::Finish,
    meter::Meter,
    rules::{BIG, Dice, EACH_PINGS},
    subjects::annulus::{spawn, time},
};

/// Pings of a lap, each with its answer.
const LAP: u64 = BIG as u64 * EACH_PINGS;

pub(super) fn run(node: &Node, meter: Meter) -> Meter {
    let finish = Finish::default();
    let sink = spawn(node, Sink { all: Vec::new(), exits: 0, pongs: 0, finish: finish.clone() });
    time(node, meter, LAP, LAP, async move || {
        sink.tell(Go).expect("there is room");
        finish.wait().await
    })
}

type BigProtocol = (Ping, Pong, Go, All);

/// Start a lap.
#[message]
struct Go;

/// Who there is.
#[message]
struct All {
    actors: Vec<ActorRef<BigProtocol>>,
}

#[message]
struct Ping {
    from: u32,
}

#[message]
struct Pong {
    from: u32,
}

/// An actor has done its pings; so many were answered.
#[message]
struct Exit(u64);

struct Big {
    number: u32,
    all: Vec<ActorRef<BigProtocol>>,
    sink: ActorRef<(Go, Exit)>,
    dice: Dice,
    expected: u32,
    pongs: u64,
}

impl Big {
    fn ping(&mut self) {
        let to = self.dice.below(BIG);
        self.expected = to as u32;
        self.all[to].tell(Ping { from: self.number }).expect("there is room");
    }
}

impl Actor for Big {
    type Protocol = BigProtocol;
}

impl Handler<All> for Big {
    async fn handle(&mut self, all: Msg<All>, _: &mut Context<Self>) {
        self.all = all.decode().actors;
    }
}

impl Handler<Go> for Big {
    async fn handle(&mut self, _: Msg<Go>, _: &mut Context<Self>) {
        self.ping();
    }
}

impl Handler<Ping> for Big {
    async fn handle(&mut self, ping: Msg<Ping>, _: &mut Context<Self>) {
        let from = self.all[ping.from.to_native() as usize];
        from.tell(Pong { from: self.number }).expect("there is room");
    }
}

impl Handler<Pong> for Big {
    async fn handle(&mut self, pong: Msg<Pong>, _: &mut Context<Self>) {
        assert_eq!(pong.from.to_native(), self.expected);
        self.pongs += 1;
        if self.pongs == EACH_PINGS {
            self.sink.tell(Exit(std::mem::take(&mut self.pongs))).expect("there is room");
        } else {
            self.ping();
        }
    }
}

struct Sink {
    all: Vec<ActorRef<BigProtocol>>,
    exits: usize,
    pongs: u64,
    finish: Finish,
}

impl Actor for Sink {
    type Protocol = (Go, Exit);

    async fn started(&mut self, context: &mut Context<Self>) {
        let sink = context.me();
        for number in 0..BIG as u32 {
            let dice = Dice::new(number as usize);
            let big = Big { number, all: Vec::new(), sink, dice, expected: number, pongs: 0 };
            self.all.push(context.spawn(big).expect("there is room"));
        }
        for actor in &self.all {
            actor.tell(All { actors: self.all.clone() }).expect("there is room");
        }
    }
}

impl Handler<Go> for Sink {
    async fn handle(&mut self, _: Msg<Go>, _: &mut Context<Self>) {
        self.all.iter().for_each(|actor| actor.tell(Go).expect("there is room"));
    }
}

impl Handler<Exit> for Sink {
    async fn handle(&mut self, exit: Msg<Exit>, _: &mut Context<Self>) {
        self.exits += 1;
        self.pongs += exit.0.to_native();
        if self.exits == BIG {
            self.exits = 0;
            self.finish.with(std::mem::take(&mut self.pongs));
        }
    }
}
