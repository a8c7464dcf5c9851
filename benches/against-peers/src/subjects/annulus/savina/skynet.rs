//! A tree of actors: each one starts ten more, down to a million leaves, and adds up what they report.

use annulus::prelude::*;

use crate::{
    finish::Finish,
    flow::sum_below,
    meter::Meter,
    rules::{CHILDREN, LEAVES, LEAVES_QUICK, skynet_actors},
    subjects::annulus::time,
};

pub(super) fn run(node: &Node, meter: Meter) -> Meter {
    let leaves = meter.size(LEAVES, LEAVES_QUICK) as u64;
    let finish = Finish::default();
    time(node, meter, skynet_actors(leaves), sum_below(leaves), async move || {
        let root = annulus::spawn(Skynet::new(Parent::None(finish.clone()), 0, leaves));
        root.expect("there is room").tell(Go).expect("there is room");
        finish.wait().await
    })
}

#[message]
struct Go;

/// What a child reports.
#[message]
struct Sum(u64);

enum Parent {
    None(Finish),
    Some(ActorRef<(Go, Sum)>),
}

struct Skynet {
    parent: Parent,
    /// The number of its first leaf, and of its leaves.
    first: u64,
    leaves: u64,
    open: u64,
    sum: u64,
}

impl Skynet {
    fn new(parent: Parent, first: u64, leaves: u64) -> Self {
        Skynet { parent, first, leaves, open: CHILDREN, sum: 0 }
    }

    /// Starts its children. There are so many at a time that there may be no room for more messages.
    async fn start_children(&mut self, context: &mut Context<Self>) {
        let (me, leaves) = (context.me(), self.leaves / CHILDREN);
        for child in 0..CHILDREN {
            let child = Skynet::new(Parent::Some(me), self.first + child * leaves, leaves);
            let child = context.spawn(child).expect("there is room");
            child.send(Go).await.expect("the child is there");
        }
    }

    async fn report(&mut self, sum: u64, context: &mut Context<Self>) {
        match &self.parent {
            Parent::None(finish) => finish.with(sum),
            Parent::Some(parent) => parent.send(Sum(sum)).await.expect("the parent is there"),
        }
        context.stop();
    }
}

impl Actor for Skynet {
    type Protocol = (Go, Sum);
}

impl Handler<Go> for Skynet {
    async fn handle(&mut self, _: Msg<Go>, context: &mut Context<Self>) {
        if self.leaves == 1 {
            self.report(self.first, context).await;
        } else {
            self.start_children(context).await;
        }
    }
}

impl Handler<Sum> for Skynet {
    async fn handle(&mut self, sum: Msg<Sum>, context: &mut Context<Self>) {
        self.sum += sum.0.to_native();
        self.open -= 1;
        if self.open == 0 {
            self.report(self.sum, context).await;
        }
    }
}
