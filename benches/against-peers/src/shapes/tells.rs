//! One actor tells another: batches of messages, each acknowledged by one message back.

use crate::{
    finish::Finish,
    flow::{Receiving, Sending, WINDOW_ACROSS, WINDOW_HERE},
    meter::Meter,
    payload::{LAP, Payload, weigh_lap},
};

use super::{Behaviour, Flow, Framework};

/// Runs it, with the receiver on this worker.
pub(crate) async fn run<F: Framework, P: Payload>(peer: F, worker: usize, meter: &mut Meter) {
    let finish = Finish::default();
    let window = if worker == 0 { WINDOW_HERE } else { WINDOW_ACROSS };
    let sending = Sending::new(window);
    let sender = Sender::<F, P> { receiver: None, sending, finish: finish.clone() };
    let sender = peer.spawn(sender).await;
    let receiver = Receiver { sender: sender.clone(), receiving: Receiving::default() };
    let receiver = peer.spawn_on(worker, receiver).await;
    F::tell(&sender, ToSender::Receiver(receiver)).await;
    meter
        .time(LAP, weigh_lap::<P>(), async || {
            F::tell(&sender, ToSender::Go).await;
            finish.wait().await
        })
        .await;
}

enum ToSender<F: Framework, P: Payload> {
    Receiver(F::Ref<Receiver<F, P>>),
    Go,
    Taken(u64),
}

struct Sender<F: Framework, P: Payload> {
    receiver: Option<F::Ref<Receiver<F, P>>>,
    sending: Sending,
    finish: Finish,
}

impl<F: Framework, P: Payload> Sender<F, P> {
    async fn send(&mut self) {
        let receiver = self.receiver.as_ref().expect("it comes first");
        while let Some(batch) = self.sending.batch() {
            for number in batch {
                F::tell(receiver, P::make(number)).await;
            }
        }
    }
}

impl<F: Framework, P: Payload> Behaviour<F> for Sender<F, P> {
    type Message = ToSender<F, P>;

    async fn handle(&mut self, message: ToSender<F, P>) -> Flow {
        match message {
            ToSender::Receiver(receiver) => self.receiver = Some(receiver),
            ToSender::Go => {
                self.sending.start(LAP);
                self.send().await;
            }
            ToSender::Taken(sum) => match self.sending.taken(sum) {
                Some(sum) => self.finish.with(sum),
                None => self.send().await,
            },
        }
        Flow::On
    }
}

struct Receiver<F: Framework, P: Payload> {
    sender: F::Ref<Sender<F, P>>,
    receiving: Receiving,
}

impl<F: Framework, P: Payload> Behaviour<F> for Receiver<F, P> {
    type Message = P;

    async fn handle(&mut self, message: P) -> Flow {
        if let Some(sum) = self.receiving.take(message.weigh()) {
            F::tell(&self.sender, ToSender::Taken(sum)).await;
        }
        Flow::On
    }
}
