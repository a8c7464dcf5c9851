//! Faults of io_uring_enter(2), for tests to order: a kernel that is short of memory is hard to come by.

use std::ops::Range;

/// What goes wrong with a system call.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnterFault {
    /// The kernel does nothing and says this error number.
    Refuse(i32),
    /// The kernel does what it was asked, and says this error number then.
    Deny(i32),
    /// The kernel takes this many entries at most; and it does not wait if there were more.
    Short(u32),
}

/// Calls that go wrong, counted from zero, and how.
pub(super) type EnterFaults = Vec<(Range<u64>, EnterFault)>;

/// What goes wrong with this call.
pub(super) fn of(faults: &EnterFaults, call: u64) -> Option<EnterFault> {
    faults.iter().find(|(calls, _)| calls.contains(&call)).map(|(_, fault)| *fault)
}
