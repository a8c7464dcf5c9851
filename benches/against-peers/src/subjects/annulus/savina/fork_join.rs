//! Fork-join: many actors compute a little, over and over or once.

use annulus::prelude::*;

use crate::{
    finish::{AtEnd, Finish, Tally},
    meter::Meter,
    rules::{CREATED, EACH_FORK, FORKS, compute},
    subjects::annulus::{spawn, time},
};

/// Messages of a lap of throughput.
const LAP: u64 = FORKS as u64 * EACH_FORK;

/// Throughput: a master sends to all of its actors in turn, again and again.
pub(super) fn throughput(node: &Node, meter: Meter) -> Meter {
    let finish = Finish::default();
    let master = Master { forks: Vec::new(), joined: 0, done: 0, finish: finish.clone() };
    let master = spawn(node, master);
    time(node, meter, LAP, LAP, async move || {
        master.tell(Go).expect("there is room");
        finish.wait().await
    })
}

/// Start a lap.
#[message]
struct Go;

/// An actor has had all its messages; so many.
#[message]
struct Joined(u64);

#[message]
struct Compute;

struct Master {
    forks: Vec<ActorRef<(Compute,)>>,
    joined: usize,
    done: u64,
    finish: Finish,
}

impl Actor for Master {
    type Protocol = (Go, Joined);

    async fn started(&mut self, context: &mut Context<Self>) {
        let master = context.me();
        let fork = |_| context.spawn(Fork { master, done: 0 }).expect("there is room");
        self.forks = (0..FORKS).map(fork).collect();
    }
}

impl Handler<Go> for Master {
    async fn handle(&mut self, _: Msg<Go>, _: &mut Context<Self>) {
        (self.joined, self.done) = (0, 0);
        for _ in 0..EACH_FORK {
            for fork in &self.forks {
                fork.tell(Compute).expect("there is room");
            }
        }
    }
}

impl Handler<Joined> for Master {
    async fn handle(&mut self, joined: Msg<Joined>, _: &mut Context<Self>) {
        self.joined += 1;
        self.done += joined.0.to_native();
        if self.joined == FORKS {
            self.finish.with(self.done);
        }
    }
}

struct Fork {
    master: ActorRef<(Go, Joined)>,
    done: u64,
}

impl Actor for Fork {
    type Protocol = (Compute,);
}

impl Handler<Compute> for Fork {
    async fn handle(&mut self, _: Msg<Compute>, _: &mut Context<Self>) {
        compute();
        self.done += 1;
        if self.done == EACH_FORK {
            self.master.tell(Joined(std::mem::take(&mut self.done))).expect("there is room");
        }
    }
}

/// Create: an actor starts many; each gets one message, computes, and ends.
pub(super) fn create(node: &Node, meter: Meter) -> Meter {
    let ended = Tally::new(CREATED);
    let creator = spawn(node, Creator { ended: ended.clone() });
    time(node, meter, CREATED, CREATED, async move || {
        creator.tell(Go).expect("there is room");
        ended.reached().await
    })
}

struct Creator {
    ended: Tally,
}

impl Actor for Creator {
    type Protocol = (Go,);
}

impl Handler<Go> for Creator {
    async fn handle(&mut self, _: Msg<Go>, context: &mut Context<Self>) {
        for _ in 0..CREATED {
            let fork = context.spawn(ShortFork { end: self.ended.at_end() });
            fork.expect("there is room").tell(Compute).expect("there is room");
        }
    }
}

struct ShortFork {
    end: AtEnd,
}

impl Actor for ShortFork {
    type Protocol = (Compute,);
}

impl Handler<Compute> for ShortFork {
    async fn handle(&mut self, _: Msg<Compute>, context: &mut Context<Self>) {
        compute();
        self.end.done();
        context.stop();
    }
}
