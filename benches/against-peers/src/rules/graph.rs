//! All pairs: the shortest paths between all nodes of a graph (Floyd and Warshall), block by block.

use std::sync::Arc;

use super::Dice;

/// Nodes of the graph. Savina: 300.
pub(crate) const NODES: usize = 120;

/// Rows and columns of a block. Savina: 50.
pub(crate) const SIDE: usize = 20;

/// Blocks in a row or a column.
pub(crate) const BLOCKS: usize = NODES / SIDE;

/// Blocks that one block sends its distances to: those of its row and its column.
pub(crate) const NEIGHBOURS: usize = 2 * (BLOCKS - 1);

/// Messages of a lap: each block sends to all its neighbours before each step.
pub(crate) const MESSAGES: u64 = (BLOCKS * BLOCKS * NEIGHBOURS * NODES) as u64;

/// The longest edge.
const LONGEST: usize = 100;

/// Distances in a block.
pub(crate) const IN_BLOCK: usize = SIDE * SIDE;

/// The distances of a block, row by row. They are shared, not copied.
pub(crate) type Distances = Arc<[u64]>;

/// A share of a neighbour's distances, in the form that a framework passes on.
pub(crate) trait Share {
    /// One of the distances, which are there row by row.
    fn distance(&self, at: usize) -> u64;
}

impl Share for Distances {
    fn distance(&self, at: usize) -> u64 {
        self[at]
    }
}

/// The distances of all nodes before the first step, row by row.
fn edges() -> Vec<u64> {
    let mut dice = Dice::new(NODES);
    let mut edges = vec![0; NODES * NODES];
    for from in 0..NODES {
        for to in from + 1..NODES {
            let length = dice.below(LONGEST) as u64 + 1;
            edges[from * NODES + to] = length;
            edges[to * NODES + from] = length;
        }
    }
    edges
}

/// The distances of a block before the first step.
fn block(number: usize) -> Distances {
    let (row, column) = (number / BLOCKS * SIDE, number % BLOCKS * SIDE);
    let edges = edges();
    let rows = edges.chunks_exact(NODES).skip(row).take(SIDE);
    rows.flat_map(|row| &row[column..column + SIDE]).copied().collect()
}

/// The neighbours of a block.
pub(crate) fn neighbours(number: usize) -> impl Iterator<Item = usize> {
    let beside = move |other: &usize| {
        let same_row = other / BLOCKS == number / BLOCKS;
        let same_column = other % BLOCKS == number % BLOCKS;
        *other != number && (same_row || same_column)
    };
    (0..BLOCKS * BLOCKS).filter(beside)
}

/// The blocks that a block needs for a step: the one in its row with the step's column, and the one in
/// its column with the step's row. One of them, or both, can be the block itself.
fn needed(number: usize, step: usize) -> (usize, usize) {
    let (row, column, at) = (number / BLOCKS, number % BLOCKS, step / SIDE);
    (row * BLOCKS + at, at * BLOCKS + column)
}

/// One step of a block: the way over the step's node is taken where it is shorter. `in_row` and
/// `in_column` are the distances in the blocks that are [`needed`].
fn relax(
    own: &[u64],
    in_row: impl Fn(usize) -> u64,
    in_column: impl Fn(usize) -> u64,
    step: usize,
) -> Distances {
    let at = step % SIDE;
    let over: [u64; SIDE] = std::array::from_fn(|column| in_column(at * SIDE + column));
    let mut next = Vec::with_capacity(IN_BLOCK);
    for (row, own) in own.chunks_exact(SIDE).enumerate() {
        let from = in_row(row * SIDE + at);
        next.extend(own.iter().zip(&over).map(|(direct, to)| *direct.min(&(from + to))));
    }
    next.into()
}

/// A block: its distances, and those that it has received from its neighbours.
#[derive(Debug)]
pub(crate) struct Block<S = Distances> {
    number: usize,
    first: Distances,
    own: Distances,
    step: usize,
    /// For this step and the next one, by the number of the neighbour: none can be further ahead.
    received: [Vec<Option<S>>; 2],
    missing: [usize; 2],
}

/// What a block does when it has all distances for a step.
#[derive(Debug)]
pub(crate) enum Next {
    /// It sends its own, before this step.
    Send(usize, Distances),
    /// It has done all steps; this is the sum of its distances. It is as it was at first again.
    Done(u64),
}

impl<S: Share> Block<S> {
    pub(crate) fn new(number: usize) -> Self {
        let first = block(number);
        let received = || (0..BLOCKS * BLOCKS).map(|_| None).collect();
        Block {
            number,
            own: first.clone(),
            first,
            step: 0,
            received: [received(), received()],
            missing: [NEIGHBOURS; 2],
        }
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// What it sends before the first step.
    pub(crate) fn first(&self) -> Distances {
        self.first.clone()
    }

    /// A neighbour's distances have come.
    pub(crate) fn receive(&mut self, step: usize, from: usize, distances: S) {
        self.received[step % 2][from] = Some(distances);
        self.missing[step % 2] -= 1;
    }

    /// Does a step, if all distances for it are there.
    pub(crate) fn advance(&mut self) -> Option<Next> {
        let parity = self.step % 2;
        if self.missing[parity] > 0 {
            return None;
        }
        let (in_row, in_column) = needed(self.number, self.step);
        let (own, received) = (&self.own, &self.received[parity]);
        let of = |block: usize| {
            let share = received[block].as_ref();
            move |at: usize| share.map_or_else(|| own[at], |share| share.distance(at))
        };
        self.own = relax(&self.own, of(in_row), of(in_column), self.step);
        self.received[parity].iter_mut().for_each(|received| *received = None);
        self.missing[parity] = NEIGHBOURS;
        self.step += 1;
        if self.step < NODES {
            return Some(Next::Send(self.step, self.own.clone()));
        }
        let sum = self.own.iter().sum();
        (self.step, self.own) = (0, self.first.clone());
        Some(Next::Done(sum))
    }
}

/// All shortest distances added up, computed at once.
pub(crate) fn sum_of_distances() -> u64 {
    let mut distances = edges();
    for over in 0..NODES {
        let via = distances[over * NODES..][..NODES].to_vec();
        for row in distances.chunks_exact_mut(NODES) {
            let first = row[over];
            row.iter_mut().zip(&via).for_each(|(direct, to)| *direct = (*direct).min(first + to));
        }
    }
    distances.iter().sum()
}
