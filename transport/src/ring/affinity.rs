//! Which core a thread runs on.

use std::io;

/// Makes the calling thread run on one core only.
///
/// # Errors
/// As sched_setaffinity(2): `EINVAL` if there is no such core, or it is not allowed.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: all bits zero are a valid, empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the core's number is below the set's size, as was just checked.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the set is valid for reading and its size is given.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
