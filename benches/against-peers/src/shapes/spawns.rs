//! Actors that do nothing: what it takes to start and to end them, and to have them.

use crate::{
    finish::{AtEnd, Tally},
    meter::Meter,
    rules::{IDLE, SPAWNED},
};

use super::{Behaviour, Flow, Framework};

/// Starts many, and ends them.
pub(super) async fn run<F: Framework>(peer: F, meter: &mut Meter) {
    let ended = Tally::new(SPAWNED);
    let nursery = peer.spawn(Nursery { peer, ended: ended.clone() }).await;
    meter
        .time(SPAWNED, SPAWNED, async || {
            F::tell(&nursery, Go).await;
            ended.reached().await
        })
        .await;
}

struct Go;

struct Nursery<F> {
    peer: F,
    ended: Tally,
}

impl<F: Framework> Behaviour<F> for Nursery<F> {
    type Message = Go;

    async fn handle(&mut self, _: Go) -> Flow {
        let mut actors = Vec::with_capacity(SPAWNED as usize);
        for _ in 0..SPAWNED {
            actors.push(self.peer.spawn(Short { end: self.ended.at_end() }).await);
        }
        actors.into_iter().for_each(F::end);
        Flow::On
    }
}

/// Counts if it was started, and has been dropped.
struct Short {
    end: AtEnd,
}

impl<F: Framework> Behaviour<F> for Short {
    type Message = ();

    fn started(&mut self) {
        self.end.done();
    }

    async fn handle(&mut self, (): ()) -> Flow {
        Flow::On
    }
}

/// Starts many and lets them be.
pub(super) async fn weigh<F: Framework>(peer: F, meter: &mut Meter) {
    let started = Tally::new(IDLE);
    let mut actors = Vec::with_capacity(IDLE as usize);
    meter
        .weigh(IDLE, async || {
            for _ in 0..IDLE {
                actors.push(peer.spawn(Idle { started: started.clone() }).await);
            }
            started.reached().await;
        })
        .await;
}

/// Counts when it is started.
struct Idle {
    started: Tally,
}

impl<F: Framework> Behaviour<F> for Idle {
    type Message = ();

    fn started(&mut self) {
        self.started.add();
    }

    async fn handle(&mut self, (): ()) -> Flow {
        Flow::On
    }
}
