//! Descriptors are neither leaked nor run out of in silence. These tests count and limit those of the
//! whole process, so they take turns.

mod common;

use std::{
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use annulus_transport::{
    driver::{Cause, Detached, Doorbell as _, Driver as _, Operation, Wait},
    endpoint::Endpoint,
    file::{File, OpenOptions},
    io::Io,
    ring::{RingConfig, RingDriver, StartError},
    stream::{Listener, Stream},
};
use common::*;

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Open descriptors of this process.
fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Lets the process have `more` descriptors than are open now, until it is dropped.
struct Limit(libc::rlimit);

impl Limit {
    fn to(more: usize) -> Self {
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a valid place for one rlimit.
        unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut before) };
        let limit = Limit(before);
        // New descriptors get the lowest free numbers: the limit is the first that must not be given.
        let taken: Vec<_> = (0..=more)
            .map(|_| {
                OwnedFd::from(std::fs::OpenOptions::new().read(true).open("/dev/null").unwrap())
            })
            .collect();
        let limited = libc::rlimit { rlim_cur: taken[more].as_raw_fd() as u64, ..before };
        drop(taken);
        // SAFETY: a valid rlimit.
        let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limited) };
        assert_eq!(result, 0);
        limit
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        // SAFETY: a valid rlimit.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const self.0) };
    }
}

fn listener(io: &Io) -> Listener {
    Listener::bind(io, &"tcp://127.0.0.1:0".parse().unwrap()).unwrap()
}

#[test]
fn r02_too_few_descriptors_for_a_ring_are_named() {
    let _turn = turn();
    for more in [0, 1] {
        let limit = Limit::to(more);
        let error = RingDriver::new(&RingConfig::default()).unwrap_err();
        drop(limit);
        assert!(matches!(error, StartError::Descriptors { .. }), "{error}");
    }
}

#[test]
fn r71_rings_leave_no_descriptors_behind() {
    let _turn = turn();
    let before = open();
    for _ in 0..20 {
        drop(RingDriver::new(&RingConfig::default()).unwrap());
    }
    assert_eq!(open(), before);
}

#[test]
fn r54_a_doorbell_does_not_keep_a_ring_that_is_gone() {
    let _turn = turn();
    let mut here = RingDriver::new(&RingConfig::default()).unwrap();
    here.enter(Wait::No, &mut Vec::new()).unwrap();
    let before = open();
    let there = RingDriver::new(&RingConfig::default()).unwrap();
    let bell = there.ring_bell();
    here.set_peers(vec![None, Some(bell.clone())]);
    drop(there);
    assert_eq!(open(), before);
    bell.ring();
    here.ring_doorbell(1);
    assert_eq!(here.counters().doorbells_failed, 1);

    // But a ring that is being rung keeps its number until that is over.
    let there = RingDriver::new(&RingConfig::default()).unwrap();
    here.set_peers(vec![None, Some(there.ring_bell())]);
    here.ring_doorbell(1);
    here.set_peers(Vec::new());
    drop(there);
    assert!(open() > before);
    here.enter(Wait::No, &mut Vec::new()).unwrap();
    assert_eq!(open(), before);
}

#[test]
fn r72_what_a_forgotten_accept_or_open_brings_is_closed() {
    let _turn = turn();
    let dir = Dir::new("r72");
    let io = io();
    let before = open();
    for submit in [false, true] {
        let path = dir.path("file");
        let mut opening = Box::pin(File::open(&io, &path, OpenOptions::writing()));
        assert!(poll_once(opening.as_mut()).is_pending());
        if submit {
            io.enter(Wait::No, &mut Vec::new()).unwrap();
        }
        drop(opening);

        let mut listener = listener(&io);
        let to = listener.endpoint().clone();
        let mut accept = Box::pin(listener.accept());
        assert!(poll_once(accept.as_mut()).is_pending());
        let connect = join_all((0..10).map(|_| Stream::connect(&io, &to, None)));
        let clients = block_on(&io, connect);
        assert!(clients.iter().all(Result::is_ok));
        drop(accept);
        drop(listener);
        drop(clients);
        turn_until(&io, || io.in_flight() == 0);
    }
    assert_eq!(open(), before);
}

#[test]
fn r27_a_unix_listener_leaves_no_descriptors_behind() {
    let _turn = turn();
    let dir = Dir::new("r27-descriptors");
    let at = Endpoint::Unix(dir.path("socket"));
    let io = io();
    let before = open();
    for _ in 0..10 {
        let listener = Listener::bind(&io, &at).unwrap();
        assert_eq!(open(), before + 2, "the socket and its lock");
        Listener::bind(&io, &at).unwrap_err();
        assert_eq!(open(), before + 2);
        drop(listener);
        assert_eq!(open(), before);
    }
}

#[test]
fn r25_waiting_connections_stay_in_the_backlog() {
    let _turn = turn();
    let io = io();
    let mut listener = listener(&io);
    let to = listener.endpoint().clone();
    assert!(poll_once(std::pin::pin!(listener.accept())).is_pending());
    let connect = |count| {
        let connects = (0..count).map(|_| Stream::connect(&io, &to, Some(PATIENCE)));
        let clients = block_on(&io, join_all(connects));
        assert!(clients.iter().all(Result::is_ok));
        clients
    };
    // The kernel accepts all that are there before anybody can stop it; from then on it stops.
    let _many = connect(200);
    let before = open();
    let _more = connect(300);
    assert_eq!(open() - before, 300, "only the clients' own ends");
    block_on(&io, async {
        for _ in 0..500 {
            listener.accept().await.unwrap();
        }
    });
}

#[test]
fn a3_too_many_open_files_is_an_error_and_no_spin() {
    let _turn = turn();
    let io = io();
    let mut listener = listener(&io);
    let to = listener.endpoint().clone();
    let sockets: Vec<_> = (0..5).map(|_| io.stream_socket(&to).unwrap()).collect();
    let limit = Limit::to(2);
    let connects: Vec<_> = sockets
        .iter()
        .map(|socket| {
            let connect = Operation::Connect { socket: socket.clone(), to: to.clone() };
            io.run(connect, Some(PATIENCE))
        })
        .collect();
    let (connected, accepted) = block_on(
        &io,
        join(join_all(connects), async {
            let mut accepted = Vec::new();
            loop {
                match listener.accept().await {
                    Ok(stream) => accepted.push(stream),
                    Err(error) => break (accepted, error),
                }
            }
        }),
    );
    assert!(connected.iter().all(Result::is_ok));
    let (mut accepted, error) = accepted;
    assert_eq!(error.cause, Cause::Os(libc::EMFILE));
    assert_eq!(accepted.len(), 2);

    // Nothing goes on by itself.
    let before = io.counters().enters;
    let soon = io.now().after(Duration::from_millis(50));
    io.enter(Wait::Until(Some(soon)), &mut Vec::new()).unwrap();
    assert!(io.now() >= soon);
    assert!(io.counters().enters - before <= 2);

    drop(limit);
    block_on(&io, async {
        while accepted.len() < 5 {
            accepted.push(listener.accept().await.unwrap());
        }
    });
}

#[test]
fn r16_closing_takes_effect_when_nothing_is_in_flight() {
    let _turn = turn();
    let io = io();
    let before = open();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let stream = Stream::attach(&io, Detached::Os(OwnedFd::from(ours)));
    let mut receive = Box::pin(stream.read_some(Vec::with_capacity(8)));
    assert!(poll_once(receive.as_mut()).is_pending());
    drop(receive);
    drop(stream);
    assert_eq!(open(), before + 2, "the operation holds it");
    turn_until(&io, || io.in_flight() == 0);
    assert_eq!(open(), before + 1);
    drop(theirs);
}
