//! Bytes that are changed on their way, and pass for what was sent.

use crate::world::Scope;

/// The longest run of bytes that is changed.
const RUN: u64 = 64;

/// Changes some of what is under way, now and then.
pub(super) fn strike(scope: &mut Scope<'_>, bytes: &mut [u8]) {
    if bytes.is_empty() || !scope.chance(|faults| faults.corrupt, "bytes were corrupted") {
        return;
    }
    let at = scope.between(0, bytes.len() as u64 - 1) as usize;
    if scope.between(0, 1) == 0 {
        bytes[at] ^= 1 << scope.between(0, 7);
        return;
    }
    let run = scope.between(1, RUN) as usize;
    for byte in bytes.iter_mut().skip(at).take(run) {
        *byte = scope.between(0, 255) as u8;
    }
}
