//! Asks: sends that are waited for.

use actix::{Actor, Addr, Context, Handler, Message};

use crate::{
    asks::{LAP, answer, sum_of_answers},
    meter::Meter,
};

use super::actor::Actix;

/// A task asks an actor on a given worker.
pub(crate) async fn run(peer: Actix, worker: usize, meter: &mut Meter) {
    let server = Server { capacity: peer.capacity };
    let server = Server::start_in_arbiter(&peer.arbiters[worker], |_| server);
    meter
        .time(LAP, sum_of_answers(), async || {
            actix_rt::spawn(ask_all(server.clone())).await.expect("asking does not panic")
        })
        .await;
}

async fn ask_all(server: Addr<Server>) -> u64 {
    let mut sum = 0;
    for number in 0..LAP {
        sum += server.send(Question(number)).await.expect("it is answered");
    }
    sum
}

struct Question(u64);

impl Message for Question {
    type Result = u64;
}

struct Server {
    capacity: Option<usize>,
}

impl Actor for Server {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        if let Some(capacity) = self.capacity {
            context.set_mailbox_capacity(capacity);
        }
    }
}

impl Handler<Question> for Server {
    type Result = u64;

    fn handle(&mut self, question: Question, _: &mut Context<Self>) -> u64 {
        answer(question.0)
    }
}
