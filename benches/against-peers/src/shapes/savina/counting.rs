//! One actor tells another one to count, many times, and asks it how far it is.

use crate::{
    finish::Finish,
    meter::Meter,
    rules::INCREMENTS,
    shapes::{Behaviour, Flow, Framework},
};

pub(super) async fn run<F: Framework>(peer: F, meter: &mut Meter) {
    let finish = Finish::default();
    let counter = peer.spawn(Counter::<F> { producer: None, count: 0 }).await;
    let producer = Producer { counter: counter.clone(), finish: finish.clone() };
    let producer = peer.spawn(producer).await;
    F::tell(&counter, ToCounter::Producer(producer.clone())).await;
    meter
        .time(INCREMENTS, INCREMENTS, async || {
            F::tell(&producer, ToProducer::Go).await;
            finish.wait().await
        })
        .await;
}

enum ToProducer {
    Go,
    Counted(u64),
}

struct Producer<F: Framework> {
    counter: F::Ref<Counter<F>>,
    finish: Finish,
}

impl<F: Framework> Behaviour<F> for Producer<F> {
    type Message = ToProducer;

    async fn handle(&mut self, message: ToProducer) -> Flow {
        match message {
            ToProducer::Go => {
                for _ in 0..INCREMENTS {
                    F::tell(&self.counter, ToCounter::Increment).await;
                }
                F::tell_last(&self.counter, ToCounter::Retrieve).await;
            }
            ToProducer::Counted(count) => self.finish.with(count),
        }
        Flow::On
    }
}

enum ToCounter<F: Framework> {
    Producer(F::Ref<Producer<F>>),
    Increment,
    Retrieve,
}

struct Counter<F: Framework> {
    producer: Option<F::Ref<Producer<F>>>,
    count: u64,
}

impl<F: Framework> Behaviour<F> for Counter<F> {
    type Message = ToCounter<F>;

    async fn handle(&mut self, message: ToCounter<F>) -> Flow {
        match message {
            ToCounter::Producer(producer) => self.producer = Some(producer),
            ToCounter::Increment => self.count += 1,
            ToCounter::Retrieve => {
                let producer = self.producer.as_ref().expect("it comes first");
                F::tell(producer, ToProducer::Counted(std::mem::take(&mut self.count))).await;
            }
        }
        Flow::On
    }
}
