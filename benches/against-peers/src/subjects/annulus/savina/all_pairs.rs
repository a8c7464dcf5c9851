//! The shortest paths of a graph: an actor for each block of distances, on two workers. The distances are
//! broadcast: the neighbours on one worker share them.

use annulus::{broadcast, prelude::*};

use crate::{
    finish::Finish,
    meter::Meter,
    rules::graph::{self, BLOCKS, IN_BLOCK, MESSAGES, Next, Share},
    subjects::annulus::{spawn, time},
};

pub(super) fn run(node: &Node, meter: Meter) -> Meter {
    let finish = Finish::default();
    let sums = spawn(node, Sums { blocks: 0, sum: 0, finish: finish.clone() });
    let blocks: Vec<_> = (0..BLOCKS * BLOCKS)
        .map(|number| {
            // It is made where it lives: what it keeps of its neighbours stays there.
            let block =
                move || Block { block: graph::Block::new(number), neighbours: Vec::new(), sums };
            node.spawn_with(number % node.workers(), block).expect("there is room")
        })
        .collect();
    let met = node.run({
        let blocks = blocks.clone();
        async move || {
            blocks.iter().enumerate().all(|(number, block)| {
                let neighbours = graph::neighbours(number).map(|other| blocks[other]).collect();
                block.tell(Meet { neighbours }).is_ok()
            })
        }
    });
    assert!(met.expect("telling does not panic"));
    time(node, meter, MESSAGES, graph::sum_of_distances(), async move || {
        blocks.iter().for_each(|block| block.tell(Go).expect("there is room"));
        finish.wait().await
    })
}

type BlockProtocol = (BlockOf, Go, Meet);

/// Start a lap.
#[message]
struct Go;

/// Whom a block sends its distances to.
#[message]
struct Meet {
    neighbours: Vec<ActorRef<BlockProtocol>>,
}

/// The distances of a block, before a step.
#[message]
struct BlockOf {
    step: u64,
    from: u64,
    distances: [u64; IN_BLOCK],
}

impl Share for Msg<BlockOf> {
    fn distance(&self, at: usize) -> u64 {
        self.distances[at].to_native()
    }
}

/// The sum of a block's distances.
#[message]
struct Sum(u64);

struct Block {
    block: graph::Block<Msg<BlockOf>>,
    neighbours: Vec<ActorRef<BlockProtocol>>,
    sums: ActorRef<(Sum,)>,
}

impl Block {
    fn send(&self, step: usize, distances: &[u64]) {
        let (step, from) = (step as u64, self.block.number() as u64);
        let distances = distances.try_into().expect("a block has so many");
        broadcast(&self.neighbours, &BlockOf { step, from, distances }).expect("there is room");
    }
}

impl Actor for Block {
    type Protocol = BlockProtocol;
}

impl Handler<Meet> for Block {
    async fn handle(&mut self, meet: Msg<Meet>, _: &mut Context<Self>) {
        self.neighbours = meet.decode().neighbours;
    }
}

impl Handler<Go> for Block {
    async fn handle(&mut self, _: Msg<Go>, _: &mut Context<Self>) {
        self.send(0, &self.block.first());
    }
}

impl Handler<BlockOf> for Block {
    async fn handle(&mut self, block: Msg<BlockOf>, _: &mut Context<Self>) {
        let (step, from) = (block.step.to_native(), block.from.to_native());
        self.block.receive(step as usize, from as usize, block);
        while let Some(next) = self.block.advance() {
            match next {
                Next::Send(step, distances) => self.send(step, &distances),
                Next::Done(sum) => self.sums.tell(Sum(sum)).expect("there is room"),
            }
        }
    }
}

struct Sums {
    blocks: usize,
    sum: u64,
    finish: Finish,
}

impl Actor for Sums {
    type Protocol = (Sum,);
}

impl Handler<Sum> for Sums {
    async fn handle(&mut self, sum: Msg<Sum>, _: &mut Context<Self>) {
        self.blocks += 1;
        self.sum += sum.0.to_native();
        if self.blocks == BLOCKS * BLOCKS {
            self.blocks = 0;
            self.finish.with(std::mem::take(&mut self.sum));
        }
    }
}
