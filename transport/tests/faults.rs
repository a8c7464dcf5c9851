//! A kernel that is short of memory, is interrupted, or loses completions.

mod common;

use std::{
    io::{ErrorKind, Read as _},
    ops::Range,
    time::Duration,
};

use annulus_transport::{
    driver::{Cause, Fill, Operation, Output, Wait},
    io::Io,
    ring::{EnterFault, RingConfig},
};
use common::*;

fn io_failing(calls: Range<u64>, fault: EnterFault, entries: u32) -> Io {
    io_with(&RingConfig { entries, enter_faults: vec![(calls, fault)], ..RingConfig::default() })
}

/// Sends and receives over many sockets. Each byte must arrive once, and each operation end once.
fn everything_happens_once(io: &Io) {
    const SOCKETS: u32 = 20;
    let mut sockets: Vec<_> = (0..SOCKETS).map(|_| (half(io), half(io))).collect();
    let sends = sockets.iter().enumerate().map(|(number, ((stream, _), _))| {
        let bytes = (number as u32).to_le_bytes().to_vec();
        async move { stream.send_bytes(bytes).await.unwrap() }
    });
    let receives = sockets.iter().map(|(_, (stream, _))| async move {
        stream.read_some(Vec::with_capacity(8)).await.unwrap().0
    });
    let incoming = async {
        for (number, (_, (_, other))) in sockets.iter().enumerate() {
            let bytes = (number as u32).to_le_bytes();
            std::io::Write::write_all(&mut &*other, &bytes).unwrap();
        }
    };
    let (sent, (received, ())) =
        block_on(io, join(join_all(sends), join(join_all(receives), incoming)));
    assert_eq!(sent, [4; SOCKETS as usize]);
    for (number, bytes) in received.into_iter().enumerate() {
        assert_eq!(bytes, (number as u32).to_le_bytes());
    }
    for (number, ((_, other), _)) in sockets.iter_mut().enumerate() {
        other.set_nonblocking(true).unwrap();
        let mut bytes = [0; 8];
        assert_eq!(other.read(&mut bytes).unwrap(), 4, "sent once");
        assert_eq!(bytes[..4], (number as u32).to_le_bytes());
        assert_eq!(other.read(&mut bytes).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    assert_eq!(io.in_flight(), 0);
    assert_eq!(io.counters().operations, 2 * u64::from(SOCKETS));
    assert_eq!(io.counters().strays, 0);
}

#[test]
fn r07_a_call_that_fails_loses_nothing_and_does_nothing_twice() {
    for errno in [libc::EAGAIN, libc::EBUSY, libc::EINTR, libc::ENOMEM] {
        for fault in [EnterFault::Refuse(errno), EnterFault::Deny(errno)] {
            for calls in [0..1, 1..2, 0..40] {
                for entries in [4, 256] {
                    everything_happens_once(&io_failing(calls.clone(), fault, entries));
                }
            }
        }
    }
}

#[test]
fn r07_a_short_submission_loses_nothing_and_does_nothing_twice() {
    for most in [1, 3, 19] {
        for calls in [0..1, 1..2, 0..1000] {
            for entries in [4, 256] {
                everything_happens_once(&io_failing(
                    calls.clone(),
                    EnterFault::Short(most),
                    entries,
                ));
            }
        }
    }
}

#[test]
fn r08_an_operation_whose_timeout_is_cut_off_says_what_was_short() {
    // The kernel takes the operation, then has no memory for the timeout that is linked to it.
    let io = io_failing(0..1, EnterFault::Short(1), 256);
    let (stream, _other) = half(&io);
    let receive = || Operation::Receive {
        socket: stream.descriptor().clone(),
        into: Fill::Bytes(Vec::with_capacity(8)),
    };
    let error = block_on(&io, io.run(receive(), Some(PATIENCE * 3))).unwrap_err();
    assert_eq!(error.cause, Cause::Os(libc::ENOMEM));
    // The next one has its deadline again.
    let error = block_on(&io, io.run(receive(), Some(Duration::from_millis(5)))).unwrap_err();
    assert_eq!(error.cause, Cause::TimedOut);
    assert_eq!((io.in_flight(), io.counters().strays), (0, 0));
}

#[test]
fn r07_interruptions_neither_end_a_wait_nor_prolong_it() {
    let io = io_failing(0..500, EnterFault::Refuse(libc::EINTR), 256);
    let soon = io.now().after(Duration::from_millis(50));
    io.enter(Wait::Until(Some(soon)), &mut Vec::new()).unwrap();
    assert!(io.now() >= soon);
    assert!(io.counters().enters > 500);
}

#[test]
fn r06_completions_that_the_kernel_dropped_are_a_fault_of_the_driver() {
    let pool = pool();
    for (calls, fault) in
        [(0..1, EnterFault::Refuse(libc::EBADR)), (1..2, EnterFault::Deny(libc::EBADR))]
    {
        let io = io_failing(calls, fault, 256);
        let (stream, _other) = half(&io);
        let pending = io.run(
            Operation::Receive {
                socket: stream.descriptor().clone(),
                into: Fill::Chunk(pool.acquire().unwrap()),
            },
            None,
        );
        let soon = io.now().after(Duration::from_millis(5));
        let enter = || io.enter(Wait::Until(Some(soon)), &mut Vec::new());
        let error = loop {
            if let Err(error) = enter() {
                break error;
            }
        };
        assert_eq!(error.source.raw_os_error(), Some(libc::EBADR));
        // Nobody knows what is in flight: it stays so, and no memory is ever freed.
        enter().unwrap_err();
        assert_eq!(io.quiesce(Duration::from_millis(5)).unwrap_err().operations, 1);
        drop((pending, stream, io));
    }
    assert_eq!(pool.bytes_lent(), 2 * 64 * 1024);
}

#[test]
fn r06_a_driver_that_lost_completions_lets_nobody_wait() {
    let io = io_failing(0..1, EnterFault::Deny(libc::EBADR), 256);
    let read = Operation::Read {
        file: descriptor(std::fs::OpenOptions::new().read(true).open("/dev/zero").unwrap()),
        into: Fill::Bytes(Vec::with_capacity(8)),
        len: 8,
        offset: 0,
    };
    let mut read = Box::pin(io.run(read, None));
    io.enter(Wait::Until(None), &mut Vec::new()).unwrap_err();
    let enters = io.counters().enters;
    io.enter(Wait::Until(None), &mut Vec::new()).unwrap_err();
    assert_eq!(io.counters().enters, enters, "the kernel is not even asked");
    // What has come in counts all the same.
    match poll_once(read.as_mut()) {
        std::task::Poll::Ready(Ok(Output::Read { bytes: 8, .. })) => {}
        other => panic!("{other:?}"),
    }
}
