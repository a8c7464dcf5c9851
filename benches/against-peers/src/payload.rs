//! What tells carry. Each message is made anew by its sender, and looked at by its receiver.

/// Bytes of the string.
pub(crate) const TEXT: &str = "a message of thirty-two bytes...";

/// Bytes of the large one.
pub(crate) const BLOCK: usize = 4096;

/// Messages of a lap of tells.
pub(crate) const LAP: u64 = 100_000;

/// Something that is sent.
pub(crate) trait Payload: Send + Sync + Unpin + 'static {
    /// The one with this number.
    fn make(number: u64) -> Self;

    /// What the receiver adds up, from what it has received.
    fn weigh(&self) -> u64;
}

impl Payload for u64 {
    #[inline]
    fn make(number: u64) -> Self {
        number
    }

    #[inline]
    fn weigh(&self) -> u64 {
        *self
    }
}

impl Payload for String {
    #[inline]
    fn make(_: u64) -> Self {
        TEXT.to_owned()
    }

    #[inline]
    fn weigh(&self) -> u64 {
        weigh_text(self)
    }
}

impl Payload for Box<[u8]> {
    #[inline]
    fn make(number: u64) -> Self {
        let mut block: Box<[u8]> = Box::from(&ZEROS[..]);
        mark(&mut block, number);
        block
    }

    #[inline]
    fn weigh(&self) -> u64 {
        weigh_block(self)
    }
}

/// What is copied into each large message.
pub(crate) static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Writes a number at the end of a block.
#[inline]
pub(crate) fn mark(block: &mut [u8], number: u64) {
    block[BLOCK - 8..].copy_from_slice(&number.to_le_bytes());
}

/// The number at the end of a block, if the block is whole.
#[inline]
pub(crate) fn weigh_block(block: &[u8]) -> u64 {
    let (rest, number) = block.split_last_chunk().expect("a block is longer than a number");
    assert!(rest.len() == BLOCK - 8 && rest[0] == 0);
    u64::from_le_bytes(*number)
}

/// The bytes of a text, and its last one.
#[inline]
pub(crate) fn weigh_text(text: &str) -> u64 {
    text.len() as u64 + u64::from(text.as_bytes()[TEXT.len() - 1])
}

/// What the messages of a lap come to.
pub(crate) fn weigh_lap<P: Payload>() -> u64 {
    (0..LAP).map(|number| P::make(number).weigh()).sum()
}
