//! The layout of user data, and the one number of the kernel's interface that the `io-uring` crate
//! keeps to itself.

use crate::driver::OperationKey;

/// `IORING_REGISTER_SEND_MSG_RING`: a MSG_RING without a ring of one's own. Kernel 6.13.
pub(super) const REGISTER_SEND_MSG_RING: libc::c_uint = 31;

/// The most bytes that one read, write, send or receive moves: the kernel's `MAX_RW_COUNT`.
pub(super) const MAX_TRANSFER: usize = 0x7fff_f000;

/// How many bits of an [`OperationKey`]'s generation count.
const GENERATION_BITS: u32 = 24;

/// The generation after this one.
pub(super) fn next_generation(generation: u32) -> u32 {
    (generation + 1) & ((1 << GENERATION_BITS) - 1)
}

/// What a completion is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The operation in a slot.
    Operation = 1,
    /// The timeout of the operation in a slot.
    Deadline = 2,
    /// The cancel of the operation in a slot.
    Cancel = 3,
    /// A doorbell that another worker or thread rang.
    Doorbell = 4,
    /// A doorbell that this worker rang and that failed. The slot is the worker's index.
    Rung = 5,
    /// The poll of the doorbell's eventfd.
    Eventfd = 6,
    /// The removal of the timeout of the operation in a slot.
    Removal = 7,
    /// A message that tells whether messages arrive. Nothing else comes of it.
    Trial = 8,
    /// The alarm that ends a wait.
    Alarm = 9,
}

/// What goes through the kernel with an entry and comes back with its completions: from the top,
/// 8 bits of kind, 24 bits of generation, 32 bits of slot.
pub(super) fn user_data(kind: Kind, key: OperationKey) -> u64 {
    debug_assert!(key.generation < 1 << GENERATION_BITS);
    (kind as u64) << 56 | u64::from(key.generation) << 32 | u64::from(key.index)
}

/// User data that names no slot.
pub(super) fn user_data_of(kind: Kind, index: u32) -> u64 {
    let key = OperationKey { index, generation: 0 };
    user_data(kind, key)
}

/// The reverse of [`user_data`]; `None` if no entry of ours had it.
pub(super) fn parse(user_data: u64) -> Option<(Kind, OperationKey)> {
    let kind = match user_data >> 56 {
        1 => Kind::Operation,
        2 => Kind::Deadline,
        3 => Kind::Cancel,
        4 => Kind::Doorbell,
        5 => Kind::Rung,
        6 => Kind::Eventfd,
        7 => Kind::Removal,
        8 => Kind::Trial,
        9 => Kind::Alarm,
        _ => return None,
    };
    let key = OperationKey {
        index: user_data as u32,
        generation: (user_data >> 32) as u32 & ((1 << GENERATION_BITS) - 1),
    };
    Some((kind, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 9] = [
        Kind::Operation,
        Kind::Deadline,
        Kind::Cancel,
        Kind::Doorbell,
        Kind::Rung,
        Kind::Eventfd,
        Kind::Removal,
        Kind::Trial,
        Kind::Alarm,
    ];

    #[test]
    fn r16_user_data_comes_back_as_it_went() {
        for kind in KINDS {
            for index in [0, 1, 77, u32::MAX] {
                for generation in [0, 1, (1 << GENERATION_BITS) - 1] {
                    let key = OperationKey { index, generation };
                    assert_eq!(parse(user_data(kind, key)), Some((kind, key)));
                }
            }
        }
        assert_eq!(parse(0), None);
        assert_eq!(parse(u64::MAX), None);
    }

    #[test]
    fn generations_wrap_at_24_bits() {
        assert_eq!(next_generation(5), 6);
        assert_eq!(next_generation((1 << 24) - 1), 0);
    }
}
