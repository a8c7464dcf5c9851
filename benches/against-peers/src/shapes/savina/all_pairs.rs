//! The shortest paths of a graph: an actor for each block of distances, on two workers. A message holds
//! a share of a block's distances: they are not copied.

use crate::{
    finish::Finish,
    meter::Meter,
    rules::graph::{self, BLOCKS, Distances, MESSAGES, Next},
    shapes::{Behaviour, Flow, Framework},
    works::Work,
};

pub(super) async fn run<F: Framework>(peer: F, meter: &mut Meter) {
    let finish = Finish::default();
    let sums = peer.spawn(Sums { blocks: 0, sum: 0, finish: finish.clone() }).await;
    let mut blocks = Vec::new();
    for number in 0..BLOCKS * BLOCKS {
        let block = graph::Block::new(number);
        let block = Block::<F> { block, neighbours: Vec::new(), sums: sums.clone() };
        blocks.push(peer.spawn_on(number % Work::SavinaAllPairs.workers(), block).await);
    }
    for (number, block) in blocks.iter().enumerate() {
        let neighbours = graph::neighbours(number).map(|other| blocks[other].clone()).collect();
        F::tell(block, ToBlock::Neighbours(neighbours)).await;
    }
    // All blocks know their neighbours before the first distances come.
    assert_eq!(finish.wait().await, 0);
    meter
        .time(MESSAGES, graph::sum_of_distances(), async || {
            for block in &blocks {
                F::tell(block, ToBlock::Go).await;
            }
            finish.wait().await
        })
        .await;
}

enum ToBlock<F: Framework> {
    Neighbours(Vec<F::Ref<Block<F>>>),
    Go,
    Distances { step: usize, from: usize, distances: Distances },
}

struct Block<F: Framework> {
    block: graph::Block,
    neighbours: Vec<F::Ref<Block<F>>>,
    sums: F::Ref<Sums>,
}

impl<F: Framework> Block<F> {
    async fn send(&self, step: usize, distances: Distances) {
        for neighbour in &self.neighbours {
            let from = self.block.number();
            let distances = distances.clone();
            F::tell(neighbour, ToBlock::Distances { step, from, distances }).await;
        }
    }
}

impl<F: Framework> Behaviour<F> for Block<F> {
    type Message = ToBlock<F>;

    async fn handle(&mut self, message: ToBlock<F>) -> Flow {
        match message {
            ToBlock::Neighbours(neighbours) => {
                self.neighbours = neighbours;
                F::tell(&self.sums, Sum(0)).await;
            }
            ToBlock::Go => self.send(0, self.block.first()).await,
            ToBlock::Distances { step, from, distances } => {
                self.block.receive(step, from, distances);
                while let Some(next) = self.block.advance() {
                    match next {
                        Next::Send(step, distances) => self.send(step, distances).await,
                        Next::Done(sum) => F::tell(&self.sums, Sum(sum)).await,
                    }
                }
            }
        }
        Flow::On
    }
}

/// The sum of a block's distances.
struct Sum(u64);

struct Sums {
    blocks: usize,
    sum: u64,
    finish: Finish,
}

impl<F: Framework> Behaviour<F> for Sums {
    type Message = Sum;

    async fn handle(&mut self, sum: Sum) -> Flow {
        self.blocks += 1;
        self.sum += sum.0;
        if self.blocks == BLOCKS * BLOCKS {
            self.blocks = 0;
            self.finish.with(std::mem::take(&mut self.sum));
        }
        Flow::On
    }
}
