//! A tree of actors: each one starts ten more, down to a million leaves, and adds up what they report.

use crate::{
    finish::Finish,
    flow::sum_below,
    meter::Meter,
    rules::{CHILDREN, LEAVES, LEAVES_QUICK, skynet_actors},
    shapes::{Behaviour, Flow, Framework},
};

pub(super) async fn run<F: Framework>(peer: F, meter: &mut Meter) {
    let leaves = meter.size(LEAVES, LEAVES_QUICK) as u64;
    let finish = Finish::default();
    meter
        .time(skynet_actors(leaves), sum_below(leaves), async || {
            let root = Skynet::new(peer, Parent::None(finish.clone()), 0, leaves);
            F::tell(&peer.spawn(root).await, ToSkynet::Go).await;
            finish.wait().await
        })
        .await;
}

enum ToSkynet {
    Go,
    Sum(u64),
}

enum Parent<F: Framework> {
    None(Finish),
    Some(F::Ref<Skynet<F>>),
}

struct Skynet<F: Framework> {
    peer: F,
    parent: Parent<F>,
    me: Option<F::Ref<Self>>,
    /// The number of its first leaf, and of its leaves.
    first: u64,
    leaves: u64,
    open: u64,
    sum: u64,
}

impl<F: Framework> Skynet<F> {
    fn new(peer: F, parent: Parent<F>, first: u64, leaves: u64) -> Self {
        Skynet { peer, parent, me: None, first, leaves, open: CHILDREN, sum: 0 }
    }

    async fn start_children(&mut self) {
        let me = self.me.as_ref().expect("it has been introduced");
        let leaves = self.leaves / CHILDREN;
        for child in 0..CHILDREN {
            let first = self.first + child * leaves;
            let child = Skynet::new(self.peer, Parent::Some(me.clone()), first, leaves);
            F::tell(&self.peer.spawn(child).await, ToSkynet::Go).await;
        }
    }

    async fn report(&mut self, sum: u64) -> Flow {
        match &self.parent {
            Parent::None(finish) => finish.with(sum),
            Parent::Some(parent) => F::tell(parent, ToSkynet::Sum(sum)).await,
        }
        Flow::Stop
    }
}

impl<F: Framework> Behaviour<F> for Skynet<F> {
    type Message = ToSkynet;

    fn introduce(&mut self, me: impl FnOnce() -> F::Ref<Self>) {
        if self.leaves > 1 {
            self.me = Some(me());
        }
    }

    async fn handle(&mut self, message: ToSkynet) -> Flow {
        match message {
            ToSkynet::Go if self.leaves == 1 => return self.report(self.first).await,
            ToSkynet::Go => self.start_children().await,
            ToSkynet::Sum(sum) => {
                self.sum += sum;
                self.open -= 1;
                if self.open == 0 {
                    return self.report(self.sum).await;
                }
            }
        }
        Flow::On
    }
}
