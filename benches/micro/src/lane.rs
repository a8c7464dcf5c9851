//! A lane, with both ends on one thread.

use std::hint::black_box;

use annulus::transport::lane::{self, Receiver, Sender};

use crate::{LAP, Work};

/// Values on their way at the same time.
const BURST: usize = 8;

/// Puts a value of so many words into a lane and takes it out.
pub struct SendAndReceive<const WORDS: usize> {
    sender: Sender<[u64; WORDS]>,
    receiver: Receiver<[u64; WORDS]>,
}

impl<const WORDS: usize> Work for SendAndReceive<WORDS> {
    fn prepare() -> Self {
        let (sender, receiver) = lane::channel(64);
        SendAndReceive { sender, receiver }
    }

    fn lap(&mut self) {
        for _ in 0..LAP / BURST {
            for word in 0..BURST as u64 {
                self.sender.try_send(black_box([word; WORDS])).expect("there is room");
            }
            while let Some(value) = self.receiver.try_recv() {
                black_box(value);
            }
        }
    }
}
