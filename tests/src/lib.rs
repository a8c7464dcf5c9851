//! What the whole-system tests share: nodes, waiting for conditions, captured logs, and raw peers.
//!
//! The tests talk to the library from the outside only. Nothing here sleeps for a fixed time: a test
//! waits until what it expects is there, and fails when it is not there within [`PATIENCE`].
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests look at real nodes from the outside: they use threads, sockets and clocks"
)]

pub mod cable;
pub mod children;
pub mod flat;
pub mod load;
pub mod log;
pub mod messages;
pub mod raw;
pub mod watching;

use std::{
    future::{Future, poll_fn},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use annulus::{Limits, Node, NodeBuilder, WorkerStats};

/// How long a test waits for what must come. No test ends in it unless something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Longer than any test.
pub const DAY: Duration = Duration::from_secs(86_400);

/// Nothing happens on a link by itself for a day.
pub fn quiet() -> Limits {
    Limits { heartbeat: DAY, silence: DAY, ..Limits::default() }
}

/// Waits until a condition holds.
///
/// # Panics
/// If it does not within [`PATIENCE`].
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs something on a thread of its own.
///
/// # Panics
/// If it does not end within [`PATIENCE`], or panics.
#[track_caller]
pub fn ends<T: Send + 'static>(what: &str, run: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(run);
    let begin = Instant::now();
    while !thread.is_finished() {
        assert!(begin.elapsed() < PATIENCE, "does not end: {what}");
        thread::sleep(Duration::from_millis(1));
    }
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Polls a future once, and gives it back if it is not ready.
pub async fn start_polling<F: Future>(future: F) -> Result<F::Output, Pin<Box<F>>> {
    let mut future = Box::pin(future);
    let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
    match polled {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => Err(future),
    }
}

/// Lets others have their turn, and keeps the worker awake.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A list that actors and the test share.
#[derive(Debug)]
pub struct Shared<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Shared(self.0.clone())
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Shared(Arc::default())
    }
}

impl<T: Clone> Shared<T> {
    /// Adds something at the end.
    pub fn push(&self, value: T) {
        self.0.lock().unwrap().push(value);
    }

    /// What is in it now.
    pub fn all(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }

    /// How much is in it now.
    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until at least `count` things are in it.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<T> {
        eventually("a list gets long enough", || self.len() >= count);
        self.all()
    }
}

/// A folder that goes away with the test.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// An empty folder with a short path.
    #[expect(clippy::new_without_default, reason = "it makes a folder on disk")]
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("annulus-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What two nodes are connected over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// TCP on the loopback interface.
    Tcp,
    /// A Unix socket in a folder of the test.
    Unix,
}

/// Two connected nodes.
#[derive(Debug)]
pub struct Pair {
    /// The one that was joined.
    pub ann: Node,
    /// The one that joined it.
    pub bob: Node,
    /// Where their Unix socket is.
    pub folder: Folder,
}

impl Pair {
    /// Two nodes with these numbers of workers.
    pub fn new(over: Over, ann: usize, bob: usize) -> Self {
        Self::with(over, |node| node.workers(ann), |node| node.workers(bob))
    }

    /// Two nodes with further settings.
    pub fn with(
        over: Over,
        ann: impl FnOnce(NodeBuilder) -> NodeBuilder,
        bob: impl FnOnce(NodeBuilder) -> NodeBuilder,
    ) -> Self {
        let folder = Folder::new();
        let endpoint = match over {
            Over::Tcp => "tcp://127.0.0.1:0".into(),
            Over::Unix => format!("unix://{}/ann", folder.path().display()),
        };
        let ann = ann(Node::builder("ann")).listen(endpoint).start().unwrap();
        let bob = bob(Node::builder("bob")).join(&ann.endpoints()[0]);
        let bob = bob.start().unwrap();
        ann.wait_for("bob", PATIENCE).unwrap();
        bob.wait_for("ann", PATIENCE).unwrap();
        Pair { ann, bob, folder }
    }

    /// Ends both nodes in order.
    pub fn shut_down(self) {
        self.bob.shutdown(PATIENCE).unwrap();
        self.ann.shutdown(PATIENCE).unwrap();
    }
}

/// One number of a node's statistics, over all workers.
pub fn total(node: &Node, number: impl Fn(&WorkerStats) -> u64) -> u64 {
    node.stats().unwrap().iter().map(number).sum()
}

/// Waits until no ask of a node is open, and no more message memory is held than `memory` bytes.
#[track_caller]
pub fn comes_to_rest(node: &Node, memory: u64) {
    eventually("no ask is open", || total(node, |stats| stats.asks_open as u64) == 0);
    eventually("message memory is given back", || {
        total(node, |stats| stats.message_memory as u64) <= memory
    });
}

/// The sockets that this process has open.
pub fn sockets() -> usize {
    let all = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = all.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

/// The descriptors that this process has open.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count() - 1
}
