//! Producers and consumers with a bounded buffer between them, which a manager keeps.

use crate::{
    finish::Finish,
    meter::Meter,
    rules::buffer::{Buffer, CONSUMERS, EACH_MAKES, ITEMS, Orders, PRODUCERS, work_on},
    shapes::{Behaviour, Flow, Framework},
};

pub(super) async fn run<F: Framework>(peer: F, meter: &mut Meter) {
    let finish = Finish::default();
    let manager = Manager::<F> {
        producers: Vec::new(),
        consumers: Vec::new(),
        buffer: Buffer::new(),
        used: 0,
        finish: finish.clone(),
    };
    let manager = peer.spawn(manager).await;
    let (mut producers, mut consumers) = (Vec::new(), Vec::new());
    for number in 0..PRODUCERS {
        let producer = Producer { number, manager: manager.clone(), made: 0, item: 0.0 };
        producers.push(peer.spawn(producer).await);
    }
    for number in 0..CONSUMERS {
        let consumer = Consumer { number, manager: manager.clone(), item: 0.0 };
        consumers.push(peer.spawn(consumer).await);
    }
    F::tell(&manager, ToManager::All { producers, consumers }).await;
    meter
        .time(ITEMS, ITEMS, async || {
            F::tell(&manager, ToManager::Go).await;
            finish.wait().await
        })
        .await;
}

enum ToManager<F: Framework> {
    All { producers: Vec<F::Ref<Producer<F>>>, consumers: Vec<F::Ref<Consumer<F>>> },
    Go,
    Made { item: f64, producer: usize },
    ProducerDone,
    Used { consumer: usize },
}

struct Manager<F: Framework> {
    producers: Vec<F::Ref<Producer<F>>>,
    consumers: Vec<F::Ref<Consumer<F>>>,
    buffer: Buffer,
    used: u64,
    finish: Finish,
}

impl<F: Framework> Manager<F> {
    async fn carry_out(&self, orders: Orders) {
        if let Some((consumer, item)) = orders.give {
            F::tell(&self.consumers[consumer], Use(item)).await;
        }
        if let Some(producer) = orders.make {
            F::tell(&self.producers[producer], Make).await;
        }
    }

    fn finish_if_done(&mut self) {
        if self.buffer.is_done() {
            self.finish.with(std::mem::take(&mut self.used));
        }
    }
}

impl<F: Framework> Behaviour<F> for Manager<F> {
    type Message = ToManager<F>;

    async fn handle(&mut self, message: ToManager<F>) -> Flow {
        match message {
            ToManager::All { producers, consumers } => {
                (self.producers, self.consumers) = (producers, consumers);
            }
            ToManager::Go => {
                self.buffer.start();
                for producer in &self.producers {
                    F::tell(producer, Make).await;
                }
            }
            ToManager::Made { item, producer } => {
                let orders = self.buffer.made(item, producer);
                self.carry_out(orders).await;
            }
            ToManager::ProducerDone => {
                self.buffer.producer_done();
                self.finish_if_done();
            }
            ToManager::Used { consumer } => {
                self.used += 1;
                let orders = self.buffer.used(consumer);
                self.carry_out(orders).await;
                self.finish_if_done();
            }
        }
        Flow::On
    }
}

struct Make;

struct Producer<F: Framework> {
    number: usize,
    manager: F::Ref<Manager<F>>,
    made: u64,
    item: f64,
}

impl<F: Framework> Behaviour<F> for Producer<F> {
    type Message = Make;

    async fn handle(&mut self, _: Make) -> Flow {
        if self.made == EACH_MAKES {
            self.made = 0;
            F::tell(&self.manager, ToManager::ProducerDone).await;
        } else {
            self.made += 1;
            self.item = work_on(self.item);
            let made = ToManager::Made { item: self.item, producer: self.number };
            F::tell(&self.manager, made).await;
        }
        Flow::On
    }
}

struct Use(f64);

struct Consumer<F: Framework> {
    number: usize,
    manager: F::Ref<Manager<F>>,
    item: f64,
}

impl<F: Framework> Behaviour<F> for Consumer<F> {
    type Message = Use;

    async fn handle(&mut self, item: Use) -> Flow {
        self.item = work_on(self.item + item.0);
        F::tell(&self.manager, ToManager::Used { consumer: self.number }).await;
        Flow::On
    }
}
