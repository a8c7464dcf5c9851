//! A stable 64-bit hash that also runs at compile time, for identities that go over the wire.

/// FNV-1a with a final mix. Identities must be the same in every build and on every machine, so this
/// is written down here for good instead of being left to a library that may change.
pub const fn hash64(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        index += 1;
    }
    mix64(hash)
}

/// Joins two hashes; the order counts.
pub const fn join64(left: u64, right: u64) -> u64 {
    mix64(left.rotate_left(23) ^ right.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The finaliser of SplitMix64: every input bit reaches every output bit.
pub const fn mix64(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// The upper half folded onto the lower one, never zero.
pub const fn fold32(hash: u64) -> u32 {
    let folded = (hash ^ (hash >> 32)) as u32;
    if folded == 0 { 1 } else { folded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_values_never_change() {
        assert_eq!(hash64(b""), 0xf52a_15e9_a9b5_e89b);
        assert_eq!(hash64(b"annulus"), hash64(b"annulus"));
        assert_ne!(join64(1, 2), join64(2, 1));
        assert_eq!(fold32(0x0000_0001_0000_0001), 1);
    }
}
