//! Every actor pings another one, chosen by chance, and when that has answered, the next.

use std::sync::Arc;

use crate::{
    finish::Finish,
    meter::Meter,
    rules::{BIG, Dice, EACH_PINGS},
    shapes::{Behaviour, Flow, Framework},
};

/// Pings of a lap, each with its answer.
const LAP: u64 = BIG as u64 * EACH_PINGS;

pub(super) async fn run<F: Framework>(peer: F, meter: &mut Meter) {
    let finish = Finish::default();
    let sink = peer.spawn(Sink { exits: 0, pongs: 0, finish: finish.clone() }).await;
    let mut all = Vec::new();
    for number in 0..BIG {
        let actor = Big::<F> {
            number,
            all: Arc::new([]),
            sink: sink.clone(),
            dice: Dice::new(number),
            expected: number,
            pongs: 0,
        };
        all.push(peer.spawn(actor).await);
    }
    let all: Arc<[_]> = all.into();
    for actor in &*all {
        F::tell(actor, ToBig::All(all.clone())).await;
    }
    meter
        .time(LAP, LAP, async || {
            for actor in &*all {
                F::tell(actor, ToBig::Go).await;
            }
            finish.wait().await
        })
        .await;
}

enum ToBig<F: Framework> {
    All(Arc<[F::Ref<Big<F>>]>),
    Go,
    Ping(usize),
    Pong(usize),
}

struct Big<F: Framework> {
    number: usize,
    all: Arc<[F::Ref<Big<F>>]>,
    sink: F::Ref<Sink>,
    dice: Dice,
    expected: usize,
    pongs: u64,
}

impl<F: Framework> Big<F> {
    async fn ping(&mut self) {
        self.expected = self.dice.below(BIG);
        F::tell(&self.all[self.expected], ToBig::Ping(self.number)).await;
    }
}

impl<F: Framework> Behaviour<F> for Big<F> {
    type Message = ToBig<F>;

    async fn handle(&mut self, message: ToBig<F>) -> Flow {
        match message {
            ToBig::All(all) => self.all = all,
            ToBig::Go => self.ping().await,
            ToBig::Ping(from) => F::tell(&self.all[from], ToBig::Pong(self.number)).await,
            ToBig::Pong(from) => {
                assert_eq!(from, self.expected);
                self.pongs += 1;
                if self.pongs == EACH_PINGS {
                    F::tell(&self.sink, Exit(std::mem::take(&mut self.pongs))).await;
                } else {
                    self.ping().await;
                }
            }
        }
        Flow::On
    }
}

/// An actor has done its pings; so many were answered.
struct Exit(u64);

struct Sink {
    exits: usize,
    pongs: u64,
    finish: Finish,
}

impl<F: Framework> Behaviour<F> for Sink {
    type Message = Exit;

    async fn handle(&mut self, exit: Exit) -> Flow {
        self.exits += 1;
        self.pongs += exit.0;
        if self.exits == BIG {
            self.exits = 0;
            self.finish.with(std::mem::take(&mut self.pongs));
        }
        Flow::On
    }
}
