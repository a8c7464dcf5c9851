//! What cannot be provoked from outside: completions that come late, or for nobody.

use super::*;
use crate::driver::{Cause, Fill};

fn driver() -> RingDriver {
    RingDriver::new(&RingConfig::default()).unwrap()
}

/// A receive that nothing ever arrives for, and the socket's other end.
fn receive(driver: &mut RingDriver) -> (OperationKey, std::os::unix::net::UnixStream) {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let socket = Descriptor::from(std::os::fd::OwnedFd::from(ours));
    let into = Fill::Bytes(Vec::with_capacity(64));
    (driver.start(Operation::Receive { socket, into }, None), theirs)
}

#[test]
fn r10_a_completion_with_a_stale_generation_is_counted_and_ignored() {
    let mut driver = driver();
    let (old, _other) = receive(&mut driver);
    driver.quiesce(Duration::from_secs(5)).unwrap();
    let outcome = driver.poll(old, Waker::noop());
    assert!(matches!(outcome, Poll::Ready(Err(error)) if error.cause == Cause::Canceled));

    let (new, _other) = receive(&mut driver);
    assert_eq!(new.index, old.index);
    let strays = driver.counters().strays;
    driver.take_in(abi::user_data(Kind::Operation, old), 5, false);
    driver.take_in(u64::MAX, 5, false);
    assert_eq!(driver.counters().strays, strays + 2);
    assert!(driver.poll(new, Waker::noop()).is_pending());
    assert_eq!(driver.in_flight(), 1);
}

#[test]
fn r54_a_doorbell_that_failed_for_lack_of_memory_is_rung_again() {
    let mut one = driver();
    let mut other = driver();
    one.set_peers(vec![None, Some(other.ring_bell())]);
    one.take_in(abi::user_data_of(Kind::Rung, 1), -libc::ENOMEM, false);
    assert_eq!(one.counters().doorbells_failed, 1);
    one.enter(Wait::No, &mut Vec::new()).unwrap();
    let soon = other.now().after(Duration::from_secs(5));
    other.enter(Wait::Until(Some(soon)), &mut Vec::new()).unwrap();
    assert_eq!(other.counters().doorbells_heard, 1);
}

#[test]
fn the_end_of_a_wait_is_no_fault() {
    let mut driver = driver();
    let soon = driver.now().after(Duration::from_millis(5));
    driver.enter(Wait::Until(Some(soon)), &mut Vec::new()).unwrap();
    assert!(driver.now() >= soon);
}

/// Interrupts waits until an alarm is set.
fn set_alarm(driver: &mut RingDriver, end: Mono) {
    // The first wait that something else ends shows that one is worth while.
    for _ in 0..2 {
        driver.doorbell().ring();
        driver.enter(Wait::Until(Some(end)), &mut Vec::new()).unwrap();
    }
    assert!(driver.alarm.rings_by(end));
}

#[test]
fn an_alarm_is_set_once_for_many_waits_and_ends_one_of_them() {
    alarm_of(driver());
    // As on a kernel before 6.12.
    let mut old = driver();
    old.operations.submission.forget_absolute_times();
    alarm_of(old);
}

fn alarm_of(mut driver: RingDriver) {
    let bell = driver.doorbell();
    let begun = driver.now();
    let end = begun.after(Duration::from_secs(1));
    let wait = |driver: &mut RingDriver, until| {
        driver.enter(Wait::Until(Some(until)), &mut Vec::new()).unwrap();
    };
    set_alarm(&mut driver, end);
    // Those that may take longer are covered by it, and a shorter one still ends in time.
    for later in [0, 1, 1000] {
        bell.ring();
        wait(&mut driver, end.after(Duration::from_millis(later)));
    }
    let soon = driver.now().after(Duration::from_millis(5));
    wait(&mut driver, soon);
    assert!(driver.now() >= soon && driver.now() < end);
    assert!(driver.alarm.rings_by(end));
    wait(&mut driver, end.after(Duration::from_secs(60)));
    assert!(driver.now() >= end && driver.now() < begun.after(Duration::from_secs(30)));
    assert!(!driver.alarm.rings_by(end));
    assert_eq!((driver.counters().strays, driver.counters().doorbells_heard), (0, 5));
    // What the time ends has a timeout of its own, which is no completion.
    let soon = driver.now().after(Duration::from_millis(5));
    wait(&mut driver, soon);
    assert!(driver.now() >= soon && !driver.alarm.rings_by(soon));
}

#[test]
fn a_wait_that_an_alarm_would_end_later_is_ended_by_the_fuse() {
    let fuse = Duration::from_millis(30);
    let config = RingConfig { park_fuse: Some(fuse), ..RingConfig::default() };
    let mut driver = RingDriver::new(&config).unwrap();
    let end = driver.now().after(Duration::from_secs(10));
    set_alarm(&mut driver, end);
    assert_eq!(driver.fuses(), Some(0));
    for fuses in 1..=2 {
        let before = driver.now();
        driver.enter(Wait::Until(Some(end)), &mut Vec::new()).unwrap();
        assert!(driver.now() >= before.after(fuse) && driver.now() < end);
        assert!(driver.alarm.rings_by(end));
        assert_eq!(driver.fuses(), Some(fuses));
    }
    // What ends earlier has a timeout of its own.
    let soon = driver.now().after(Duration::from_millis(1));
    driver.enter(Wait::Until(Some(soon)), &mut Vec::new()).unwrap();
    assert!(driver.now() >= soon && driver.fuses() == Some(2));
}

#[test]
fn an_alarm_that_rings_before_the_fuse_is_no_fuse() {
    let config = RingConfig { park_fuse: Some(Duration::from_secs(10)), ..RingConfig::default() };
    let mut driver = RingDriver::new(&config).unwrap();
    let begun = driver.now();
    let end = begun.after(Duration::from_millis(300));
    set_alarm(&mut driver, end);
    driver.enter(Wait::Until(Some(end)), &mut Vec::new()).unwrap();
    assert!(driver.now() >= end && driver.now() < begun.after(Duration::from_secs(10)));
    assert!(!driver.alarm.rings_by(end) && driver.fuses() == Some(0));
}

#[test]
fn no_alarm_is_set_for_a_time_that_is_near() {
    let mut driver = driver();
    for _ in 0..3 {
        driver.doorbell().ring();
        let near = driver.now().after(Duration::from_millis(4));
        driver.enter(Wait::Until(Some(near)), &mut Vec::new()).unwrap();
        assert!(!driver.alarm.rings_by(near));
    }
}

#[test]
fn a_driver_with_an_alarm_that_is_set_goes_away() {
    let mut driver = driver();
    let end = driver.now().after(Duration::from_secs(600));
    set_alarm(&mut driver, end);
    driver.quiesce(Duration::from_secs(5)).unwrap();
    let soon = driver.now().after(Duration::from_millis(5));
    driver.enter(Wait::Until(Some(soon)), &mut Vec::new()).unwrap();
    assert_eq!(driver.counters().strays, 0);
}

#[test]
fn a_waker_that_is_replaced_or_forgotten_comes_back_to_be_dropped() {
    let mut driver = driver();
    let (key, _other) = receive(&mut driver);
    let waker = Waker::from(Arc::new(Nothing));
    assert!(driver.poll(key, &waker).is_pending());
    assert!(driver.retired().is_none());
    assert!(driver.poll(key, Waker::noop()).is_pending());
    assert!(driver.retired().is_some_and(|old| old.will_wake(&waker)));
    driver.forget(key);
    assert!(driver.retired().is_some());
}

#[test]
fn r70_what_does_not_end_is_reported_and_its_memory_is_never_freed() {
    let pool = annulus_codec::chunk::ChunkPool::new(64, 1, 64);
    let mut driver = driver();
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    driver.operations.start_lost(Operation::Receive {
        socket: Descriptor::from(std::os::fd::OwnedFd::from(ours)),
        into: Fill::Chunk(pool.acquire().unwrap()),
    });
    let abandoned = driver.quiesce(Duration::from_millis(20)).unwrap_err();
    assert_eq!(abandoned.operations, 1);
    drop(driver);
    assert_eq!(pool.bytes_lent(), 64);
}

#[test]
fn r08_an_operation_that_lost_its_deadline_is_cancelled() {
    // Sockets have linked timeouts, files have some of their own.
    for is_file in [false, true] {
        for errno in [libc::EINVAL, libc::ENOMEM] {
            let mut driver = driver();
            let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
            let socket = Descriptor::from(std::os::fd::OwnedFd::from(ours));
            let into = Fill::Bytes(Vec::with_capacity(8));
            let operation = if is_file {
                Operation::Read { file: socket, into, len: 8, offset: 0 }
            } else {
                Operation::Receive { socket, into }
            };
            let key = driver.start(operation, Some(Duration::from_secs(60)));
            driver.enter(Wait::No, &mut Vec::new()).unwrap();
            driver.take_in(abi::user_data(Kind::Deadline, key), -errno, false);
            let soon = driver.now().after(Duration::from_secs(5));
            while driver.in_flight() > 0 {
                driver.enter(Wait::Until(Some(soon)), &mut Vec::new()).unwrap();
                assert!(driver.now() < soon, "it goes on without a deadline");
            }
            // And what for is said.
            let Poll::Ready(outcome) = driver.poll(key, Waker::noop()) else {
                panic!("it is over");
            };
            assert_eq!(outcome.unwrap_err().cause, Cause::Os(libc::ENOMEM));
        }
    }
}

#[test]
fn r05_only_enter_makes_system_calls() {
    let config = RingConfig { entries: 2, ..RingConfig::default() };
    let mut driver = RingDriver::new(&config).unwrap();
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let socket = Descriptor::from(std::os::fd::OwnedFd::from(ours));
    let receive =
        || Operation::Receive { socket: socket.clone(), into: Fill::Bytes(Vec::with_capacity(8)) };
    let deadline = Some(Duration::from_secs(60));
    let keys: Vec<_> = (0..10).map(|_| driver.start(receive(), deadline)).collect();
    assert_eq!(driver.counters().enters, 0, "however full the queue is");
    driver.enter(Wait::No, &mut Vec::new()).unwrap();
    let enters = driver.counters().enters;
    assert!(enters >= 10, "one for each pair");

    // Each of these completions starts a cancel.
    for key in &keys {
        driver.take_in(abi::user_data(Kind::Deadline, *key), -libc::ENOMEM, false);
    }
    assert_eq!(driver.counters().enters, enters);
    let soon = driver.now().after(Duration::from_secs(5));
    while driver.in_flight() > 0 {
        driver.enter(Wait::Until(Some(soon)), &mut Vec::new()).unwrap();
        assert!(driver.now() < soon);
    }
}

#[test]
fn r73_an_accept_that_fails_during_the_end_says_why() {
    let mut driver = driver();
    let at = "tcp://127.0.0.1:0".parse().unwrap();
    for (errno, cause) in [
        (libc::ENOBUFS, Cause::Os(libc::ENOBUFS)),
        (libc::ENOMEM, Cause::Os(libc::ENOMEM)),
        (libc::ECANCELED, Cause::Canceled),
    ] {
        let (listener, _) = driver.listen(&at, 1).unwrap();
        let key = driver.operations.start_lost(Operation::Accept { listener });
        driver.operations.ending = true;
        driver.take_in(abi::user_data(Kind::Operation, key), -errno, false);
        let Poll::Ready(outcome) = driver.poll(key, Waker::noop()) else {
            panic!("it is over");
        };
        assert_eq!(outcome.unwrap_err().cause, cause);
    }
}

#[test]
fn r72_a_cancel_that_never_finds_a_file_operation_is_given_up() {
    let mut driver = driver();
    let open = Operation::Open { path: std::ffi::CString::default(), flags: 0, mode: 0 };
    let key = driver.operations.start_lost(open);
    driver.forget(key);
    for _ in 0..100 {
        driver.enter(Wait::No, &mut Vec::new()).unwrap();
    }
    let enters = driver.counters().enters;
    assert!((3..10).contains(&enters), "{enters} enters");
}

struct Nothing;

impl std::task::Wake for Nothing {
    fn wake(self: Arc<Self>) {}
}
