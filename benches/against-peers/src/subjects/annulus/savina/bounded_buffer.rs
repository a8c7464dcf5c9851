//! Producers and consumers with a bounded buffer between them, which a manager keeps.

use annulus::prelude::*;

use crate::{
    finish::Finish,
    meter::Meter,
    rules::buffer::{Buffer, CONSUMERS, EACH_MAKES, ITEMS, Orders, PRODUCERS, work_on},
    subjects::annulus::{spawn, time},
};

pub(super) fn run(node: &Node, meter: Meter) -> Meter {
    let finish = Finish::default();
    let manager = Manager {
        producers: Vec::new(),
        consumers: Vec::new(),
        buffer: Buffer::new(),
        used: 0,
        finish: finish.clone(),
    };
    let manager = spawn(node, manager);
    time(node, meter, ITEMS, ITEMS, async move || {
        manager.tell(Go).expect("there is room");
        finish.wait().await
    })
}

type ManagerProtocol = (Made, Used, ProducerDone, Go);

/// Start a lap.
#[message]
struct Go;

#[message]
struct Make;

#[message]
struct Made {
    item: f64,
    producer: u32,
}

#[message]
struct ProducerDone;

#[message]
struct Use {
    item: f64,
}

#[message]
struct Used {
    consumer: u32,
}

struct Manager {
    producers: Vec<ActorRef<(Make,)>>,
    consumers: Vec<ActorRef<(Use,)>>,
    buffer: Buffer,
    used: u64,
    finish: Finish,
}

impl Manager {
    fn carry_out(&self, orders: Orders) {
        if let Some((consumer, item)) = orders.give {
            self.consumers[consumer].tell(Use { item }).expect("there is room");
        }
        if let Some(producer) = orders.make {
            self.producers[producer].tell(Make).expect("there is room");
        }
    }

    fn finish_if_done(&mut self) {
        if self.buffer.is_done() {
            self.finish.with(std::mem::take(&mut self.used));
        }
    }
}

impl Actor for Manager {
    type Protocol = ManagerProtocol;

    async fn started(&mut self, context: &mut Context<Self>) {
        let manager = context.me();
        for number in 0..PRODUCERS as u32 {
            let producer = context.spawn(Producer { number, manager, made: 0, item: 0.0 });
            self.producers.push(producer.expect("there is room"));
        }
        for number in 0..CONSUMERS as u32 {
            let consumer = context.spawn(Consumer { number, manager, item: 0.0 });
            self.consumers.push(consumer.expect("there is room"));
        }
    }
}

impl Handler<Go> for Manager {
    async fn handle(&mut self, _: Msg<Go>, _: &mut Context<Self>) {
        self.buffer.start();
        self.producers.iter().for_each(|producer| producer.tell(Make).expect("there is room"));
    }
}

impl Handler<Made> for Manager {
    async fn handle(&mut self, made: Msg<Made>, _: &mut Context<Self>) {
        let producer = made.producer.to_native() as usize;
        let orders = self.buffer.made(made.item.to_native(), producer);
        self.carry_out(orders);
    }
}

impl Handler<ProducerDone> for Manager {
    async fn handle(&mut self, _: Msg<ProducerDone>, _: &mut Context<Self>) {
        self.buffer.producer_done();
        self.finish_if_done();
    }
}

impl Handler<Used> for Manager {
    async fn handle(&mut self, used: Msg<Used>, _: &mut Context<Self>) {
        self.used += 1;
        let orders = self.buffer.used(used.consumer.to_native() as usize);
        self.carry_out(orders);
        self.finish_if_done();
    }
}

struct Producer {
    number: u32,
    manager: ActorRef<ManagerProtocol>,
    made: u64,
    item: f64,
}

impl Actor for Producer {
    type Protocol = (Make,);
}

impl Handler<Make> for Producer {
    async fn handle(&mut self, _: Msg<Make>, _: &mut Context<Self>) {
        if self.made == EACH_MAKES {
            self.made = 0;
            self.manager.tell(ProducerDone).expect("there is room");
        } else {
            self.made += 1;
            self.item = work_on(self.item);
            let made = Made { item: self.item, producer: self.number };
            self.manager.tell(made).expect("there is room");
        }
    }
}

struct Consumer {
    number: u32,
    manager: ActorRef<ManagerProtocol>,
    item: f64,
}

impl Actor for Consumer {
    type Protocol = (Use,);
}

impl Handler<Use> for Consumer {
    async fn handle(&mut self, item: Msg<Use>, _: &mut Context<Self>) {
        self.item = work_on(self.item + item.item.to_native());
        self.manager.tell(Used { consumer: self.number }).expect("there is room");
    }
}
