//! What the tests share: a small executor, and places for files.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "no test uses all of it")]

mod join;

use std::{
    future::Future,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use annulus_codec::chunk::ChunkPool;
use annulus_transport::{
    driver::{Descriptor, Detached, Wait},
    io::Io,
    ring::{RingConfig, RingDriver},
    stream::Stream,
};

pub(crate) use join::join;

/// No test waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A driver with default sizes.
pub fn io() -> Io {
    io_with(&RingConfig::default())
}

/// A driver with these sizes.
pub fn io_with(config: &RingConfig) -> Io {
    Io::new(RingDriver::new(config).expect("this kernel has all that is needed"))
}

/// A driver with queues of these sizes.
pub fn io_sized(entries: u32, cq_entries: u32) -> Io {
    io_with(&RingConfig { entries, cq_entries, ..RingConfig::default() })
}

/// Chunks of 64 KiB.
pub fn pool() -> ChunkPool {
    ChunkPool::new(64 * 1024, 16, 64 << 20)
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs a future to its end. It is polled only when it was woken, so a lost wake-up hangs and fails.
pub fn block_on<F: Future>(io: &Io, future: F) -> F::Output {
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut future = pin!(future);
    let deadline = io.now().after(PATIENCE);
    let mut wakers = Vec::new();
    loop {
        if woken.0.swap(false, Ordering::Acquire) {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            continue;
        }
        assert!(io.now() < deadline, "waited too long");
        io.enter(Wait::Until(Some(deadline)), &mut wakers).unwrap();
        wakers.drain(..).for_each(Waker::wake);
    }
}

/// Enters until the condition holds.
pub fn turn_until(io: &Io, mut condition: impl FnMut() -> bool) {
    let deadline = io.now().after(PATIENCE);
    let mut wakers = Vec::new();
    while !condition() {
        assert!(io.now() < deadline, "waited too long");
        let pause = io.now().after(Duration::from_millis(5));
        io.enter(Wait::Until(Some(pause)), &mut wakers).unwrap();
        wakers.drain(..).for_each(Waker::wake);
    }
}

/// Polls once, with a waker that does nothing.
pub fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Runs all futures at the same time.
pub async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(context)
            {
                *output = Some(value);
            }
        }
        if outputs.iter().any(Option::is_none) {
            return Poll::Pending;
        }
        Poll::Ready(outputs.iter_mut().flat_map(Option::take).collect())
    })
    .await
}

/// Two connected streams.
pub fn pair(io: &Io) -> (Stream, Stream) {
    let (one, other) = UnixStream::pair().unwrap();
    let attach = |end: UnixStream| Stream::attach(io, Detached::Os(OwnedFd::from(end)));
    (attach(one), attach(other))
}

/// A socket of ours and its other end, which the standard library drives.
pub fn half(io: &Io) -> (Stream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Stream::attach(io, Detached::Os(OwnedFd::from(ours))), theirs)
}

/// The descriptor of anything.
pub fn descriptor(of: impl Into<OwnedFd>) -> Descriptor {
    Descriptor::from(of.into())
}

/// A directory that is removed in the end. It lies on a disk, not in memory.
pub struct Dir(PathBuf);

impl Dir {
    /// A new directory for the test of this name.
    pub fn new(test: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
