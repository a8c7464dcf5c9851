//! Asks: calls.

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use crate::{
    asks::{LAP, answer, sum_of_answers},
    meter::Meter,
};

use super::actor::{Ractor, start};

/// A task calls an actor on a given worker.
pub(crate) async fn run(peer: Ractor, worker: usize, meter: &mut Meter) {
    let server = peer.places.make_on(worker, start(Server, ())).await;
    meter
        .time(LAP, sum_of_answers(), async || peer.places.make_on(0, ask_all(server.clone())).await)
        .await;
}

async fn ask_all(server: ActorRef<Question>) -> u64 {
    let mut sum = 0;
    for number in 0..LAP {
        let called = server.call(|answer| Question { number, answer }, None).await;
        sum += called.expect("the server is there").expect("it is answered");
    }
    sum
}

struct Question {
    number: u64,
    answer: RpcReplyPort<u64>,
}

struct Server;

impl Actor for Server {
    type Msg = Question;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Question>, _: ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Question>,
        question: Question,
        _: &mut (),
    ) -> Result<(), ActorProcessingErr> {
        question.answer.send(answer(question.number))?;
        Ok(())
    }
}
