//! Messages become frames in a chunk, and are read there.

use std::{hint::black_box, marker::PhantomData};

use annulus::codec::{
    address::Slot,
    archive::{Archivable, Archived},
    chunk::{ChunkPool, DEFAULT_CHUNK_SIZE, Lease},
    frame::{DEFAULT_MAX_PAYLOAD, FrameReader, Header, Kind},
    outbox::{Admission, Destination, Outbox, OutboxLimits, Parcel},
};

use crate::{LAP, Work, messages::Sample};

/// Messages that are written before all are taken out.
const BURST: usize = 8;

/// Writes a message at the end of a chunk.
pub struct Write<M> {
    outbox: Outbox,
    message: M,
}

impl<M: Sample> Work for Write<M> {
    fn prepare() -> Self {
        let mut write = Write { outbox: outbox(Destination::Here), message: M::make() };
        // The first message finds no chunk.
        write.burst();
        write
    }

    fn lap(&mut self) {
        (0..LAP / BURST).for_each(|_| self.burst());
    }
}

impl<M: Sample> Write<M> {
    #[inline]
    fn burst(&mut self) {
        for _ in 0..BURST {
            push(&mut self.outbox, black_box(&self.message));
        }
        while let Some(frames) = self.outbox.pop() {
            drop(black_box(frames));
        }
        self.outbox.rewind();
    }
}

/// Takes a message of this process out of a chunk and reads it.
pub struct Read<M> {
    outbox: Outbox,
    sample: PhantomData<M>,
}

impl<M: Sample> Work for Read<M> {
    fn prepare() -> Self {
        Read { outbox: filled::<M>(Destination::Here), sample: PhantomData }
    }

    fn lap(&mut self) {
        while let Some(parcel) = self.outbox.pop() {
            read::<M>(parcel);
        }
    }
}

/// Reads all of a parcel.
#[inline]
pub(crate) fn read<M: Sample>(parcel: Parcel) {
    let Parcel::Frames(mut frames) = parcel else { unreachable!("messages are small") };
    while let Some((_, message)) = frames.take_as::<M>() {
        black_box(M::look(&message.expect("it is this message")));
    }
}

/// Takes a message of another node out of a chunk, validates it, and reads it.
pub struct ReadForeign<M> {
    bytes: Lease,
    sample: PhantomData<M>,
}

impl<M: Sample> Work for ReadForeign<M> {
    fn prepare() -> Self {
        let mut outbox = filled::<M>(Destination::Node);
        let mut sent = Vec::new();
        while let Some(bytes) = outbox.pop_bytes() {
            sent.extend_from_slice(&bytes);
        }
        let mut chunk = pool().acquire_sized(sent.len()).expect("there is memory");
        assert!(chunk.append(&sent));
        ReadForeign { bytes: chunk.take_committed(), sample: PhantomData }
    }

    fn lap(&mut self) {
        let mut reader = FrameReader::foreign(self.bytes.clone(), DEFAULT_MAX_PAYLOAD);
        while let Some(frame) = reader.next_frame().expect("it is well-formed") {
            let message = Archived::<M>::open(frame).expect("it is valid");
            black_box(M::look(&message));
        }
    }
}

/// An outbox with the messages of a lap.
fn filled<M: Sample>(destination: Destination) -> Outbox {
    let mut outbox = outbox(destination);
    (0..LAP).for_each(|_| push(&mut outbox, &M::make()));
    outbox
}

/// An empty outbox with the usual bounds.
pub(crate) fn outbox(destination: Destination) -> Outbox {
    let limits =
        OutboxLimits { bytes: 16 << 20, max_payload: DEFAULT_MAX_PAYLOAD, by_reference_from: 4096 };
    Outbox::new(destination, limits, pool())
}

pub(crate) fn pool() -> ChunkPool {
    ChunkPool::new(DEFAULT_CHUNK_SIZE, 64, 1 << 30)
}

/// Writes a message that tells the first actor something.
#[inline]
pub(crate) fn push<M: Archivable>(outbox: &mut Outbox, message: &M) {
    let header = Header::new(Kind::Tell, Slot::new(0, 0), 0, M::ID, 0);
    outbox.push_message(header, None, message, Admission::Bounded).expect("there is room");
}
