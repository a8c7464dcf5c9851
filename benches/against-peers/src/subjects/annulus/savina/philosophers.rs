//! Philosophers ask an arbiter for forks, and ask again at once when they get none.

use annulus::prelude::*;

use crate::{
    finish::Finish,
    meter::Meter,
    rules::{Forks, MEALS, PHILOSOPHERS},
    subjects::annulus::{spawn, time},
};

/// Meals of a lap.
const LAP: u64 = PHILOSOPHERS as u64 * MEALS;

pub(super) fn run(node: &Node, meter: Meter) -> Meter {
    let finish = Finish::default();
    let arbiter = Arbiter {
        philosophers: Vec::new(),
        forks: Forks::default(),
        gone: 0,
        meals: 0,
        finish: finish.clone(),
    };
    let arbiter = spawn(node, arbiter);
    time(node, meter, LAP, LAP, async move || {
        arbiter.tell(Start).expect("there is room");
        finish.wait().await
    })
}

type ArbiterProtocol = (Hungry, Done, Exit, Start);
type PhilosopherProtocol = (Eat, Denied, Start);

/// Start a lap, or a meal.
#[message]
struct Start;

#[message]
struct Hungry {
    philosopher: u32,
}

#[message]
struct Eat;

#[message]
struct Denied;

#[message]
struct Done {
    philosopher: u32,
}

/// A philosopher has had all its meals.
#[message]
struct Exit {
    eaten: u64,
}

struct Arbiter {
    philosophers: Vec<ActorRef<PhilosopherProtocol>>,
    forks: Forks,
    gone: usize,
    meals: u64,
    finish: Finish,
}

impl Actor for Arbiter {
    type Protocol = ArbiterProtocol;

    async fn started(&mut self, context: &mut Context<Self>) {
        let arbiter = context.me();
        for number in 0..PHILOSOPHERS as u32 {
            let philosopher = context.spawn(Philosopher { number, arbiter, eaten: 0 });
            self.philosophers.push(philosopher.expect("there is room"));
        }
    }
}

impl Handler<Start> for Arbiter {
    async fn handle(&mut self, _: Msg<Start>, _: &mut Context<Self>) {
        let all = self.philosophers.iter();
        all.for_each(|philosopher| philosopher.tell(Start).expect("there is room"));
    }
}

impl Handler<Hungry> for Arbiter {
    async fn handle(&mut self, hungry: Msg<Hungry>, _: &mut Context<Self>) {
        let number = hungry.philosopher.to_native() as usize;
        let philosopher = self.philosophers[number];
        if self.forks.take(number) {
            philosopher.tell(Eat).expect("there is room");
        } else {
            philosopher.tell(Denied).expect("there is room");
        }
    }
}

impl Handler<Done> for Arbiter {
    async fn handle(&mut self, done: Msg<Done>, _: &mut Context<Self>) {
        self.forks.put_back(done.philosopher.to_native() as usize);
    }
}

impl Handler<Exit> for Arbiter {
    async fn handle(&mut self, exit: Msg<Exit>, _: &mut Context<Self>) {
        self.meals += exit.eaten.to_native();
        self.gone += 1;
        if self.gone == PHILOSOPHERS {
            self.gone = 0;
            self.finish.with(std::mem::take(&mut self.meals));
        }
    }
}

struct Philosopher {
    number: u32,
    arbiter: ActorRef<ArbiterProtocol>,
    eaten: u64,
}

impl Philosopher {
    fn ask_for_forks(&self) {
        self.arbiter.tell(Hungry { philosopher: self.number }).expect("there is room");
    }
}

impl Actor for Philosopher {
    type Protocol = PhilosopherProtocol;
}

impl Handler<Start> for Philosopher {
    async fn handle(&mut self, _: Msg<Start>, _: &mut Context<Self>) {
        self.ask_for_forks();
    }
}

impl Handler<Denied> for Philosopher {
    async fn handle(&mut self, _: Msg<Denied>, _: &mut Context<Self>) {
        self.ask_for_forks();
    }
}

impl Handler<Eat> for Philosopher {
    async fn handle(&mut self, _: Msg<Eat>, context: &mut Context<Self>) {
        self.eaten += 1;
        self.arbiter.tell(Done { philosopher: self.number }).expect("there is room");
        if self.eaten < MEALS {
            context.me().tell(Start).expect("there is room");
        } else {
            let eaten = std::mem::take(&mut self.eaten);
            self.arbiter.tell(Exit { eaten }).expect("there is room");
        }
    }
}
