//! Fork-join: many actors compute a little, over and over or once.

use crate::{
    finish::{AtEnd, Finish, Tally},
    meter::Meter,
    rules::{CREATED, EACH_FORK, FORKS, compute},
    shapes::{Behaviour, Flow, Framework},
};

/// Messages of a lap of throughput.
const LAP: u64 = FORKS as u64 * EACH_FORK;

/// Throughput: a master sends to all of its actors in turn, again and again.
pub(super) async fn throughput<F: Framework>(peer: F, meter: &mut Meter) {
    let finish = Finish::default();
    let master = Master::<F> { forks: Vec::new(), joined: 0, done: 0, finish: finish.clone() };
    let master = peer.spawn(master).await;
    let mut forks = Vec::new();
    for _ in 0..FORKS {
        forks.push(peer.spawn(Fork { master: master.clone(), done: 0 }).await);
    }
    F::tell(&master, ToMaster::Forks(forks)).await;
    meter
        .time(LAP, LAP, async || {
            F::tell(&master, ToMaster::Go).await;
            finish.wait().await
        })
        .await;
}

enum ToMaster<F: Framework> {
    Forks(Vec<F::Ref<Fork<F>>>),
    Go,
    Joined(u64),
}

struct Master<F: Framework> {
    forks: Vec<F::Ref<Fork<F>>>,
    joined: usize,
    done: u64,
    finish: Finish,
}

impl<F: Framework> Behaviour<F> for Master<F> {
    type Message = ToMaster<F>;

    async fn handle(&mut self, message: ToMaster<F>) -> Flow {
        match message {
            ToMaster::Forks(forks) => self.forks = forks,
            ToMaster::Go => {
                (self.joined, self.done) = (0, 0);
                for _ in 0..EACH_FORK {
                    for fork in &self.forks {
                        F::tell(fork, Compute).await;
                    }
                }
            }
            ToMaster::Joined(done) => {
                self.joined += 1;
                self.done += done;
                if self.joined == FORKS {
                    self.finish.with(self.done);
                }
            }
        }
        Flow::On
    }
}

struct Compute;

struct Fork<F: Framework> {
    master: F::Ref<Master<F>>,
    done: u64,
}

impl<F: Framework> Behaviour<F> for Fork<F> {
    type Message = Compute;

    async fn handle(&mut self, _: Compute) -> Flow {
        compute();
        self.done += 1;
        if self.done == EACH_FORK {
            F::tell(&self.master, ToMaster::Joined(std::mem::take(&mut self.done))).await;
        }
        Flow::On
    }
}

/// Create: an actor starts many; each gets one message, computes, and ends.
pub(super) async fn create<F: Framework>(peer: F, meter: &mut Meter) {
    let ended = Tally::new(CREATED);
    let creator = peer.spawn(Creator { peer, ended: ended.clone() }).await;
    meter
        .time(CREATED, CREATED, async || {
            F::tell(&creator, Go).await;
            ended.reached().await
        })
        .await;
}

struct Go;

struct Creator<F> {
    peer: F,
    ended: Tally,
}

impl<F: Framework> Behaviour<F> for Creator<F> {
    type Message = Go;

    async fn handle(&mut self, _: Go) -> Flow {
        for _ in 0..CREATED {
            let fork = self.peer.spawn(ShortFork { end: self.ended.at_end() }).await;
            F::tell(&fork, Compute).await;
        }
        Flow::On
    }
}

struct ShortFork {
    end: AtEnd,
}

impl<F: Framework> Behaviour<F> for ShortFork {
    type Message = Compute;

    async fn handle(&mut self, _: Compute) -> Flow {
        compute();
        self.end.done();
        Flow::Stop
    }
}
