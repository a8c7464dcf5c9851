//! What a frame may carry between its header and its payload.
//!
//! Extensions are records of a multiple of 16 bytes each:
//!
//! ```text
//! offset  size  field
//!      0     2  tag
//!      2     2  length of the record in bytes, these four included; a multiple of 16
//!      4     .  content
//! ```
//!
//! | tag | content |
//! | --- | --- |
//! | 1 | deadline: 4 zero bytes, then the nanoseconds left as a 64-bit number |
//! | 2 | ask chain: 12 zero bytes, then one 16-byte address per waiting actor, the first asker first |
//! | 3 | origin: 4 zero bytes, then the node's number and its incarnation, 32 bits each. Only ever seen within a process, between its workers |
//!
//! Records with other tags are skipped: a later version may send them.

use std::{fmt, mem::MaybeUninit, time::Duration};

use smallvec::SmallVec;

use crate::{
    address::{Address, NodeId},
    frame::FRAME_ALIGN,
};

/// How many actors may wait for one another in a row. An ask beyond that fails.
pub const MAX_CHAIN: usize = 32;

/// Actors that wait for one another in a row, the first asker first. Short ones need no memory of their own.
pub type Chain = SmallVec<[Address; 3]>;

/// Extensions as bytes. With a deadline and a short chain they need no memory of their own.
pub(crate) type Encoded = SmallVec<[u8; 96]>;

const TAG_DEADLINE: u16 = 1;
const TAG_CHAIN: u16 = 2;
const TAG_ORIGIN: u16 = 3;

/// The parsed extensions of one frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// How long the asker still waits for the answer.
    pub remaining: Option<Duration>,
    /// The actors whose handlers wait for this ask, the first asker first.
    pub chain: Chain,
    /// The node and incarnation that the frame came from, for frames passed on between workers.
    pub origin: Option<(NodeId, u32)>,
}

/// Why extensions are malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtensionError {
    /// A record's length is zero, not a multiple of 16, or reaches beyond the end.
    RecordLength(u16),
    /// A record with this tag has the wrong size for it.
    RecordSize(u16),
    /// More actors wait than [`MAX_CHAIN`].
    ChainTooLong(usize),
}

impl fmt::Display for ExtensionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExtensionError::RecordLength(len) => write!(f, "record with impossible length {len}"),
            ExtensionError::RecordSize(tag) => write!(f, "record {tag} has the wrong size"),
            ExtensionError::ChainTooLong(len) => {
                write!(f, "ask chain of {len} actors; the limit is {MAX_CHAIN}")
            }
        }
    }
}

impl std::error::Error for ExtensionError {}

impl Extensions {
    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.remaining.is_none() && self.chain.is_empty() && self.origin.is_none()
    }

    /// Whether there is more than a frame may carry: a chain of more than [`MAX_CHAIN`] actors.
    pub fn is_too_long(&self) -> bool {
        self.chain.len() > MAX_CHAIN
    }

    /// Bytes on the wire.
    pub fn encoded_len(&self) -> usize {
        let chain = if self.chain.is_empty() { 0 } else { (1 + self.chain.len()) * FRAME_ALIGN };
        let records = self.remaining.is_some() as usize + self.origin.is_some() as usize;
        records * FRAME_ALIGN + chain
    }

    /// The records.
    pub(crate) fn encode(&self) -> Encoded {
        let mut encoded = Encoded::new();
        self.each_block(|block| encoded.extend_from_slice(&block));
        encoded
    }

    /// Writes the records into room of just their length.
    ///
    /// # Panics
    /// If it is not.
    pub(crate) fn write(&self, room: &mut [MaybeUninit<u8>]) {
        let (blocks, rest) = room.as_chunks_mut();
        let mut blocks = blocks.iter_mut();
        self.each_block(|block| {
            *blocks.next().expect("there is room for all records") = block.map(MaybeUninit::new);
        });
        assert!(blocks.len() == 0 && rest.is_empty(), "there is room for more than all records");
    }

    /// The records, block by block.
    #[inline(always)]
    fn each_block(&self, mut take: impl FnMut([u8; FRAME_ALIGN])) {
        if let Some(remaining) = self.remaining {
            let nanos = u64::try_from(remaining.as_nanos()).unwrap_or(u64::MAX);
            take(head_block(TAG_DEADLINE, 1, nanos));
        }
        if !self.chain.is_empty() {
            take(head_block(TAG_CHAIN, 1 + self.chain.len(), 0));
            self.chain.iter().for_each(|address| take(address.to_bytes()));
        }
        if let Some((node, incarnation)) = self.origin {
            let word = u64::from(node.bits()) | u64::from(incarnation) << 32;
            take(head_block(TAG_ORIGIN, 1, word));
        }
    }

    /// Reads all records.
    ///
    /// # Errors
    /// If one of them is malformed.
    pub fn parse(mut bytes: &[u8]) -> Result<Self, ExtensionError> {
        let mut parsed = Extensions::default();
        while let Some((head, _)) = bytes.split_first_chunk::<4>() {
            let tag = u16::from_le_bytes([head[0], head[1]]);
            let len = u16::from_le_bytes([head[2], head[3]]);
            let size = len as usize;
            if size == 0 || !size.is_multiple_of(FRAME_ALIGN) || size > bytes.len() {
                return Err(ExtensionError::RecordLength(len));
            }
            let (record, rest) = bytes.split_at(size);
            match tag {
                TAG_DEADLINE => {
                    let nanos = last_word(record).ok_or(ExtensionError::RecordSize(tag))?;
                    parsed.remaining = Some(Duration::from_nanos(nanos));
                }
                TAG_CHAIN => parsed.chain = parse_chain(&record[FRAME_ALIGN..])?,
                TAG_ORIGIN => {
                    let word = last_word(record).ok_or(ExtensionError::RecordSize(tag))?;
                    parsed.origin = Some((NodeId::from_bits(word as u32), (word >> 32) as u32));
                }
                _ => {}
            }
            bytes = rest;
        }
        if bytes.is_empty() {
            Ok(parsed)
        } else {
            Err(ExtensionError::RecordLength(bytes.len() as u16))
        }
    }
}

/// The first block of a record of so many: its tag and length, 4 zero bytes, and a number.
fn head_block(tag: u16, blocks: usize, word: u64) -> [u8; FRAME_ALIGN] {
    let len = (blocks * FRAME_ALIGN) as u16;
    (u128::from(tag) | u128::from(len) << 16 | u128::from(word) << 64).to_le_bytes()
}

/// The last 8 bytes of a record of exactly 16.
fn last_word(record: &[u8]) -> Option<u64> {
    let record: &[u8; FRAME_ALIGN] = record.try_into().ok()?;
    record.last_chunk::<8>().map(|word| u64::from_le_bytes(*word))
}

fn parse_chain(bytes: &[u8]) -> Result<Chain, ExtensionError> {
    let (addresses, _) = bytes.as_chunks::<{ Address::LEN }>();
    if addresses.len() > MAX_CHAIN {
        return Err(ExtensionError::ChainTooLong(addresses.len()));
    }
    Ok(addresses.iter().map(Address::from_bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Slot;

    #[test]
    fn records_survive_the_round_trip() {
        let address = Address::new(NodeId::from_name("a"), 7, Slot::new(1, 2), 3);
        let sent = Extensions {
            remaining: Some(Duration::from_millis(50)),
            chain: [address, address].into_iter().collect(),
            origin: Some((NodeId::from_name("b"), 9)),
        };
        let bytes = sent.encode();
        assert_eq!(bytes.len(), sent.encoded_len());
        let mut written = vec![MaybeUninit::new(0xff); bytes.len()];
        sent.write(&mut written);
        // SAFETY: all of them have been written, at the latest when the vector was made.
        let written = written.into_iter().map(|byte| unsafe { byte.assume_init() });
        assert!(written.eq(bytes.iter().copied()));
        assert_eq!(Extensions::parse(&bytes), Ok(sent));
    }

    #[test]
    fn unknown_records_are_skipped() {
        let mut bytes = vec![0; 32];
        bytes[0] = 99;
        bytes[2] = 32;
        assert_eq!(Extensions::parse(&bytes), Ok(Extensions::default()));
    }

    #[test]
    fn malformed_records_are_typed_errors() {
        assert_eq!(Extensions::parse(&[0; 16]), Err(ExtensionError::RecordLength(0)));
        let mut long = [0; 16];
        long[2] = 32;
        assert_eq!(Extensions::parse(&long), Err(ExtensionError::RecordLength(32)));
        let mut odd = [0; 16];
        odd[0] = 1;
        odd[2] = 8;
        assert_eq!(Extensions::parse(&odd), Err(ExtensionError::RecordLength(8)));
    }
}
