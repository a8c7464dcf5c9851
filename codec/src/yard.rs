//! Where frames wait that are not to hold on to the chunk that they came in.
//!
//! A frame keeps its whole chunk from being used again. That is nothing for one that is read at once. One
//! that waits for a slow receiver is copied, if it is small, into small chunks that hold nothing else: so
//! what waits takes about as much memory as it has bytes.

use crate::{
    chunk::{ChunkPool, ChunkWriter},
    frame::Frame,
};

/// The capacity of the chunks, in bytes.
const CHUNK: usize = 4096;

/// Frames with more bytes than this stay where they are.
const SMALL: usize = CHUNK / 4;

/// The frames of one receiver that waits for something else. See the [module](self).
#[derive(Debug, Default)]
pub struct Yard {
    open: Option<ChunkWriter>,
}

impl Yard {
    /// The frame as it is to wait: a copy if it is small. It stays where it is if there is no memory for one.
    pub fn park(&mut self, frame: Frame, pool: &ChunkPool) -> Frame {
        if frame.len() > SMALL {
            return frame;
        }
        if let Some(copy) = self.open.as_mut().and_then(|open| frame.copied_into(open)) {
            return copy;
        }
        // What is in the last chunk keeps it; nothing is written behind that any more.
        self.open = pool.acquire_small(CHUNK).ok();
        self.open.as_mut().and_then(|open| frame.copied_into(open)).unwrap_or(frame)
    }
}
