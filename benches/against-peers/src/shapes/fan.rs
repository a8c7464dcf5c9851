//! Many actors tell one, and one tells many.

use crate::{
    finish::Finish,
    flow::{Receiving, Sending, WINDOW_HERE},
    meter::Meter,
    rules::fan::{
        EACH_SENDS, EACH_TAKES, IN_LAP, OUT_LAP, RECEIVERS, SENDERS, TAKES, in_sum, out_sum,
    },
};

use super::{Behaviour, Flow, Framework};

/// Many tell one.
pub(crate) async fn run_in<F: Framework>(peer: F, meter: &mut Meter) {
    let finish = Finish::default();
    let mut funnel = Funnel::<F> { senders: Vec::new(), finish: finish.clone(), done: 0, sum: 0 };
    let mut senders = Vec::new();
    for number in 0..SENDERS {
        let sending = Sending::new(WINDOW_HERE);
        let sender = peer.spawn(Sender { number, funnel: None, sending }).await;
        funnel.senders.push((sender.clone(), Receiving::default()));
        senders.push(sender);
    }
    let funnel = peer.spawn(funnel).await;
    for sender in &senders {
        F::tell(sender, ToSender::Funnel(funnel.clone())).await;
    }
    meter
        .time(IN_LAP, in_sum(), async || {
            for sender in &senders {
                F::tell(sender, ToSender::Go).await;
            }
            finish.wait().await
        })
        .await;
}

enum ToSender<F: Framework> {
    Funnel(F::Ref<Funnel<F>>),
    Go,
    Taken(u64),
}

struct Sender<F: Framework> {
    number: usize,
    funnel: Option<F::Ref<Funnel<F>>>,
    sending: Sending,
}

impl<F: Framework> Sender<F> {
    async fn send(&mut self) {
        let funnel = self.funnel.as_ref().expect("it comes first");
        while let Some(batch) = self.sending.batch() {
            for value in batch {
                F::tell(funnel, ToFunnel::Value { from: self.number, value }).await;
            }
        }
    }
}

impl<F: Framework> Behaviour<F> for Sender<F> {
    type Message = ToSender<F>;

    async fn handle(&mut self, message: ToSender<F>) -> Flow {
        match message {
            ToSender::Funnel(funnel) => self.funnel = Some(funnel),
            ToSender::Go => {
                self.sending.start(EACH_SENDS);
                self.send().await;
            }
            ToSender::Taken(sum) => match self.sending.taken(sum) {
                Some(sum) => {
                    let funnel = self.funnel.as_ref().expect("it comes first");
                    F::tell(funnel, ToFunnel::Done(sum)).await;
                }
                None => self.send().await,
            },
        }
        Flow::On
    }
}

enum ToFunnel {
    Value { from: usize, value: u64 },
    Done(u64),
}

struct Funnel<F: Framework> {
    senders: Vec<(F::Ref<Sender<F>>, Receiving)>,
    finish: Finish,
    done: usize,
    sum: u64,
}

impl<F: Framework> Behaviour<F> for Funnel<F> {
    type Message = ToFunnel;

    async fn handle(&mut self, message: ToFunnel) -> Flow {
        match message {
            ToFunnel::Value { from, value } => {
                let (sender, receiving) = &mut self.senders[from];
                if let Some(sum) = receiving.take(value) {
                    F::tell(sender, ToSender::Taken(sum)).await;
                }
            }
            ToFunnel::Done(sum) => {
                self.done += 1;
                self.sum += sum;
                if self.done == SENDERS {
                    self.done = 0;
                    self.finish.with(std::mem::take(&mut self.sum));
                }
            }
        }
        Flow::On
    }
}

/// One tells many.
pub(crate) async fn run_out<F: Framework>(peer: F, meter: &mut Meter) {
    let finish = Finish::default();
    let spout = Spout { leaves: Vec::new(), finish: finish.clone(), turns: 0, open: 0, sum: 0 };
    let spout = peer.spawn(spout).await;
    let mut leaves = Vec::new();
    for _ in 0..RECEIVERS {
        leaves.push(peer.spawn(Leaf { spout: spout.clone(), count: 0, sum: 0 }).await);
    }
    F::tell(&spout, ToSpout::Leaves(leaves)).await;
    meter
        .time(OUT_LAP, out_sum(), async || {
            F::tell(&spout, ToSpout::Go).await;
            finish.wait().await
        })
        .await;
}

enum ToSpout<F: Framework> {
    Leaves(Vec<F::Ref<Leaf<F>>>),
    Go,
    Taken(u64),
}

struct Spout<F: Framework> {
    leaves: Vec<F::Ref<Leaf<F>>>,
    finish: Finish,
    turns: u64,
    open: usize,
    sum: u64,
}

impl<F: Framework> Spout<F> {
    async fn send(&mut self) {
        for value in 0..EACH_TAKES {
            for leaf in &self.leaves {
                F::tell(leaf, value).await;
            }
        }
        self.open = RECEIVERS;
        self.turns += 1;
    }
}

impl<F: Framework> Behaviour<F> for Spout<F> {
    type Message = ToSpout<F>;

    async fn handle(&mut self, message: ToSpout<F>) -> Flow {
        match message {
            ToSpout::Leaves(leaves) => self.leaves = leaves,
            ToSpout::Go => {
                (self.turns, self.sum) = (0, 0);
                self.send().await;
            }
            ToSpout::Taken(sum) => {
                self.sum += sum;
                self.open -= 1;
                match (self.open, self.turns) {
                    (0, TAKES) => self.finish.with(self.sum),
                    (0, _) => self.send().await,
                    _ => {}
                }
            }
        }
        Flow::On
    }
}

struct Leaf<F: Framework> {
    spout: F::Ref<Spout<F>>,
    count: u64,
    sum: u64,
}

impl<F: Framework> Behaviour<F> for Leaf<F> {
    type Message = u64;

    async fn handle(&mut self, value: u64) -> Flow {
        self.count += 1;
        self.sum += value;
        if self.count == EACH_TAKES {
            self.count = 0;
            F::tell(&self.spout, ToSpout::Taken(std::mem::take(&mut self.sum))).await;
        }
        Flow::On
    }
}
