//! Names become numbers.

use std::hint::black_box;

use annulus::codec::hash::hash64;

use crate::{LAP, Work};

/// Hashes a name of 24 bytes.
pub struct Hash;

impl Work for Hash {
    fn prepare() -> Self {
        Hash
    }

    fn lap(&mut self) {
        for _ in 0..LAP {
            black_box(hash64(black_box(b"annulus.benches.a-name-x")));
        }
    }
}
