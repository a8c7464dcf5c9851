//! Traffic that goes on whatever happens: echo actors, and actors that ask those of another node as long
//! as they live. Each outcome is told in a line, so that a test hears of it from a child process too.

use std::{cell::Cell, rc::Rc, sync::Arc};

use annulus::{now, prelude::*};

use crate::messages::{Parcel, Ping};

/// What an [`Echo`] takes.
pub type EchoProtocol = (Parcel, Ping);

/// The name of a node's [`Echo`].
pub const ECHO: Name<EchoProtocol> = Name::new("echo");

/// Answers parcels with themselves, and pings never.
#[derive(Debug)]
pub struct Echo;

impl Actor for Echo {
    type Protocol = EchoProtocol;
}

impl Respond<Parcel> for Echo {
    async fn respond(&mut self, parcel: Msg<Parcel>, _: &mut Context<Self>) -> Reply<Parcel> {
        parcel.into()
    }
}

impl Respond<Ping> for Echo {
    async fn respond(&mut self, ping: Msg<Ping>, context: &mut Context<Self>) -> Reply<()> {
        let (later, responder) = context.defer(&ping);
        context.task(move |_| async move {
            sleep(Duration::from_secs(3600)).await;
            responder.reply(());
        });
        later.into()
    }
}

/// Parcels that an [`Asker`] has on their way at the same time.
pub const LANES: usize = 8;

/// Pings of an [`Asker`] that wait for an answer which never comes.
pub const PENDING: usize = 4;

/// How long an ask may take: longer than any test.
const LIMIT: Duration = Duration::from_secs(600);

/// Who hears of outcomes.
pub type Tell = Arc<dyn Fn(String) + Send + Sync>;

/// Asks the echo actor of another node over and over, and looks for it again whenever it is gone.
///
/// It tells
/// - `reached NODE`: the first answer, or the first one after a loss;
/// - `answered NODE COUNT`: now and then, how many answers there have been;
/// - `waits NODE`: another ping waits there;
/// - `lost NODE ERROR`: a parcel was not answered, and why;
/// - `ended NODE ERROR`: a ping that waited ended, and why;
/// - `wrong NODE`: an answer was not what was asked.
pub struct Asker {
    /// The node to ask.
    pub node: String,
    /// Who hears of it.
    pub tell: Tell,
}

impl Actor for Asker {
    type Protocol = (Ping,);

    async fn started(&mut self, context: &mut Context<Self>) {
        let answered = Rc::new(Cell::new(0));
        for lane in 0..LANES as u64 {
            let (node, tell, answered) = (self.node.clone(), self.tell.clone(), answered.clone());
            context.task(move |_| ask_parcels(lane, node, tell, answered));
        }
        for _ in 0..PENDING {
            let (node, tell) = (self.node.clone(), self.tell.clone());
            context.task(move |_| ask_pings(node, tell));
        }
    }
}

impl Handler<Ping> for Asker {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {}
}

/// Finds the echo actor of a node, however long it takes.
async fn find(node: &str) -> ActorRef<EchoProtocol> {
    loop {
        if let Ok(echo) = ECHO.find_on(node, Duration::from_millis(500)).await {
            return echo;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

async fn ask_parcels(lane: u64, node: String, tell: Tell, answered: Rc<Cell<u64>>) {
    let mut number = 0;
    loop {
        let echo = find(&node).await;
        let mut reached = false;
        loop {
            number += 1;
            // Some are larger than a chunk.
            let filling = vec![number as u8; if number % 50 == 0 { 200_000 } else { 100 }];
            let parcel = Parcel { sender: lane, number, filling };
            match echo.ask(parcel).within(LIMIT).await.map(|reply| reply.decode()) {
                Ok(same) if same.number == number && same.sender == lane => {}
                Ok(_) => tell(format!("wrong {node}")),
                Err(error) => {
                    tell(format!("lost {node} {error:?}"));
                    break;
                }
            }
            if !reached {
                reached = true;
                tell(format!("reached {node}"));
            }
            answered.set(answered.get() + 1);
            if answered.get().is_multiple_of(100) {
                tell(format!("answered {node} {}", answered.get()));
            }
        }
    }
}

async fn ask_pings(node: String, tell: Tell) {
    loop {
        let echo = find(&node).await;
        let begin = now();
        tell(format!("waits {node}"));
        let ended = echo.ask(Ping).within(LIMIT).await.map(|_| ());
        match ended {
            Ok(()) => tell(format!("wrong {node}")),
            Err(error) => tell(format!("ended {node} {error:?} {:?}", now().since(begin))),
        }
    }
}
