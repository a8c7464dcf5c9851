//! The ring driver by itself: queues, deadlines, cancels, the end.

mod common;

use std::{
    cell::RefCell,
    future::Future as _,
    io::Write as _,
    pin::pin,
    process::{Command, Stdio},
    sync::Arc,
    task::Waker,
    time::Duration,
};

use annulus_transport::{
    driver::{Cause, Driver, Fill, Operation, Output, Wait},
    io::{Io, Pending},
    ring::{RingConfig, RingDriver, StartError, probe},
};
use common::*;

fn read_zeros(io: &Io, bytes: usize, deadline: Option<Duration>) -> Pending {
    let zeros = std::fs::OpenOptions::new().read(true).open("/dev/zero");
    let read = Operation::Read {
        file: descriptor(zeros.unwrap()),
        into: Fill::Bytes(Vec::with_capacity(bytes)),
        len: bytes,
        offset: 0,
    };
    io.run(read, deadline)
}

/// Who opens it to read waits for a writer that never comes. With O_CREAT the kernel does so on a thread of its own.
fn fifo(dir: &Dir) -> std::ffi::CString {
    let path = std::ffi::CString::new(dir.path("fifo").into_os_string().into_encoded_bytes());
    let path = path.unwrap();
    // SAFETY: a path that ends with a zero.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    path
}

fn receive(io: &Io, stream: &annulus_transport::stream::Stream, deadline: Duration) -> Pending {
    let receive = Operation::Receive {
        socket: stream.descriptor().clone(),
        into: Fill::Bytes(Vec::with_capacity(64)),
    };
    io.run(receive, Some(deadline))
}

#[test]
fn r02_the_probe_names_what_is_used_and_all_of_it_is_here() {
    let rows = probe::table().unwrap();
    let row = |name: &str| rows.iter().find(|row| row.feature == name).copied();
    assert_eq!(row("IORING_SETUP_DEFER_TASKRUN").unwrap().since, "6.1");
    assert!(row("IORING_OP_MSG_RING").unwrap().there);
    assert!(!row("IORING_REGISTER_SEND_MSG_RING").unwrap().required);
}

#[test]
fn r02_a_setup_that_is_blocked_says_so() {
    let config = RingConfig { fail_setup: Some(libc::EPERM), ..RingConfig::default() };
    let error = RingDriver::new(&config).unwrap_err();
    assert!(matches!(error, StartError::Blocked { errno: libc::EPERM, .. }));
}

#[test]
fn r05_sq_full_is_invisible() {
    let io = io_sized(4, 16);
    let outcomes = block_on(&io, join_all((0..10_000).map(|_| read_zeros(&io, 8, None))));
    assert_eq!(outcomes.len(), 10_000);
    for outcome in outcomes {
        assert!(matches!(outcome, Ok(Output::Read { bytes: 8, .. })));
    }
    assert_eq!(io.in_flight(), 0);
    assert_eq!(io.counters().strays, 0);
}

#[test]
fn r05_linked_pairs_are_never_cut_by_a_full_queue() {
    for entries in [2, 4, 8] {
        let io = io_sized(entries, 16);
        let (stream, _other) = half(&io);
        // Every operation would wait for ever without its timeout.
        let timeouts = (0..501).map(|_| receive(&io, &stream, Duration::from_millis(20)));
        for outcome in block_on(&io, join_all(timeouts)) {
            assert_eq!(outcome.unwrap_err().cause, Cause::TimedOut);
        }
        assert_eq!(io.in_flight(), 0);
    }
}

#[test]
fn r06_cq_overflow_loses_nothing() {
    let io = io_sized(4, 4);
    let (one, other) = pair(&io);
    for _ in 0..3 {
        let receives: Vec<_> =
            (0..200).map(|_| receive(&io, &one, Duration::from_secs(30))).collect();
        io.enter(Wait::No, &mut Vec::new()).unwrap();
        let (sent, received) = block_on(
            &io,
            join(
                async {
                    for _ in 0..200 {
                        other.send_bytes(vec![7; 64]).await.unwrap();
                    }
                },
                join_all(receives),
            ),
        );
        let () = sent;
        let bytes: usize = received
            .into_iter()
            .map(|outcome| match outcome {
                Ok(Output::Received { bytes, .. }) => bytes,
                other => panic!("{other:?}"),
            })
            .sum();
        assert_eq!(bytes, 200 * 64);
        assert_eq!(io.in_flight(), 0);
    }
}

#[test]
fn r07_one_enter_submits_and_waits() {
    let io = io();
    let before = io.counters().enters;
    let outcomes = block_on(&io, join_all((0..16).map(|_| read_zeros(&io, 8, None))));
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(io.counters().enters - before, 1);

    // Nothing to submit and nothing to take in: no system call.
    io.enter(Wait::No, &mut Vec::new()).unwrap();
    assert_eq!(io.counters().enters - before, 1);
}

#[test]
fn r08_deadline_fires_and_next_operation_is_unaffected() {
    let io = io();
    let (stream, mut other) = half(&io);
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = io.now();
        let outcome = block_on(&io, receive(&io, &stream, Duration::from_millis(50)));
        let took = io.now().since(start);
        assert_eq!(outcome.unwrap_err().cause, Cause::TimedOut);
        assert!(took >= Duration::from_millis(50), "{took:?}");
        best = best.min(took);
    }
    // A busy machine may be late, but not every time.
    assert!(best <= Duration::from_millis(60), "{best:?}");

    let next = receive(&io, &stream, Duration::from_secs(10));
    other.write_all(b"here").unwrap();
    let outcome = block_on(&io, next);
    assert!(matches!(outcome, Ok(Output::Received { bytes: 4, .. })));
    assert_eq!(io.in_flight(), 0);
}

#[test]
fn r08_an_operation_that_ends_in_time_hears_nothing_of_its_deadline() {
    let io = io();
    for _ in 0..1000 {
        let outcome = block_on(&io, read_zeros(&io, 8, Some(Duration::from_secs(60))));
        assert!(matches!(outcome, Ok(Output::Read { bytes: 8, .. })));
    }
    assert_eq!(io.in_flight(), 0);
}

/// Run again by the test below, in a time namespace.
#[test]
fn r08_times_are_kept_to() {
    let io = io();
    let wait = Duration::from_millis(50);
    let (stream, _other) = half(&io);
    let begin = io.now();
    let outcome = block_on(&io, receive(&io, &stream, wait));
    assert_eq!(outcome.unwrap_err().cause, Cause::TimedOut);
    assert!(io.now().since(begin) >= wait, "a deadline");

    let dir = Dir::new("r08-fifo");
    let open = Operation::Open { path: fifo(&dir), flags: libc::O_RDONLY | libc::O_CREAT, mode: 0 };
    let begin = io.now();
    let outcome = block_on(&io, io.run(open, Some(wait)));
    assert_eq!(outcome.unwrap_err().cause, Cause::TimedOut);
    assert!(io.now().since(begin) >= wait, "a deadline of what a thread of the kernel does");

    // The second wait begins where another one was interrupted.
    for interrupted in [true, false] {
        let reads = interrupted.then(|| read_zeros(&io, 8, None));
        let until = io.now().after(wait);
        io.enter(Wait::Until(Some(until)), &mut Vec::new()).unwrap();
        assert!(interrupted || io.now() >= until, "a wait");
        drop(reads);
    }
}

/// What runs a command in a time namespace: as it is, or as its own root.
fn unshare(as_root: bool, seconds: &str) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(if as_root { ["--user", "--map-root-user"].as_slice() } else { &[] });
    unshare.args(["--time", "--fork", "--kill-child", "--monotonic", seconds, "--"]);
    unshare
}

/// Whether such a command can be run here.
fn may_unshare(as_root: bool, seconds: &str) -> bool {
    let tried = unshare(as_root, seconds).arg("true").output();
    let may = tried.as_ref().is_ok_and(|output| output.status.success());
    if !may {
        eprintln!("no time namespace that is {seconds} s away can be made here: {tried:?}");
    }
    may
}

#[test]
fn r08_times_are_kept_to_in_a_time_namespace() {
    // A clock that is behind the kernel's own, and one that is ahead.
    for seconds in ["-10", "1000"] {
        let Some(as_root) = [false, true].into_iter().find(|how| may_unshare(*how, seconds)) else {
            eprintln!("skipped");
            continue;
        };
        let mut test = unshare(as_root, seconds);
        test.arg(std::env::current_exe().unwrap()).args(["--exact", "r08_times_are_kept_to"]);
        let mut test = test.stdout(Stdio::piped()).spawn().unwrap();
        let io = io();
        let late = io.now().after(PATIENCE);
        while test.try_wait().unwrap().is_none() && io.now() < late {
            let pause = io.now().after(Duration::from_millis(5));
            io.enter(Wait::Until(Some(pause)), &mut Vec::new()).unwrap();
        }
        // If it has not ended yet, it fails.
        let _ = test.kill();
        let output = test.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{seconds}: {said}");
    }
}

#[test]
fn r10_stale_key_never_hits_another_operation() {
    let mut driver = RingDriver::new(&RingConfig::default()).unwrap();
    let start = |driver: &mut RingDriver| {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let receive = Operation::Receive {
            socket: descriptor(ours),
            into: Fill::Bytes(Vec::with_capacity(8)),
        };
        (driver.start(receive, None), theirs)
    };
    let (old, _theirs) = start(&mut driver);
    driver.forget(old);
    driver.quiesce(PATIENCE).unwrap();

    let (new, mut theirs) = start(&mut driver);
    assert_eq!(new.index, old.index);
    assert_ne!(new.generation, old.generation);
    driver.forget(old);
    driver.enter(Wait::No, &mut Vec::new()).unwrap();
    assert!(driver.poll(new, Waker::noop()).is_pending());

    theirs.write_all(b"new").unwrap();
    let soon = driver.now().after(PATIENCE);
    driver.enter(Wait::Until(Some(soon)), &mut Vec::new()).unwrap();
    let outcome = driver.poll(new, Waker::noop());
    assert!(matches!(outcome, std::task::Poll::Ready(Ok(Output::Received { bytes: 3, .. }))));
}

#[test]
fn r10_cancel_before_and_after_submission() {
    let io = io();
    let (stream, _other) = half(&io);
    for submitted in [false, true] {
        let forgotten = receive(&io, &stream, Duration::from_secs(60));
        if submitted {
            io.enter(Wait::No, &mut Vec::new()).unwrap();
        }
        drop(forgotten);
        turn_until(&io, || io.in_flight() == 0);
    }
}

#[test]
fn r16_closing_and_opening_the_same_descriptors_misroutes_nothing() {
    let io = io();
    let mut wrong = 0;
    for round in 0..100_000u32 {
        let (stream, mut other) = half(&io);
        // Left in flight while its descriptor's number goes to the next stream.
        drop(receive(&io, &stream, Duration::from_secs(60)));
        let (fresh, mut fresh_other) = half(&io);
        other.write_all(b"old!").unwrap();
        drop((stream, other));
        fresh_other.write_all(&round.to_le_bytes()).unwrap();
        let (bytes, count) = block_on(&io, fresh.read_some(Vec::with_capacity(8))).unwrap();
        wrong += u32::from(count != 4 || bytes != round.to_le_bytes());
    }
    assert_eq!(wrong, 0);
    turn_until(&io, || io.in_flight() == 0);
}

#[test]
fn r71_rapid_create_destroy() {
    for round in 0..50 {
        let io = io();
        if round % 2 == 0 {
            let at = "tcp://127.0.0.1:0".parse().unwrap();
            let mut listener = annulus_transport::stream::Listener::bind(&io, &at).unwrap();
            assert!(poll_once(pin!(listener.accept())).is_pending());
            io.enter(Wait::No, &mut Vec::new()).unwrap();
            drop(io);
            drop(listener);
        }
    }
}

#[test]
fn r72_dropped_future_cancels_before_memory_is_freed() {
    let io = io();
    let pool = pool();
    let (stream, _other) = half(&io);
    let mut receive = Box::pin(stream.receive(pool.acquire().unwrap()));
    assert!(poll_once(receive.as_mut()).is_pending());
    io.enter(Wait::No, &mut Vec::new()).unwrap();
    drop(receive);
    // The kernel has not let go of it yet.
    assert_eq!(pool.bytes_lent(), pool.chunk_size());
    assert_eq!(io.in_flight(), 1);
    turn_until(&io, || io.in_flight() == 0);
    assert_eq!(pool.bytes_lent(), 0);
    assert_eq!(io.counters().strays, 1);
}

#[test]
fn r72_what_blocks_a_thread_of_the_kernel_is_cancelled_too() {
    let dir = Dir::new("r72-fifo");
    let path = fifo(&dir);
    let io = io();
    let open = |deadline| {
        let open =
            Operation::Open { path: path.clone(), flags: libc::O_RDONLY | libc::O_CREAT, mode: 0 };
        io.run(open, deadline)
    };
    let late = block_on(&io, open(Some(Duration::from_millis(20))));
    assert_eq!(late.unwrap_err().cause, Cause::TimedOut);

    let forgotten = open(None);
    io.enter(Wait::No, &mut Vec::new()).unwrap();
    drop(forgotten);
    turn_until(&io, || io.in_flight() == 0);

    let cancelled = open(None);
    io.enter(Wait::No, &mut Vec::new()).unwrap();
    io.quiesce(PATIENCE).unwrap();
    assert_eq!(block_on(&io, cancelled).unwrap_err().cause, Cause::Canceled);
}

#[test]
fn r70_quiesce_leaves_nothing_in_flight() {
    let io = io();
    let at = "tcp://127.0.0.1:0".parse().unwrap();
    let (listening, _) = io.listen(&at, 8).unwrap();
    let mut accepting = io.accept(&listening);
    let mut next = Box::pin(accepting.next());
    assert!(poll_once(next.as_mut()).is_pending());

    let (stream, _other) = half(&io);
    let receives: Vec<_> =
        (0..300).map(|_| receive(&io, &stream, Duration::from_secs(60))).collect();
    assert_eq!(io.in_flight(), 301);
    io.quiesce(PATIENCE).unwrap();
    assert_eq!(io.in_flight(), 0);
    for outcome in block_on(&io, join_all(receives)) {
        assert_eq!(outcome.unwrap_err().cause, Cause::Canceled);
    }
    assert_eq!(block_on(&io, next).unwrap_err().cause, Cause::Canceled);
}

#[test]
fn completions_that_the_kernel_hands_out_piecemeal_all_come_in_one_enter() {
    let io = io();
    let streams: Vec<_> = (0..200).map(|_| half(&io)).collect();
    let receives: Vec<_> =
        streams.iter().map(|(stream, _)| receive(&io, stream, Duration::from_secs(60))).collect();
    io.enter(Wait::No, &mut Vec::new()).unwrap();
    for (_, other) in &streams {
        (&*other).write_all(b"x").unwrap();
    }
    let soon = io.now().after(PATIENCE);
    io.enter(Wait::Until(Some(soon)), &mut Vec::new()).unwrap();
    assert_eq!(io.in_flight(), 0);
    drop(receives);
}

#[test]
fn what_cannot_work_fails_as_a_completion() {
    let io = io();
    let (stream, _other) = half(&io);
    let full = block_on(&io, stream.read_some(Vec::new()));
    assert_eq!(full.unwrap_err().cause, Cause::Os(libc::ENOBUFS));
    let elsewhere = annulus_transport::driver::Detached::Simulated(
        annulus_transport::driver::Simulated::new(1, std::sync::mpsc::channel().0),
    );
    let stream = annulus_transport::stream::Stream::attach(&io, elsewhere);
    let outcome = block_on(&io, stream.shutdown());
    assert_eq!(outcome.unwrap_err().cause, Cause::Os(libc::EBADF));
}

thread_local! {
    static SHARED: RefCell<Option<Io>> = const { RefCell::new(None) };
}

/// Uses the driver when it is dropped, as the last owner of a task can.
struct Busybody;

impl std::task::Wake for Busybody {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Busybody {
    fn drop(&mut self) {
        SHARED.with_borrow(|io| {
            let io = io.as_ref().unwrap();
            let (stream, _other) = half(io);
            drop(receive(io, &stream, Duration::from_secs(1)));
        });
    }
}

#[test]
fn r63_dropping_a_waker_may_use_the_driver() {
    let io = io();
    SHARED.set(Some(io.clone()));
    let (stream, _other) = half(&io);
    let mut pending = Box::pin(receive(&io, &stream, Duration::from_secs(60)));
    for _ in 0..2 {
        let waker = Waker::from(Arc::new(Busybody));
        let mut context = std::task::Context::from_waker(&waker);
        assert!(pending.as_mut().poll(&mut context).is_pending());
    }
    drop(pending);
    turn_until(&io, || io.in_flight() == 0);
    SHARED.set(None);
}

#[test]
fn a_park_that_nothing_ends_is_ended_and_counted_by_the_fuse() {
    let fuse = Duration::from_millis(30);
    let io = io_with(&RingConfig { park_fuse: Some(fuse), ..RingConfig::default() });
    let fuses = |io: &Io| io.counters().fuses;
    for burnt in 1..=3 {
        let before = io.now();
        io.enter(Wait::Until(None), &mut Vec::new()).unwrap();
        assert!(io.now().since(before) >= fuse);
        assert_eq!(fuses(&io), burnt);
    }
    let later = io.now().after(PATIENCE);
    io.enter(Wait::Until(Some(later)), &mut Vec::new()).unwrap();
    assert!(io.now() < later);
    assert_eq!(fuses(&io), 4);
    // What ends earlier by itself is not counted: a time, something to do, no wait at all.
    let soon = io.now().after(Duration::from_millis(1));
    io.enter(Wait::Until(Some(soon)), &mut Vec::new()).unwrap();
    io.enter(Wait::No, &mut Vec::new()).unwrap();
    let outcome = block_on(&io, read_zeros(&io, 8, None));
    assert!(outcome.is_ok());
    io.doorbell().ring();
    io.enter(Wait::Until(None), &mut Vec::new()).unwrap();
    assert_eq!(fuses(&io), 4);
}

#[test]
fn an_idle_worker_sleeps_unless_there_is_a_fuse() {
    let io = io();
    let later = io.now().after(Duration::from_millis(1200));
    io.enter(Wait::Until(Some(later)), &mut Vec::new()).unwrap();
    assert!(io.now() >= later);
    assert!(io.counters().enters <= 2, "once to submit, once to wait");
    assert_eq!(io.counters().parks, 1);
    assert_eq!(io.counters().fuses, 0);
}
