//! How a ring is started, and why it may not be.

use std::{fmt, io, ops::Range, time::Duration};

use io_uring::IoUring;

use super::{fault::EnterFault, probe};

/// The kernel's limits on the sizes of the queues.
const ENTRIES_MAX: u32 = 32 * 1024;
/// A pair of linked entries must fit.
const ENTRIES_MIN: u32 = 2;

/// The sizes of a ring, and what helps to debug it.
#[derive(Clone, Debug)]
pub struct RingConfig {
    /// Entries of the submission queue: operations that go to the kernel with one system call. Rounded
    /// up to a power of two, within 2 and 32768.
    pub entries: u32,
    /// Entries of the completion queue; at least as many as of the submission queue. What does not fit
    /// waits in the kernel, at some cost.
    pub cq_entries: u32,
    /// For finding wake-ups that are lost: how long a worker that parks stays parked at most. Then it
    /// looks once more for what it may have missed, and
    /// [`DriverCounters::fuses`](crate::driver::DriverCounters::fuses) counts it. Where something always
    /// wakes the worker in time, as in a test, that stays zero.
    ///
    /// By default `None`: an idle worker sleeps until there is something to do.
    pub park_fuse: Option<Duration>,
    /// Fails the setup with this error number, to see what a program does then.
    #[doc(hidden)]
    pub fail_setup: Option<i32>,
    /// Does as if the kernel had no MSG_RING without a ring.
    #[doc(hidden)]
    pub force_eventfd: bool,
    /// Lets these system calls of the ring go wrong, counted from zero, to see what the driver does then.
    #[doc(hidden)]
    pub enter_faults: Vec<(Range<u64>, EnterFault)>,
}

impl Default for RingConfig {
    fn default() -> Self {
        RingConfig {
            entries: 256,
            cq_entries: 4096,
            park_fuse: None,
            fail_setup: None,
            force_eventfd: false,
            enter_faults: Vec::new(),
        }
    }
}

impl RingConfig {
    /// Entries of the two queues, as the kernel takes them.
    fn sizes(&self) -> (u32, u32) {
        let entries = self.entries.clamp(ENTRIES_MIN, ENTRIES_MAX).next_power_of_two();
        let cq_entries = self.cq_entries.clamp(entries, 2 * ENTRIES_MAX);
        (entries, cq_entries.next_power_of_two())
    }

    /// Bytes of memory that the kernel locks for a ring of these sizes.
    fn locked_bytes(&self) -> u64 {
        const PAGE: u64 = 4096;
        const SQE: u64 = 64;
        const CQE: u64 = 16;
        // Heads, tails and flags of both queues.
        const HEADER: u64 = 320;
        let (entries, cq_entries) = self.sizes();
        let queues = HEADER + u64::from(cq_entries) * CQE;
        (u64::from(entries) * SQE).next_multiple_of(PAGE) + queues.next_multiple_of(PAGE)
    }
}

/// Why a ring could not be started. Nothing is left behind.
#[derive(Debug)]
pub enum StartError {
    /// The kernel lets nobody, or not this process, use io_uring.
    Blocked {
        /// `EPERM`, `EACCES` or `ENOSYS`.
        errno: i32,
        /// The sysctl `kernel.io_uring_disabled`, if it can be read: 0 lets everybody, 1 a group, 2
        /// nobody.
        sysctl: Option<u8>,
    },
    /// The memory that the user may lock is used up.
    LockedMemory {
        /// `RLIMIT_MEMLOCK`, in bytes.
        limit: u64,
        /// What this ring takes of it, in bytes.
        needed: u64,
    },
    /// The process has as many descriptors open as it may.
    Descriptors {
        /// `RLIMIT_NOFILE`.
        limit: u64,
    },
    /// The system has as many files open as it may.
    SystemFiles,
    /// The kernel is too old.
    Missing {
        /// What it does not have.
        feature: &'static str,
        /// The kernel that has it.
        since: &'static str,
    },
    /// Something else.
    Other(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Blocked { sysctl: Some(value @ 1..), .. } => write!(
                f,
                "io_uring is switched off here: kernel.io_uring_disabled is {value}; \
                 set it to 0 with `sysctl kernel.io_uring_disabled=0`"
            ),
            StartError::Blocked { errno, .. } => write!(
                f,
                "io_uring is blocked here ({}): most likely a seccomp profile, as of a container \
                 runtime; allow io_uring_setup, io_uring_enter and io_uring_register in it",
                io::Error::from_raw_os_error(*errno)
            ),
            StartError::LockedMemory { limit, needed } => write!(
                f,
                "no memory for a ring: RLIMIT_MEMLOCK is {limit} bytes for all rings of this user, \
                 and this one takes {needed}; raise it with `ulimit -l` or LimitMEMLOCK="
            ),
            StartError::Descriptors { limit } => write!(
                f,
                "no descriptor for a ring: RLIMIT_NOFILE is {limit}; raise it with `ulimit -n` or \
                 LimitNOFILE="
            ),
            StartError::SystemFiles => write!(
                f,
                "no file for a ring: the system has no more; raise the sysctl fs.file-max"
            ),
            StartError::Missing { feature, since } => {
                write!(f, "the kernel is too old: {feature} needs Linux {since} or later")
            }
            StartError::Other(error) => write!(f, "cannot set up a ring: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Other(error) => Some(error),
            _ => None,
        }
    }
}

/// What a failed setup is judged by.
#[derive(Clone, Copy, Debug)]
struct Limits {
    memlock: u64,
    memlock_needed: u64,
    nofile: u64,
    sysctl: Option<u8>,
}

impl Limits {
    fn read(config: &RingConfig) -> Self {
        Limits {
            memlock: rlimit(libc::RLIMIT_MEMLOCK),
            memlock_needed: config.locked_bytes(),
            nofile: rlimit(libc::RLIMIT_NOFILE),
            sysctl: std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
                .ok()
                .and_then(|text| text.trim().parse().ok()),
        }
    }
}

fn rlimit(resource: libc::__rlimit_resource_t) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for one rlimit. If the call fails, it stays zero.
    unsafe { libc::getrlimit(resource, &raw mut limit) };
    limit.rlim_cur
}

/// Why setting up a ring gave this error number.
fn start_error(errno: i32, limits: Limits) -> StartError {
    match errno {
        libc::EPERM | libc::EACCES | libc::ENOSYS => {
            StartError::Blocked { errno, sysctl: limits.sysctl }
        }
        libc::ENOMEM => {
            StartError::LockedMemory { limit: limits.memlock, needed: limits.memlock_needed }
        }
        libc::EMFILE => StartError::Descriptors { limit: limits.nofile },
        libc::ENFILE => StartError::SystemFiles,
        // The sizes are within bounds, so it is one of the flags that the kernel does not know.
        libc::EINVAL => StartError::Missing { feature: "IORING_SETUP_DEFER_TASKRUN", since: "6.1" },
        errno => StartError::Other(io::Error::from_raw_os_error(errno)),
    }
}

/// As [`start_error`], for whatever failed while a ring was set up.
pub(super) fn explain(error: io::Error, config: &RingConfig) -> StartError {
    match error.raw_os_error() {
        Some(errno) => start_error(errno, Limits::read(config)),
        None => StartError::Other(error),
    }
}

/// A ring with all that the driver needs.
pub(super) fn start(config: &RingConfig) -> Result<IoUring, StartError> {
    let ring = match config.fail_setup {
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        None => build(config),
    };
    let ring = ring.map_err(|error| explain(error, config))?;
    probe::require(&ring)?;
    Ok(ring)
}

fn build(config: &RingConfig) -> io::Result<IoUring> {
    match build_with(config, true) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => build_with(config, false),
        result => result,
    }
}

/// The flag NO_SQARRAY is younger than the oldest kernel that will do.
fn build_with(config: &RingConfig, no_sqarray: bool) -> io::Result<IoUring> {
    let (entries, cq_entries) = config.sizes();
    let mut builder = IoUring::builder();
    builder
        .dontfork()
        .setup_clamp()
        .setup_cqsize(cq_entries)
        .setup_submit_all()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag();
    if no_sqarray {
        builder.setup_no_sqarray();
    }
    builder.build(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { memlock: 65536, memlock_needed: 86016, nofile: 64, sysctl: Some(0) };

    fn text(errno: i32, limits: Limits) -> String {
        start_error(errno, limits).to_string()
    }

    #[test]
    fn r02_what_blocks_io_uring_is_named() {
        let disabled = Limits { sysctl: Some(2), ..LIMITS };
        assert!(text(libc::EPERM, disabled).contains("kernel.io_uring_disabled is 2"));
        for errno in [libc::EPERM, libc::ENOSYS] {
            assert!(text(errno, LIMITS).contains("seccomp"));
            let unknown = Limits { sysctl: None, ..LIMITS };
            assert!(text(errno, unknown).contains("seccomp"));
        }
    }

    #[test]
    fn r24_a_limit_on_locked_memory_is_named_with_what_is_needed() {
        let text = text(libc::ENOMEM, LIMITS);
        assert!(text.contains("65536") && text.contains("86016"), "{text}");
    }

    #[test]
    fn too_few_descriptors_are_named() {
        assert!(text(libc::EMFILE, LIMITS).contains("RLIMIT_NOFILE is 64"));
        assert!(text(libc::ENFILE, LIMITS).contains("fs.file-max"));
    }

    #[test]
    fn r02_an_old_kernel_is_told_what_it_lacks() {
        let text = text(libc::EINVAL, LIMITS);
        assert!(text.contains("DEFER_TASKRUN") && text.contains("6.1"));
    }

    #[test]
    fn every_start_error_is_one_line() {
        for errno in 1..134 {
            assert!(!text(errno, LIMITS).contains('\n'));
        }
    }

    #[test]
    fn r01_a_kernel_without_the_youngest_flag_will_do() {
        let ring = build_with(&RingConfig::default(), false).unwrap();
        probe::require(&ring).unwrap();
    }

    #[test]
    fn r01_every_depth_can_be_had() {
        for depth in 0..=15 {
            let config = RingConfig { entries: 1 << depth, ..RingConfig::default() };
            let ring = start(&config).unwrap();
            assert_eq!(ring.params().sq_entries(), config.sizes().0);
        }
    }

    #[test]
    fn sizes_are_brought_within_bounds() {
        let sizes = |entries, cq_entries| {
            RingConfig { entries, cq_entries, ..RingConfig::default() }.sizes()
        };
        assert_eq!(sizes(0, 0), (2, 2));
        assert_eq!(sizes(5, 1), (8, 8));
        assert_eq!(sizes(u32::MAX, u32::MAX), (32768, 65536));
        assert_eq!(RingConfig::default().locked_bytes(), 16384 + 69632);
    }
}
