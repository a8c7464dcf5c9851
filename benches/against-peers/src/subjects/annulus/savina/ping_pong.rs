//! Two actors, one message between them, to and fro.

use annulus::prelude::*;

use crate::{
    finish::Finish,
    meter::Meter,
    rules::PING_PONGS,
    subjects::annulus::{spawn, time},
};

pub(super) fn run(node: &Node, meter: Meter) -> Meter {
    let finish = Finish::default();
    let pinger = spawn(node, Pinger { ponger: None, sent: 0, finish: finish.clone() });
    time(node, meter, PING_PONGS, PING_PONGS, async move || {
        pinger.tell(Go).expect("there is room");
        finish.wait().await
    })
}

/// Start a lap.
#[message]
struct Go;

#[message]
struct Ping;

#[message]
struct Pong;

struct Pinger {
    ponger: Option<ActorRef<(Ping,)>>,
    sent: u64,
    finish: Finish,
}

impl Pinger {
    fn ping(&mut self) {
        self.sent += 1;
        let ponger = self.ponger.expect("it has been started first");
        ponger.tell(Ping).expect("there is room");
    }
}

impl Actor for Pinger {
    type Protocol = (Pong, Go);

    async fn started(&mut self, context: &mut Context<Self>) {
        let ponger = Ponger { pinger: context.me() };
        self.ponger = Some(context.spawn(ponger).expect("there is room"));
    }
}

impl Handler<Go> for Pinger {
    async fn handle(&mut self, _: Msg<Go>, _: &mut Context<Self>) {
        self.ping();
    }
}

impl Handler<Pong> for Pinger {
    async fn handle(&mut self, _: Msg<Pong>, _: &mut Context<Self>) {
        if self.sent == PING_PONGS {
            self.finish.with(std::mem::take(&mut self.sent));
        } else {
            self.ping();
        }
    }
}

struct Ponger {
    pinger: ActorRef<(Pong, Go)>,
}

impl Actor for Ponger {
    type Protocol = (Ping,);
}

impl Handler<Ping> for Ponger {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {
        self.pinger.tell(Pong).expect("there is room");
    }
}
