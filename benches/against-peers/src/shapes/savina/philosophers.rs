//! Philosophers ask an arbiter for forks, and ask again at once when they get none.

use crate::{
    finish::Finish,
    meter::Meter,
    rules::{Forks, MEALS, PHILOSOPHERS},
    shapes::{Behaviour, Flow, Framework},
};

/// Meals of a lap.
const LAP: u64 = PHILOSOPHERS as u64 * MEALS;

pub(super) async fn run<F: Framework>(peer: F, meter: &mut Meter) {
    let finish = Finish::default();
    let arbiter = Arbiter::<F> {
        philosophers: Vec::new(),
        forks: Forks::default(),
        gone: 0,
        meals: 0,
        finish: finish.clone(),
    };
    let arbiter = peer.spawn(arbiter).await;
    let mut philosophers = Vec::new();
    for number in 0..PHILOSOPHERS {
        let philosopher = Philosopher { number, me: None, arbiter: arbiter.clone(), eaten: 0 };
        philosophers.push(peer.spawn(philosopher).await);
    }
    F::tell(&arbiter, ToArbiter::All(philosophers.clone())).await;
    meter
        .time(LAP, LAP, async || {
            for philosopher in &philosophers {
                F::tell(philosopher, ToPhilosopher::Start).await;
            }
            finish.wait().await
        })
        .await;
}

enum ToArbiter<F: Framework> {
    All(Vec<F::Ref<Philosopher<F>>>),
    Hungry(usize),
    Done(usize),
    Exit { eaten: u64 },
}

struct Arbiter<F: Framework> {
    philosophers: Vec<F::Ref<Philosopher<F>>>,
    forks: Forks,
    gone: usize,
    meals: u64,
    finish: Finish,
}

impl<F: Framework> Behaviour<F> for Arbiter<F> {
    type Message = ToArbiter<F>;

    async fn handle(&mut self, message: ToArbiter<F>) -> Flow {
        match message {
            ToArbiter::All(philosophers) => self.philosophers = philosophers,
            ToArbiter::Hungry(number) => {
                let answer = if self.forks.take(number) {
                    ToPhilosopher::Eat
                } else {
                    ToPhilosopher::Denied
                };
                F::tell(&self.philosophers[number], answer).await;
            }
            ToArbiter::Done(number) => self.forks.put_back(number),
            ToArbiter::Exit { eaten } => {
                self.meals += eaten;
                self.gone += 1;
                if self.gone == PHILOSOPHERS {
                    self.gone = 0;
                    self.finish.with(std::mem::take(&mut self.meals));
                }
            }
        }
        Flow::On
    }
}

enum ToPhilosopher {
    Start,
    Denied,
    Eat,
}

struct Philosopher<F: Framework> {
    number: usize,
    me: Option<F::Ref<Self>>,
    arbiter: F::Ref<Arbiter<F>>,
    eaten: u64,
}

impl<F: Framework> Behaviour<F> for Philosopher<F> {
    type Message = ToPhilosopher;

    fn introduce(&mut self, me: impl FnOnce() -> F::Ref<Self>) {
        self.me = Some(me());
    }

    async fn handle(&mut self, message: ToPhilosopher) -> Flow {
        match message {
            ToPhilosopher::Start | ToPhilosopher::Denied => {
                F::tell(&self.arbiter, ToArbiter::Hungry(self.number)).await;
            }
            ToPhilosopher::Eat => {
                self.eaten += 1;
                F::tell(&self.arbiter, ToArbiter::Done(self.number)).await;
                if self.eaten < MEALS {
                    let me = self.me.as_ref().expect("it has been introduced");
                    F::tell(me, ToPhilosopher::Start).await;
                } else {
                    let eaten = std::mem::take(&mut self.eaten);
                    F::tell(&self.arbiter, ToArbiter::Exit { eaten }).await;
                }
            }
        }
        Flow::On
    }
}
