//! Asks, from a task and from within a handler.

use annulus::prelude::*;

use crate::{
    asks::{LAP, answer, sum_of_answers},
    meter::Meter,
};

/// Asks an actor on a given worker.
pub(super) fn run(node: &Node, worker: usize, within: bool, mut meter: Meter) -> Meter {
    let server = node.spawn_on(worker, Server).expect("there is room");
    let asker = node.spawn_on(0, Asker { server }).expect("there is room");
    let timed = node.run(async move || {
        if within {
            let lap = async || asker.ask(AskAll).await.expect("it is answered").0.to_native();
            meter.time(LAP, sum_of_answers(), lap).await;
        } else {
            meter.time(LAP, sum_of_answers(), async || ask_all(server).await).await;
        }
        meter
    });
    timed.expect("asking does not panic")
}

async fn ask_all(server: ActorRef<(Question,)>) -> u64 {
    let mut sum = 0;
    for number in 0..LAP {
        sum += server.ask(Question(number)).await.expect("it is answered").0.to_native();
    }
    sum
}

#[message(reply = Answer)]
struct Question(u64);

#[message]
struct Answer(u64);

struct Server;

impl Actor for Server {
    type Protocol = (Question,);
}

impl Handler<Question> for Server {
    async fn handle(&mut self, question: Msg<Question>, _: &mut Context<Self>) -> Answer {
        Answer(answer(question.0.to_native()))
    }
}

/// Asks from within its handler.
struct Asker {
    server: ActorRef<(Question,)>,
}

#[message(reply = Answer)]
struct AskAll;

impl Actor for Asker {
    type Protocol = (AskAll,);
}

impl Handler<AskAll> for Asker {
    async fn handle(&mut self, _: Msg<AskAll>, _: &mut Context<Self>) -> Answer {
        Answer(ask_all(self.server).await)
    }
}
