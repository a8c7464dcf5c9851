//! What goes from one worker to another: packed by the first, unpacked and read by the second.

use annulus::codec::{
    chunk::ChunkPool,
    outbox::{Destination, Landing, Outbox},
};

use crate::{
    LAP, Work,
    frames::{outbox, pool, push, read},
    messages::{Number, Sample},
};

/// Messages that cross `BURST` at a time. Two cross by themselves, many in a chunk that comes back.
pub struct Cross<const BURST: usize> {
    outbox: Outbox,
    landing: Landing,
    /// The receiver's.
    pool: ChunkPool,
    message: Number,
}

impl<const BURST: usize> Work for Cross<BURST> {
    fn prepare() -> Self {
        let pool = pool();
        let landing = Landing::new(pool.clone());
        let message = Number::make();
        let mut cross = Cross { outbox: outbox(Destination::Worker), landing, pool, message };
        // The first ones find no chunks.
        cross.burst();
        cross
    }

    fn lap(&mut self) {
        const { assert!(LAP.is_multiple_of(BURST)) };
        (0..LAP / BURST).for_each(|_| self.burst());
    }
}

impl<const BURST: usize> Cross<BURST> {
    #[inline]
    fn burst(&mut self) {
        for _ in 0..BURST {
            push(&mut self.outbox, &self.message);
        }
        while let Some(crossing) = self.outbox.pop_crossing() {
            let landed = crossing.land(&mut self.landing);
            read::<Number>(landed.unwrap_or_else(|| crossing.open(&mut self.landing, 0)));
        }
        while let Some((_, chunk)) = self.pool.pop_borrowed() {
            self.pool.restock(chunk);
        }
    }
}
