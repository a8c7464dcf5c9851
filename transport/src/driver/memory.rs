//! Bytes that operations bring or take.

use std::ops::Deref;

use annulus_codec::chunk::{ChunkWriter, Lease};

/// Memory for incoming bytes.
#[derive(Debug)]
pub enum Fill {
    /// The free end of a chunk. The driver commits what has arrived.
    Chunk(ChunkWriter),
    /// The spare capacity of a vector. The driver extends its length by what has arrived.
    Bytes(Vec<u8>),
}

impl Fill {
    /// How many bytes it takes.
    pub fn room(&self) -> usize {
        match self {
            Fill::Chunk(chunk) => chunk.spare(),
            Fill::Bytes(bytes) => bytes.capacity() - bytes.len(),
        }
    }

    /// Commits these bytes, by copying them. Returns whether there was room; if not, nothing has
    /// happened.
    pub fn fill(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.room() {
            return false;
        }
        match self {
            Fill::Chunk(chunk) => chunk.append(bytes),
            Fill::Bytes(vector) => {
                vector.extend_from_slice(bytes);
                true
            }
        }
    }

    /// The chunk, if it is one.
    pub fn into_chunk(self) -> Option<ChunkWriter> {
        match self {
            Fill::Chunk(chunk) => Some(chunk),
            Fill::Bytes(_) => None,
        }
    }

    /// The vector, if it is one.
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Fill::Bytes(bytes) => Some(bytes),
            Fill::Chunk(_) => None,
        }
    }
}

/// Outgoing bytes.
#[derive(Debug)]
pub enum Data {
    /// Leases, gathered in order; at most [`MAX_PIECES`].
    Leases(Vec<Lease>),
    /// One vector.
    Bytes(Vec<u8>),
}

impl Data {
    /// Bytes in all.
    pub fn len(&self) -> usize {
        match self {
            Data::Leases(leases) => leases.iter().map(|lease| lease.len()).sum(),
            Data::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes behind the first `skip`, piece by piece. No piece is empty.
    pub fn pieces(&self, skip: usize) -> impl Iterator<Item = &[u8]> {
        let (leases, bytes): (&[Lease], &[u8]) = match self {
            Data::Leases(leases) => (leases, &[]),
            Data::Bytes(bytes) => (&[], bytes),
        };
        let pieces = leases.iter().map(|lease| &**lease).chain([bytes]);
        behind(pieces, skip).map(|(piece, start)| &piece[start..])
    }

    /// What is left without the first `skip` bytes.
    pub fn without(self, skip: usize) -> Data {
        match self {
            Data::Bytes(mut bytes) => {
                bytes.drain(..skip);
                Data::Bytes(bytes)
            }
            Data::Leases(leases) => {
                let left = behind(leases, skip);
                Data::Leases(
                    left.map(|(lease, start)| lease.slice(start, lease.len() - start)).collect(),
                )
            }
        }
    }
}

/// Of pieces in a row, those that reach beyond the first `skip` bytes of all, each with the place in it
/// where that is.
fn behind<P: Deref<Target = [u8]>>(
    pieces: impl IntoIterator<Item = P>,
    mut skip: usize,
) -> impl Iterator<Item = (P, usize)> {
    pieces.into_iter().filter_map(move |piece| {
        let start = skip.min(piece.len());
        skip -= start;
        (start < piece.len()).then_some((piece, start))
    })
}

/// How many pieces one operation gathers at most.
pub const MAX_PIECES: usize = 64;

#[cfg(test)]
mod tests {
    use annulus_codec::chunk::ChunkPool;

    use super::*;

    #[test]
    fn what_is_behind_some_bytes_is_the_same_lent_or_owned() {
        let pool = ChunkPool::new(64, 1, 1024);
        let mut chunk = pool.acquire().unwrap();
        let leases = ["one", "", "two", "three"].map(|text| {
            chunk.append(text.as_bytes());
            chunk.take_committed()
        });
        for skip in 0..=11 {
            for data in [Data::Leases(leases.to_vec()), Data::Bytes(b"onetwothree".to_vec())] {
                let expected = &b"onetwothree"[skip..];
                let pieces: Vec<&[u8]> = data.pieces(skip).collect();
                assert!(pieces.iter().all(|piece| !piece.is_empty()));
                assert_eq!(pieces.concat(), expected);
                let left = data.without(skip);
                assert_eq!(left.pieces(0).collect::<Vec<_>>().concat(), expected);
            }
        }
    }
}
