//! Asks: a message with a oneshot channel for the answer.

use tokio::sync::oneshot;

use crate::{
    asks::{LAP, answer, sum_of_answers},
    meter::Meter,
    shapes::{Behaviour, Flow, Framework},
};

use super::actor::{Channel, Tokio};

/// A task asks another one, on a given worker.
pub(crate) async fn run<C: Channel>(peer: Tokio<C>, worker: usize, meter: &mut Meter) {
    let server = peer.spawn_on(worker, Server).await;
    meter
        .time(LAP, sum_of_answers(), async || {
            let server = server.clone();
            peer.places().make_on(0, ask_all::<C>(server)).await
        })
        .await;
}

async fn ask_all<C: Channel>(server: C::Sender<Question>) -> u64 {
    let mut sum = 0;
    for number in 0..LAP {
        let (answer, answered) = oneshot::channel();
        C::send(&server, Question { number, answer }).await;
        sum += answered.await.expect("it is answered");
    }
    sum
}

struct Question {
    number: u64,
    answer: oneshot::Sender<u64>,
}

struct Server;

impl<C: Channel> Behaviour<Tokio<C>> for Server {
    type Message = Question;

    async fn handle(&mut self, question: Question) -> Flow {
        // The asker is there: it waits for this.
        let _ = question.answer.send(answer(question.number));
        Flow::On
    }
}
