//! Actors that do nothing: what it takes to start and to end them, and to have them.

use annulus::{StopMode, prelude::*};

use crate::{
    finish::{AtEnd, Tally},
    meter::Meter,
    rules::{IDLE, SPAWNED},
};

use super::{spawn, time};

/// What an idle actor takes. It is never sent.
#[message]
struct Nothing;

/// Start a lap.
#[message]
struct Go;

/// Starts many, and ends them.
pub(super) fn run(node: &Node, meter: Meter) -> Meter {
    let ended = Tally::new(SPAWNED);
    let nursery = spawn(node, Nursery { ended: ended.clone() });
    time(node, meter, SPAWNED, SPAWNED, async move || {
        nursery.tell(Go).expect("there is room");
        ended.reached().await
    })
}

struct Nursery {
    ended: Tally,
}

impl Actor for Nursery {
    type Protocol = (Go,);
}

impl Handler<Go> for Nursery {
    async fn handle(&mut self, _: Msg<Go>, context: &mut Context<Self>) {
        let mut actors = Vec::with_capacity(SPAWNED as usize);
        for _ in 0..SPAWNED {
            let short = Short { end: self.ended.at_end() };
            actors.push(context.spawn(short).expect("there is room"));
        }
        actors.iter().for_each(|actor| actor.stop(StopMode::Stop).expect("it is there"));
    }
}

/// Counts if it was started, and has been dropped.
struct Short {
    end: AtEnd,
}

impl Actor for Short {
    type Protocol = (Nothing,);

    async fn started(&mut self, _: &mut Context<Self>) {
        self.end.done();
    }
}

impl Handler<Nothing> for Short {
    async fn handle(&mut self, _: Msg<Nothing>, _: &mut Context<Self>) {}
}

/// Starts many and lets them be.
pub(super) fn weigh(node: &Node, mut meter: Meter) -> Meter {
    let weighed = node.run(async move || {
        let started = Tally::new(IDLE);
        let mut actors = Vec::with_capacity(IDLE as usize);
        let make = async || {
            for _ in 0..IDLE {
                let idle = annulus::spawn(Idle { started: started.clone() });
                actors.push(idle.expect("there is room"));
            }
            started.reached().await;
        };
        meter.weigh(IDLE, make).await;
        meter
    });
    weighed.expect("starting actors does not panic")
}

/// Counts when it is started.
struct Idle {
    started: Tally,
}

impl Actor for Idle {
    type Protocol = (Nothing,);

    async fn started(&mut self, _: &mut Context<Self>) {
        self.started.add();
    }
}

impl Handler<Nothing> for Idle {
    async fn handle(&mut self, _: Msg<Nothing>, _: &mut Context<Self>) {}
}
