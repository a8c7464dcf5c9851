//! Asks: sends that are waited for.

use xtra::{Actor, Address, Context, Handler};

use crate::{
    asks::{LAP, answer, sum_of_answers},
    meter::Meter,
};

use super::actor::Xtra;

/// A task asks an actor on a given worker.
pub(crate) async fn run(peer: Xtra, worker: usize, meter: &mut Meter) {
    let server = peer.start_on(worker, Server);
    meter
        .time(LAP, sum_of_answers(), async || peer.at.make_on(0, ask_all(server.clone())).await)
        .await;
}

async fn ask_all(server: Address<Server>) -> u64 {
    let mut sum = 0;
    for number in 0..LAP {
        sum += server.send(Question(number)).await.expect("it is answered");
    }
    sum
}

struct Question(u64);

struct Server;

impl Actor for Server {
    type Stop = ();

    async fn stopped(self) {}
}

impl Handler<Question> for Server {
    type Return = u64;

    async fn handle(&mut self, question: Question, _: &mut Context<Self>) -> u64 {
        answer(question.0)
    }
}
