//! Where all chance comes from: one seed, and a stream of its own for each part of the world, so that
//! what one part draws does not change what the others get.

use std::time::Duration;

/// A stream of chance.
#[derive(Clone, Debug)]
pub struct Random(fastrand::Rng);

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Self {
        Random(fastrand::Rng::with_seed(seed))
    }

    /// A further stream, which goes its own way from here.
    pub fn fork(&mut self) -> Self {
        Random(self.0.fork())
    }

    /// Whether something happens that happens once in `1 / rate` times.
    pub fn happens(&mut self, rate: f64) -> bool {
        // No draw for what never happens: a fault that is off leaves the stream as it is.
        rate > 0.0 && self.0.f64() < rate
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        if least >= most { least } else { self.0.u64(least..=most) }
    }

    /// A place in a list of this length, which is not empty.
    pub fn index(&mut self, len: usize) -> usize {
        self.between(0, len as u64 - 1) as usize
    }

    /// A time from `least` to `most`.
    pub fn time(&mut self, (least, most): (Duration, Duration)) -> u64 {
        self.between(least.as_nanos() as u64, most.as_nanos() as u64)
    }

    /// Random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }
}
