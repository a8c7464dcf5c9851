//! What the driver needs of the kernel, what it uses if it is there, and what there is.
//!
//! Nothing here looks at the kernel's version: distributions move features both ways.

use std::io;

use io_uring::{IoUring, Probe, opcode};

use super::{
    doorbell,
    start::{RingConfig, StartError, explain},
};

/// One thing that the driver uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name in the kernel.
    pub feature: &'static str,
    /// The first kernel that has it.
    pub since: &'static str,
    /// Whether the driver cannot do without.
    pub required: bool,
    /// Whether this kernel has it.
    pub there: bool,
}

/// The operations: name, first kernel, number.
const OPERATIONS: [(&str, &str, u8); 19] = [
    ("IORING_OP_WRITEV", "5.1", opcode::Writev::CODE),
    ("IORING_OP_FSYNC", "5.1", opcode::Fsync::CODE),
    ("IORING_OP_POLL_ADD", "5.1", opcode::PollAdd::CODE),
    ("IORING_OP_SENDMSG", "5.3", opcode::SendMsg::CODE),
    ("IORING_OP_RECVMSG", "5.3", opcode::RecvMsg::CODE),
    ("IORING_OP_TIMEOUT", "5.4", opcode::Timeout::CODE),
    ("IORING_OP_ACCEPT", "5.5", opcode::AcceptMulti::CODE),
    ("IORING_OP_TIMEOUT_REMOVE", "5.5", opcode::TimeoutRemove::CODE),
    ("IORING_OP_ASYNC_CANCEL", "5.5", opcode::AsyncCancel::CODE),
    ("IORING_OP_LINK_TIMEOUT", "5.5", opcode::LinkTimeout::CODE),
    ("IORING_OP_CONNECT", "5.5", opcode::Connect::CODE),
    ("IORING_OP_OPENAT", "5.6", opcode::OpenAt::CODE),
    ("IORING_OP_STATX", "5.6", opcode::Statx::CODE),
    ("IORING_OP_READ", "5.6", opcode::Read::CODE),
    ("IORING_OP_WRITE", "5.6", opcode::Write::CODE),
    ("IORING_OP_SEND", "5.6", opcode::Send::CODE),
    ("IORING_OP_RECV", "5.6", opcode::Recv::CODE),
    ("IORING_OP_SHUTDOWN", "5.11", opcode::Shutdown::CODE),
    ("IORING_OP_MSG_RING", "5.18", opcode::MsgRingData::CODE),
];

/// Everything that the driver uses of io_uring, and whether this kernel has it.
///
/// # Errors
/// If there can be no ring at all here.
pub fn table() -> Result<Vec<Row>, StartError> {
    let mut plain = IoUring::new(2).map_err(|error| explain(error, &RingConfig::default()))?;
    let mut rows = setup_flags();
    rows.extend(features(&plain));
    rows.extend(operations(&plain)?);
    let without_ring = doorbell::can_send_without_ring(&mut plain);
    rows.push(row("IORING_REGISTER_SEND_MSG_RING", "6.13", false, without_ring));
    Ok(rows)
}

/// Checks a ring that has been set up with all flags.
pub(super) fn require(ring: &IoUring) -> Result<(), StartError> {
    let missing =
        features(ring).into_iter().chain(operations(ring)?).find(|row| row.required && !row.there);
    match missing {
        Some(Row { feature, since, .. }) => Err(StartError::Missing { feature, since }),
        None => Ok(()),
    }
}

fn row(feature: &'static str, since: &'static str, required: bool, there: bool) -> Row {
    Row { feature, since, required, there }
}

/// Tries each flag with a small ring.
fn setup_flags() -> Vec<Row> {
    let accepts = |set: fn(&mut io_uring::Builder)| {
        let mut builder = IoUring::builder();
        set(&mut builder);
        builder.build(2).is_ok()
    };
    let cqsize = accepts(|ring| {
        ring.setup_cqsize(4);
    });
    let clamp = accepts(|ring| {
        ring.setup_clamp();
    });
    let submit_all = accepts(|ring| {
        ring.setup_submit_all();
    });
    let taskrun = accepts(|ring| {
        ring.setup_coop_taskrun().setup_taskrun_flag();
    });
    let single = accepts(|ring| {
        ring.setup_single_issuer();
    });
    let defer = accepts(|ring| {
        ring.setup_single_issuer().setup_defer_taskrun();
    });
    let no_sqarray = accepts(|ring| {
        ring.setup_no_sqarray();
    });
    vec![
        row("IORING_SETUP_CQSIZE", "5.5", true, cqsize),
        row("IORING_SETUP_CLAMP", "5.6", true, clamp),
        row("IORING_SETUP_SUBMIT_ALL", "5.18", true, submit_all),
        row("IORING_SETUP_TASKRUN_FLAG", "5.19", true, taskrun),
        row("IORING_SETUP_SINGLE_ISSUER", "6.0", true, single),
        row("IORING_SETUP_DEFER_TASKRUN", "6.1", true, defer),
        row("IORING_SETUP_NO_SQARRAY", "6.6", false, no_sqarray),
    ]
}

fn features(ring: &IoUring) -> Vec<Row> {
    let has = ring.params();
    vec![
        row("IORING_FEAT_NODROP", "5.5", true, has.is_feature_nodrop()),
        row("IORING_FEAT_EXT_ARG", "5.11", true, has.is_feature_ext_arg()),
        row("IORING_FEAT_CQE_SKIP", "5.17", true, has.is_feature_skip_cqe_on_success()),
        row("IORING_FEAT_NO_IOWAIT", "6.15", false, has.is_feature_no_iowait()),
        row("IORING_REGISTER_SYNC_CANCEL", "6.0", true, has_sync_cancel(ring)),
    ]
}

/// Cancels nothing, as nothing is in flight yet: `ENOENT` then.
fn has_sync_cancel(ring: &IoUring) -> bool {
    let nothing = io_uring::types::CancelBuilder::any();
    let timeout = Some(io_uring::types::Timespec::new());
    match ring.submitter().register_sync_cancel(timeout, nothing) {
        Ok(()) => true,
        Err(error) => error.raw_os_error() != Some(libc::EINVAL),
    }
}

fn operations(ring: &IoUring) -> Result<Vec<Row>, StartError> {
    let mut probe = Probe::new();
    match ring.submitter().register_probe(&mut probe) {
        Ok(()) => Ok(rows_of(|code| probe.is_supported(code))),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            Err(StartError::Missing { feature: "IORING_REGISTER_PROBE", since: "5.6" })
        }
        Err(error) => Err(explain(error, &RingConfig::default())),
    }
}

fn rows_of(there: impl Fn(u8) -> bool) -> Vec<Row> {
    OPERATIONS
        .iter()
        .map(|&(feature, since, code)| row(feature, since, true, there(code)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r02_every_row_names_a_feature_and_a_kernel() {
        let rows = table().unwrap();
        assert!(rows.len() > 25);
        for row in &rows {
            assert!(row.feature.starts_with("IORING_"));
            assert!(row.since.split_once('.').is_some());
            assert!(row.there || !row.required, "this kernel lacks {row:?}");
        }
    }

    #[test]
    fn r02_a_missing_operation_shows() {
        let rows = rows_of(|code| code != opcode::MsgRingData::CODE);
        let missing: Vec<_> = rows.iter().filter(|row| !row.there).collect();
        assert_eq!(missing.len(), 1);
        assert_eq!((missing[0].feature, missing[0].since), ("IORING_OP_MSG_RING", "5.18"));
    }
}
