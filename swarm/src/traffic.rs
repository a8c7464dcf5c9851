//! Who makes the traffic: customers, one on each worker, who ask and tell the shopkeepers of others.

use std::time::Duration;

use annulus::{now, prelude::*, transport::driver::Mono};
use annulus_sim::{Checks, Random};

use crate::{
    actors::{Count, Note, Say, Shop, Wait, flood, shop},
    business::Business,
};

/// How long an ask may take that is given a limit.
const LIMIT: Duration = Duration::from_secs(3);

/// How much longer it may take until its asker knows, on a slow worker that pauses for a while.
const SLACK: Duration = Duration::from_secs(8);

/// How long one may take that is given none: bytes may be held up for long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks of each customer that wait at any time.
const WAITING: usize = 3;

/// A node, and how many workers it has.
pub(crate) type Shops = Vec<(String, usize)>;

/// See the [module](self).
pub(crate) struct Customer {
    pub(crate) checks: Checks,
    pub(crate) business: Business,
    pub(crate) shops: Shops,
    pub(crate) random: Random,
}

impl Actor for Customer {
    type Protocol = (Say,);

    async fn started(&mut self, context: &mut Context<Self>) {
        for _ in 0..2 {
            let asks = Errand::new(self).ask_around();
            context.task(|_| asks);
            let counts = Errand::new(self).count_up();
            context.task(|_| counts);
        }
        for _ in 0..WAITING {
            let waits = Errand::new(self).wait_around();
            context.task(|_| waits);
        }
        let bursts = Errand::new(self).count_in_bursts();
        context.task(|_| bursts);
        let datagrams = Errand::new(self).ask_by_datagrams();
        context.task(|_| datagrams);
        let (checks, business) = (self.checks.clone(), self.business.clone());
        context.task(|_| async move {
            // A node that shuts down spawns no more.
            let _ = flood(checks, business).await;
        });
    }
}

impl Handler<Say> for Customer {
    async fn handle(&mut self, say: Msg<Say>, _: &mut Context<Self>) -> Say {
        say.decode()
    }
}

/// What one task of a customer is about.
struct Errand {
    checks: Checks,
    business: Business,
    shops: Shops,
    random: Random,
    /// Its asks are given no limit: they end with their node, if not by an answer.
    patient: bool,
}

impl Errand {
    fn new(customer: &mut Customer) -> Self {
        Errand {
            checks: customer.checks.clone(),
            business: customer.business.clone(),
            shops: customer.shops.clone(),
            random: customer.random.fork(),
            patient: customer.random.happens(0.5),
        }
    }

    /// A shop, as long as there is business.
    async fn find_some_shop(&mut self) -> Option<ActorRef<Shop>> {
        while self.business.is_open() {
            let (node, workers) = &self.shops[self.random.index(self.shops.len())];
            let name = shop(self.random.index(*workers));
            if let Ok(found) = name.find_on(node, Duration::from_secs(2)).await {
                return Some(found);
            }
            self.pause(1, 100).await;
        }
        None
    }

    /// Returns whether there still is business.
    async fn pause(&mut self, least: u64, most: u64) -> bool {
        sleep(Duration::from_millis(self.random.between(least, most))).await;
        self.business.is_open()
    }

    /// Mostly small texts, some that are larger than a chunk.
    fn text(&mut self) -> Vec<u8> {
        let most =
            if self.random.happens(0.02) { 100_000 } else { [64, 64, 1500][self.random.index(3)] };
        let mut text = vec![0; self.random.between(0, most) as usize];
        self.random.fill(&mut text);
        text
    }

    /// An ask has ended that was to take so long.
    fn ended(&self, outcome: Result<(), AskError>, begun: Mono, expected: Duration) {
        if self.patient && outcome == Err(AskError::Timeout) {
            self.checks.violation("P8", "an ask was left to time out".into());
        }
        let limit = if self.patient { PATIENCE } else { LIMIT };
        let took = now().since(begun).saturating_sub(expected);
        self.checks.ended(outcome, took, limit + SLACK);
    }

    async fn ask_around(mut self) {
        while let Some(keeper) = self.find_some_shop().await {
            for _ in 0..self.random.between(1, 30) {
                let (number, text) = (self.checks.unique(), self.text());
                self.checks.asked();
                let (begun, ask) = (now(), keeper.ask(Say { number, text: text.clone() }));
                let said = if self.patient { ask.await } else { ask.within(LIMIT).await };
                let outcome = said.map(|said| {
                    if said.number != number || said.text.as_slice() != text {
                        self.checks.violation("P8", format!("the answer to {number} is wrong"));
                    }
                });
                self.ended(outcome, begun, Duration::ZERO);
                if outcome.is_err() || !self.pause(1, 120).await {
                    break;
                }
            }
        }
    }

    /// Makes asks that wait for long, so that there is one when its node is lost. An answer that will not
    /// come is said so at once.
    async fn wait_around(mut self) {
        while let Some(keeper) = self.find_some_shop().await {
            let (number, in_vain) = (self.checks.unique(), self.random.happens(0.2));
            let millis = self.random.between(1, 2500);
            self.checks.asked();
            let (begun, ask) = (now(), keeper.ask(Wait { number, millis, in_vain }));
            let waited = if self.patient { ask.await } else { ask.within(LIMIT).await };
            let right = waited.as_ref().map_or_else(
                |error| in_vain || *error != AskError::NoReply,
                |waited| !in_vain && waited.number == number,
            );
            if !right {
                self.checks.violation("P8", format!("{number} has a wrong answer: {waited:?}"));
            }
            let outcome = match waited.map(|_| ()) {
                Err(AskError::NoReply) => Ok(()),
                other => other,
            };
            self.ended(outcome, begun, Duration::from_millis(millis));
        }
    }

    /// Asks by datagrams: an answer may never come, but no message comes twice (P17).
    async fn ask_by_datagrams(mut self) {
        while let Some(keeper) = self.find_some_shop().await {
            let (keeper, sender) = (keeper.by_datagram(), self.checks.unique());
            for number in 0..30 {
                let note = Note { sender, number };
                let _ = keeper.tell(note);
                let (asked, text) = (self.checks.unique(), vec![3; 700]);
                let say = Say { number: asked, text: text.clone() };
                let said = keeper.ask(say).within(Duration::from_secs(1)).await;
                if let Ok(said) = said
                    && (said.number != asked || said.text.as_slice() != text)
                {
                    self.checks.violation("P17", format!("the answer to {asked} is wrong"));
                }
                if !self.pause(1, 300).await {
                    break;
                }
            }
        }
    }

    async fn count_up(mut self) {
        while let Some(keeper) = self.find_some_shop().await {
            let sender = self.checks.unique();
            for number in 0..self.random.between(1, 200) {
                let filling = vec![number as u8; self.text().len()];
                self.checks.told();
                if keeper.send(Count { sender, number, filling }).await.is_err() {
                    break;
                }
                if number % 4 == 0 && !self.pause(1, 150).await {
                    break;
                }
            }
        }
    }

    /// Tells a shop a lot at once, again and again.
    async fn count_in_bursts(mut self) {
        while let Some(keeper) = self.find_some_shop().await {
            let sender = self.checks.unique();
            for number in 0..self.random.between(200, 1500) {
                self.checks.told();
                if keeper.send(Count { sender, number, filling: Vec::new() }).await.is_err() {
                    break;
                }
            }
            self.pause(500, 2000).await;
        }
    }
}
