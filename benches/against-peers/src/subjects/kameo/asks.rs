//! Asks.

use std::convert::Infallible;

use kameo::{
    Actor,
    actor::ActorRef,
    message::{Context, Message},
};

use crate::{
    asks::{LAP, answer, sum_of_answers},
    meter::Meter,
};

use super::actor::Kameo;

/// A task asks an actor on a given worker.
pub(crate) async fn run(peer: Kameo, worker: usize, meter: &mut Meter) {
    let server = peer.places.make_on(worker, async move { peer.start::<Server>(Server) }).await;
    meter
        .time(LAP, sum_of_answers(), async || peer.places.make_on(0, ask_all(server.clone())).await)
        .await;
}

async fn ask_all(server: ActorRef<Server>) -> u64 {
    let mut sum = 0;
    for number in 0..LAP {
        sum += server.ask(Question(number)).send().await.expect("it is answered");
    }
    sum
}

struct Question(u64);

struct Server;

impl Actor for Server {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(server: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(server)
    }
}

impl Message<Question> for Server {
    type Reply = u64;

    async fn handle(&mut self, question: Question, _: &mut Context<Self, u64>) -> u64 {
        answer(question.0)
    }
}
