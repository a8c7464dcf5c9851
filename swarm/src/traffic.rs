//! Who makes the traffic: customers, one on each worker, who ask and tell the shopkeepers of others.

use std::time::Duration;

use annulus::{now, prelude::*};
use annulus_sim::Random;

use crate::{
    actors::{Count, Say, Shop, flood, shop},
    ledger::Ledger,
};

/// How long an ask may take.
const LIMIT: Duration = Duration::from_secs(3);

/// How much longer it may take until its asker knows, on a slow worker that pauses for a while.
const SLACK: Duration = Duration::from_secs(8);

/// A node, and how many workers it has.
pub(crate) type Shops = Vec<(String, usize)>;

/// See the [module](self).
pub(crate) struct Customer {
    pub(crate) ledger: Ledger,
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
        let ledger = self.ledger.clone();
        context.task(|_| async move {
            // A node that shuts down spawns no more.
            let _ = flood(ledger).await;
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
    ledger: Ledger,
    shops: Shops,
    random: Random,
}

impl Errand {
    fn new(customer: &mut Customer) -> Self {
        Errand {
            ledger: customer.ledger.clone(),
            shops: customer.shops.clone(),
            random: customer.random.fork(),
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
        let most = [64, 64, 64, 1500, 100_000][self.random.index(5)];
        let mut text = vec![0; self.random.between(0, most) as usize];
        self.random.fill(&mut text);
        text
    }

    async fn ask_around(mut self) {
        loop {
            let keeper = self.find_some_shop().await;
            for _ in 0..self.random.between(1, 30) {
                let (number, text) = (self.ledger.unique(), self.text());
                self.ledger.asked();
                let begun = now();
                let said = keeper.ask(Say { number, text: text.clone() }).within(LIMIT).await;
                let outcome = said.map(|said| {
                    if said.number != number || said.text.as_slice() != text {
                        self.ledger.violation("P8", format!("the answer to {number} is wrong"));
                    }
                });
                self.ledger.ended(outcome, now().since(begun), LIMIT + SLACK);
                if outcome.is_err() {
                    break;
                }
                self.pause(1, 60).await;
            }
        }
    }

    async fn count_up(mut self) {
        loop {
            let keeper = self.find_some_shop().await;
            let sender = self.ledger.unique();
            for number in 0..self.random.between(1, 200) {
                let filling = vec![number as u8; self.text().len()];
                self.ledger.told();
                if keeper.send(Count { sender, number, filling }).await.is_err() {
                    break;
                }
                if number % 4 == 0 {
                    self.pause(1, 100).await;
                }
            }
        }
    }
}
