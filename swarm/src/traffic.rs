//! Who makes the traffic: customers, one on each worker, who ask and tell the shopkeepers of others.

use std::time::Duration;

use annulus::{now, prelude::*};
use annulus_sim::{Checks, Random};

use crate::actors::{Count, Note, Say, Shop, flood, shop};

/// How long an ask may take that is given a limit.
const LIMIT: Duration = Duration::from_secs(3);

/// How much longer it may take until its asker knows, on a slow worker that pauses for a while.
const SLACK: Duration = Duration::from_secs(8);

/// A node, and how many workers it has.
pub(crate) type Shops = Vec<(String, usize)>;

/// See the [module](self).
pub(crate) struct Customer {
    pub(crate) checks: Checks,
    pub(crate) shops: Shops,
    pub(crate) random: Random,
    /// Whether some asks are given no limit: where bytes are never held up for long.
    pub(crate) patient: bool,
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
        let datagrams = Errand::new(self).ask_by_datagrams();
        context.task(|_| datagrams);
        let checks = self.checks.clone();
        context.task(|_| async move {
            // A node that shuts down spawns no more.
            let _ = flood(checks).await;
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
    shops: Shops,
    random: Random,
    patient: bool,
}

impl Errand {
    fn new(customer: &mut Customer) -> Self {
        Errand {
            checks: customer.checks.clone(),
            shops: customer.shops.clone(),
            random: customer.random.fork(),
            patient: customer.patient,
        }
    }

    async fn find_some_shop(&mut self) -> ActorRef<Shop> {
        loop {
            let (node, workers) = &self.shops[self.random.index(self.shops.len())];
            let name = shop(self.random.index(*workers));
            if let Ok(found) = name.find_on(node, Duration::from_secs(2)).await {
                return found;
            }
            self.pause(1, 100).await;
        }
    }

    async fn pause(&mut self, least: u64, most: u64) {
        sleep(Duration::from_millis(self.random.between(least, most))).await;
    }

    /// Mostly small texts, some that are larger than a chunk.
    fn text(&mut self) -> Vec<u8> {
        let most =
            if self.random.happens(0.02) { 100_000 } else { [64, 64, 1500][self.random.index(3)] };
        let mut text = vec![0; self.random.between(0, most) as usize];
        self.random.fill(&mut text);
        text
    }

    async fn ask_around(mut self) {
        loop {
            let keeper = self.find_some_shop().await;
            for _ in 0..self.random.between(1, 30) {
                let (number, text) = (self.checks.unique(), self.text());
                self.checks.asked();
                let (begun, ask) = (now(), keeper.ask(Say { number, text: text.clone() }));
                // Without a limit of its own an ask ends with its node, if not by an answer.
                let patient = self.patient && number.is_multiple_of(2);
                let said = if patient { ask.await } else { ask.within(LIMIT).await };
                let outcome = said.map(|said| {
                    if said.number != number || said.text.as_slice() != text {
                        self.checks.violation("P8", format!("the answer to {number} is wrong"));
                    }
                });
                if patient && outcome == Err(AskError::Timeout) {
                    self.checks.violation("P8", "an ask was left to time out".into());
                }
                let bound = if patient { LIMIT * 10 } else { LIMIT };
                self.checks.ended(outcome, now().since(begun), bound + SLACK);
                if outcome.is_err() {
                    break;
                }
                self.pause(1, 120).await;
            }
        }
    }

    /// Asks by datagrams: an answer may never come, but no message comes twice (P17).
    async fn ask_by_datagrams(mut self) {
        loop {
            let keeper = self.find_some_shop().await.by_datagram();
            let sender = self.checks.unique();
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
                self.pause(1, 300).await;
            }
        }
    }

    async fn count_up(mut self) {
        loop {
            let keeper = self.find_some_shop().await;
            let sender = self.checks.unique();
            for number in 0..self.random.between(1, 200) {
                let filling = vec![number as u8; self.text().len()];
                self.checks.told();
                if keeper.send(Count { sender, number, filling }).await.is_err() {
                    break;
                }
                if number % 4 == 0 {
                    self.pause(1, 150).await;
                }
            }
        }
    }
}
