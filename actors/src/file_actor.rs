//! Files as actors.
//!
//! A [`FileActor`] owns one open file. It reads, writes and appends for whoever has a reference to it,
//! on this node or another. What it reads goes from the kernel into the very frame that is the reply;
//! what it writes goes to the kernel from the very frame that came in.
//!
//! Writes, appends and syncs happen in the order in which they arrive; appends that wait are written
//! together. A read sees every write that arrived before it. Nothing is durable before a [`Sync`] that
//! arrived after it has been answered.
//!
//! When a write or a sync fails, what the file holds is not known any more. The actor answers that and
//! everything after it with an error, and stops. It never tries again: after a failed fsync(2) the
//! kernel may have forgotten what was not written.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    future::poll_fn,
    path::Path,
    rc::Rc,
    task::{Poll, Waker},
};

use annulus_codec::{
    archive::{chunk_to_fill, finish},
    bytes::Bytes,
    chunk::Lease,
};
use annulus_macros::{message, wire};
use annulus_transport::{
    driver::{Cause, Data, Fill, MAX_PIECES, OperationError},
    file::{File, OpenOptions},
};
use rkyv::ser::allocator::Arena;

use crate::{
    actor::{Actor, Respond, StopMode},
    context::Context,
    core::Core,
    message::{Msg, Reply, Responder},
    reference::ActorRef,
};

/// The messages that a file actor takes.
pub type FileProtocol = (ReadAt, WriteAt, Append, Sync, Length);

/// Read up to `len` bytes from `offset` on: fewer at the end of the file, none beyond it.
#[message(name = "annulus.file.ReadAt", reply = Result<Block, FileError>, crate = crate)]
#[derive(Clone, Copy, Debug)]
pub struct ReadAt {
    /// Where, in bytes from the start of the file.
    pub offset: u64,
    /// How many bytes at most; no more than [`MAX_BLOCK`].
    pub len: u32,
}

/// Bytes of a file.
#[message(name = "annulus.file.Block", crate = crate)]
#[derive(Debug)]
pub struct Block {
    /// The bytes.
    pub bytes: Bytes,
}

/// Write bytes at `offset`.
#[message(name = "annulus.file.WriteAt", reply = Result<Written, FileError>, crate = crate)]
#[derive(Debug)]
pub struct WriteAt {
    /// Where, in bytes from the start of the file.
    pub offset: u64,
    /// What to write.
    pub bytes: Bytes,
}

/// Write bytes at the end.
#[message(name = "annulus.file.Append", reply = Result<Written, FileError>, crate = crate)]
#[derive(Debug)]
pub struct Append {
    /// What to write.
    pub bytes: Bytes,
}

/// The bytes are with the kernel.
#[message(name = "annulus.file.Written", crate = crate)]
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// Where they start, in bytes from the start of the file.
    pub offset: u64,
}

/// Make everything that was written before durable.
#[message(name = "annulus.file.Sync", reply = Result<Synced, FileError>, crate = crate)]
#[derive(Clone, Copy, Debug)]
pub struct Sync {
    /// Whether metadata that reading does not need may be left out.
    pub data_only: bool,
}

/// It is durable.
#[message(name = "annulus.file.Synced", crate = crate)]
#[derive(Clone, Copy, Debug)]
pub struct Synced;

/// How long is the file?
#[message(name = "annulus.file.Length", reply = Result<LengthIs, FileError>, crate = crate)]
#[derive(Clone, Copy, Debug)]
pub struct Length;

/// This long.
#[message(name = "annulus.file.LengthIs", crate = crate)]
#[derive(Clone, Copy, Debug)]
pub struct LengthIs {
    /// In bytes.
    pub bytes: u64,
}

/// Why a file actor did not do what it was asked.
#[wire(crate = crate)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileError {
    /// The operating system said this error number.
    Os(i32),
    /// An earlier write or sync has failed: what the file holds is not known.
    Failed,
    /// More than [`MAX_BLOCK`] bytes were asked for.
    TooLong,
    /// There is no memory for the answer now. Try again.
    NoMemory,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Os(errno) => std::io::Error::from_raw_os_error(*errno).fmt(f),
            FileError::Failed => write!(f, "an earlier write or sync of the file has failed"),
            FileError::TooLong => write!(f, "at most {MAX_BLOCK} bytes can be read at once"),
            FileError::NoMemory => write!(f, "there is no message memory for the answer"),
        }
    }
}

impl std::error::Error for FileError {}

impl From<OperationError> for FileError {
    fn from(error: OperationError) -> Self {
        match error.cause {
            Cause::Os(errno) => FileError::Os(errno),
            Cause::TimedOut | Cause::Canceled | Cause::Closed => FileError::Failed,
        }
    }
}

/// The most that one [`ReadAt`] may ask for, in bytes.
pub const MAX_BLOCK: u32 = 8 << 20;

/// Bytes that may wait to be written before the actor takes no more messages.
const MOST_WAITING: usize = 8 << 20;

/// Bytes that one write gathers at most.
const BATCH: usize = 1 << 20;

/// An open file that takes messages. See the [module](self).
pub struct FileActor {
    shared: Rc<Shared>,
}

/// What waits its turn.
enum Work {
    Write { offset: Option<u64>, bytes: Lease, done: Responder<Result<Written, FileError>> },
    Sync { data_only: bool, done: Responder<Result<Synced, FileError>> },
    Read { read: ReadAt, done: Responder<Result<Block, FileError>> },
    Length { done: Responder<Result<LengthIs, FileError>> },
}

struct Shared {
    file: File,
    /// Where the next append goes.
    end: Cell<u64>,
    work: RefCell<VecDeque<Work>>,
    waiting_bytes: Cell<usize>,
    /// Whether a task is working through `work`.
    working: Cell<bool>,
    failed: Cell<bool>,
    /// The handler that waits for room, or for the end of all work.
    waiter: RefCell<Option<Waker>>,
}

impl FileActor {
    /// Opens a file on this worker; start the actor with [`spawn`](crate::spawn).
    ///
    /// # Errors
    /// As open(2).
    ///
    /// # Panics
    /// On a thread that is no worker.
    pub async fn open(path: &Path, options: OpenOptions) -> Result<Self, OperationError> {
        let core = Core::current().expect("files are opened on a worker");
        let file = File::open(&core.io, path, options).await?;
        let end = file.length().await?;
        Ok(FileActor {
            shared: Rc::new(Shared {
                file,
                end: Cell::new(end),
                work: RefCell::default(),
                waiting_bytes: Cell::new(0),
                working: Cell::new(false),
                failed: Cell::new(false),
                waiter: RefCell::new(None),
            }),
        })
    }

    /// Queues some work, and makes sure that somebody is at it.
    fn queue(&self, work: Work, context: &mut Context<Self>) {
        self.shared.work.borrow_mut().push_back(work);
        if !self.shared.working.replace(true) {
            let shared = self.shared.clone();
            context.task(|actor| work_through(shared, actor.me()));
        }
    }

    async fn write(
        &self,
        offset: Option<u64>,
        bytes: Lease,
        done: Responder<Result<Written, FileError>>,
        context: &mut Context<Self>,
    ) {
        let shared = &self.shared;
        shared.waiting_bytes.set(shared.waiting_bytes.get() + bytes.len());
        self.queue(Work::Write { offset, bytes, done }, context);
        shared.wait_until(|shared| shared.waiting_bytes.get() <= MOST_WAITING).await;
    }
}

impl Actor for FileActor {
    type Protocol = FileProtocol;

    async fn stopped(&mut self, _: &mut Context<Self>) {
        self.shared.wait_until(|shared| !shared.working.get()).await;
    }
}

impl Respond<ReadAt> for FileActor {
    async fn respond(
        &mut self,
        read: Msg<ReadAt>,
        context: &mut Context<Self>,
    ) -> Reply<Result<Block, FileError>> {
        let read_at = ReadAt { offset: read.offset.to_native(), len: read.len.to_native() };
        if read_at.len > MAX_BLOCK {
            return Err(FileError::TooLong).into();
        }
        let (later, done) = context.defer(&read);
        if self.shared.working.get() {
            self.queue(Work::Read { read: read_at, done }, context);
        } else {
            let shared = self.shared.clone();
            context.task(|_| answer_read(shared, read_at, done));
        }
        later.into()
    }
}

impl Respond<WriteAt> for FileActor {
    async fn respond(
        &mut self,
        write: Msg<WriteAt>,
        context: &mut Context<Self>,
    ) -> Reply<Result<Written, FileError>> {
        let (later, done) = context.defer(&write);
        let bytes = write.lease_of(&write.bytes);
        self.write(Some(write.offset.to_native()), bytes, done, context).await;
        later.into()
    }
}

impl Respond<Append> for FileActor {
    async fn respond(
        &mut self,
        append: Msg<Append>,
        context: &mut Context<Self>,
    ) -> Reply<Result<Written, FileError>> {
        let (later, done) = context.defer(&append);
        let bytes = append.lease_of(&append.bytes);
        self.write(None, bytes, done, context).await;
        later.into()
    }
}

impl Respond<Sync> for FileActor {
    async fn respond(
        &mut self,
        sync: Msg<Sync>,
        context: &mut Context<Self>,
    ) -> Reply<Result<Synced, FileError>> {
        let (later, done) = context.defer(&sync);
        self.queue(Work::Sync { data_only: sync.data_only, done }, context);
        later.into()
    }
}

impl Respond<Length> for FileActor {
    async fn respond(
        &mut self,
        length: Msg<Length>,
        context: &mut Context<Self>,
    ) -> Reply<Result<LengthIs, FileError>> {
        let (later, done) = context.defer(&length);
        self.queue(Work::Length { done }, context);
        later.into()
    }
}

impl Shared {
    async fn wait_until(&self, reached: impl Fn(&Shared) -> bool) {
        poll_fn(|context| {
            if reached(self) {
                return Poll::Ready(());
            }
            self.waiter.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    fn wake_waiter(&self) {
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }

    /// The appends at the front that fit into one write, with the first one.
    fn take_appends(&self, first: Pending) -> Vec<Pending> {
        let mut size = first.bytes.len();
        let mut batch = vec![first];
        let mut work = self.work.borrow_mut();
        while batch.len() < MAX_PIECES && size < BATCH {
            match work.pop_front() {
                Some(Work::Write { offset: None, bytes, done }) => {
                    size += bytes.len();
                    batch.push(Pending { bytes, done });
                }
                Some(other) => {
                    work.push_front(other);
                    break;
                }
                None => break,
            }
        }
        batch
    }

    /// Writes bytes one behind the other and answers for all of them.
    async fn write(&self, mut offset: u64, batch: Vec<Pending>) -> Result<(), FileError> {
        let leases: Vec<Lease> = batch.iter().map(|pending| pending.bytes.clone()).collect();
        let size: usize = leases.iter().map(|lease| lease.len()).sum();
        let written = self.file.write_all_at(Data::Leases(leases), offset).await;
        self.waiting_bytes.set(self.waiting_bytes.get() - size);
        self.end.set(self.end.get().max(offset + size as u64));
        for Pending { bytes, done } in batch {
            done.reply(written.map(|()| Written { offset }).map_err(FileError::from));
            offset += bytes.len() as u64;
        }
        written.map_err(FileError::from)
    }

    async fn run(self: &Rc<Self>, work: Work) -> Result<(), FileError> {
        match work {
            Work::Write { offset: Some(offset), bytes, done } => {
                self.write(offset, vec![Pending { bytes, done }]).await
            }
            Work::Write { offset: None, bytes, done } => {
                let batch = self.take_appends(Pending { bytes, done });
                self.write(self.end.get(), batch).await
            }
            Work::Sync { data_only, done } => {
                let synced = self.file.sync(data_only).await.map_err(FileError::from);
                done.reply(synced.map(|()| Synced));
                synced
            }
            Work::Read { read, done } => {
                answer_read(self.clone(), read, done).await;
                Ok(())
            }
            Work::Length { done } => {
                let length = self.file.length().await;
                done.reply(length.map(|bytes| LengthIs { bytes }).map_err(FileError::from));
                Ok(())
            }
        }
    }
}

/// Bytes to be written, and who wants to know.
struct Pending {
    bytes: Lease,
    done: Responder<Result<Written, FileError>>,
}

/// Does what waits, in order, until nothing does.
async fn work_through(shared: Rc<Shared>, actor: ActorRef<FileProtocol>) {
    loop {
        let next = shared.work.borrow_mut().pop_front();
        let Some(work) = next else { break };
        if shared.failed.get() {
            refuse(&shared, work);
        } else if shared.run(work).await.is_err() {
            shared.failed.set(true);
            // If it is stopping already, it need not be told.
            let _ = actor.stop(StopMode::Stop);
        }
        shared.wake_waiter();
    }
    shared.working.set(false);
    shared.wake_waiter();
}

fn refuse(shared: &Shared, work: Work) {
    match work {
        Work::Write { bytes, done, .. } => {
            shared.waiting_bytes.set(shared.waiting_bytes.get() - bytes.len());
            done.reply(Err(FileError::Failed));
        }
        Work::Sync { done, .. } => done.reply(Err(FileError::Failed)),
        Work::Read { done, .. } => done.reply(Err(FileError::Failed)),
        Work::Length { done } => done.reply(Err(FileError::Failed)),
    }
}

async fn answer_read(shared: Rc<Shared>, read: ReadAt, done: Responder<Result<Block, FileError>>) {
    if shared.failed.get() {
        return done.reply(Err(FileError::Failed));
    }
    match read_block(&shared.file, read).await {
        Ok(block) => done.reply(block),
        Err(error) => done.reply(Err(error)),
    }
}

/// Reads into what becomes the reply's frame.
async fn read_block(file: &File, read: ReadAt) -> Result<Msg<Result<Block, FileError>>, FileError> {
    let core = Core::current().ok_or(FileError::Failed)?;
    let chunk = chunk_to_fill(&core.pool, read.len as usize).map_err(|_| FileError::NoMemory)?;
    let (fill, _) = file.read_at(Fill::Chunk(chunk), read.len as usize, read.offset).await?;
    let chunk = fill.into_chunk().ok_or(FileError::Failed)?;
    let block = finish(chunk, &mut Arena::new(), |bytes| Ok(Block { bytes }));
    block.map(Msg::new).map_err(|_| FileError::NoMemory)
}

impl fmt::Debug for FileActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileActor({:?})", self.shared.file)
    }
}
