//! The kernel's clocks and random numbers. This is the one place that asks for them.

use std::{fs, path::Path, sync::OnceLock, time::Duration};

use io_uring::types::{TimeoutFlags, Timespec};

use crate::driver::Mono;

/// Nanoseconds of a second.
const NANOS: u64 = 1_000_000_000;

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for one timespec.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(result, 0, "both clocks exist on every kernel");
    time
}

/// `CLOCK_MONOTONIC`: also the clock of the ring's timeouts, unless it [is shifted](is_shifted).
pub(super) fn now() -> Mono {
    let time = read(libc::CLOCK_MONOTONIC);
    Mono(time.tv_sec as u64 * NANOS + time.tv_nsec as u64)
}

/// A time of [`now`]'s clock, as the kernel takes it.
pub(super) fn timespec(time: Mono) -> Timespec {
    Timespec::new().sec(time.0 / NANOS).nsec((time.0 % NANOS) as u32)
}

/// When a timeout is to fire, as the kernel takes it, and how that is to be read. Where it is a time from now, it is
/// for as much later as passes until the kernel has it.
pub(super) fn timeout(at: Mono) -> (Timespec, TimeoutFlags) {
    if is_shifted() {
        (Timespec::from(at.since(now())), TimeoutFlags::empty())
    } else {
        (timespec(at), TimeoutFlags::ABS)
    }
}

/// Whether [`now`]'s clock is not the kernel's own, because the process is in a time namespace. The kernel takes
/// times for those of its own clock then, but for how long something lasts that is the same.
pub(super) fn is_shifted() -> bool {
    // A process with threads stays in its namespace.
    static IS_SHIFTED: OnceLock<bool> = OnceLock::new();
    *IS_SHIFTED.get_or_init(|| match fs::read_to_string("/proc/self/timens_offsets") {
        Ok(offsets) => offsets.lines().any(is_shift),
        // Kernels without time namespaces do not have it. Without /proc nobody can tell.
        Err(_) => !Path::new("/proc/self/stat").exists(),
    })
}

/// Whether this line of the offsets, name, seconds and nanoseconds, shifts the monotonic clock.
fn is_shift(line: &str) -> bool {
    let mut fields = line.split_whitespace();
    fields.next() == Some("monotonic") && fields.any(|number| number != "0")
}

/// `CLOCK_REALTIME`.
pub(super) fn wall() -> Duration {
    let time = read(libc::CLOCK_REALTIME);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Blocks the thread. Only for when the kernel has no memory left, and nothing else would help.
pub(super) fn pause(time: Duration) {
    let time = libc::timespec {
        tv_sec: time.as_secs() as libc::time_t,
        tv_nsec: time.subsec_nanos().into(),
    };
    // SAFETY: a valid timespec; what is left after a signal is not asked for.
    unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) };
}

/// Fills `out` by getrandom(2).
///
/// # Panics
/// If the kernel has no random numbers to give. Everything built on names that nobody can guess would
/// be unsafe then.
pub(super) fn entropy(out: &mut [u8]) {
    let mut filled = 0;
    while filled < out.len() {
        let rest = &mut out[filled..];
        // SAFETY: the pointer and the length are those of a slice borrowed mutably.
        let count = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        if count >= 0 {
            filled += count as usize;
            continue;
        }
        let error = std::io::Error::last_os_error();
        let interrupted = error.kind() == std::io::ErrorKind::Interrupted;
        assert!(interrupted, "getrandom: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shifted_clock_is_known_by_its_offsets() {
        assert!(!is_shift("monotonic           0         0"));
        assert!(!is_shift("boottime      -86400         0"));
        assert!(is_shift("monotonic      86400         0"));
        assert!(is_shift("monotonic          0         5"));
    }

    #[test]
    fn the_monotonic_clock_never_goes_back() {
        let mut last = now();
        for _ in 0..1000 {
            let next = now();
            assert!(next >= last);
            last = next;
        }
    }

    #[test]
    fn entropy_fills_everything_and_differs() {
        let (mut one, mut other) = ([0; 600], [0; 600]);
        entropy(&mut one);
        entropy(&mut other);
        assert_ne!(one, other);
        assert!(one[560..].iter().any(|byte| *byte != 0));
    }
}
