//! A clerk: keeps a file of numbered records, and looks after a power cut whether what it was told is
//! durable is there (P21).

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use annulus::{
    FileActor,
    file_actor::{FileProtocol, Length, ReadAt, Sync, WriteAt},
    prelude::*,
    spawn,
    transport::file::OpenOptions,
};
use annulus_sim::Checks;

use crate::business::Business;

/// Bytes of a record: its number, twice.
const RECORD: usize = 16;

/// How many records of each node's file are durable, as it was told.
#[derive(Clone)]
pub(crate) struct Books {
    checks: Checks,
    business: Business,
    durable: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Books {
    pub(crate) fn new(checks: Checks, business: Business) -> Self {
        Books { checks, business, durable: Arc::default() }
    }

    fn durable(&self, node: &str) -> u64 {
        let durable = self.durable.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        durable.get(node).copied().unwrap_or(0)
    }

    fn note(&self, node: &str, records: u64) {
        let mut durable = self.durable.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        durable.insert(node.into(), records);
    }
}

/// See the [module](self).
pub(crate) struct Clerk {
    books: Books,
    node: String,
}

impl Clerk {
    pub(crate) fn new(books: Books, node: String) -> Self {
        Clerk { books, node }
    }
}

/// Nobody says anything to a clerk.
#[message]
pub(crate) struct Silence {}

impl Actor for Clerk {
    type Protocol = (Silence,);

    async fn started(&mut self, context: &mut Context<Self>) {
        let (books, node) = (self.books.clone(), self.node.clone());
        context.task(|_| async move {
            // A disk that fails ends the clerk's work for this life; what was durable stays so.
            let _ = keep_books(&books, &node).await;
        });
    }
}

impl Handler<Silence> for Clerk {
    async fn handle(&mut self, _: Msg<Silence>, _: &mut Context<Self>) {}
}

async fn keep_books(books: &Books, node: &str) -> Option<()> {
    let options = OpenOptions { write: true, create: true, ..OpenOptions::reading() };
    let file = FileActor::open(Path::new("/records"), options).await.ok()?;
    let file = spawn(file).ok()?;
    let mut next = read_all(books, node, file).await?;
    while books.business.is_open() {
        for _ in 0..3 {
            let record = [next.to_le_bytes(), next.to_le_bytes()].concat();
            let write = WriteAt { offset: next * RECORD as u64, bytes: record.into() };
            file.ask(write).await.ok()?.as_ref().ok()?;
            next += 1;
        }
        file.ask(Sync { data_only: next % 2 == 0 }).await.ok()?.as_ref().ok()?;
        books.note(node, next);
        sleep(Duration::from_millis(150)).await;
    }
    Some(())
}

/// Reads what is there. Returns the number of the first record that is not.
async fn read_all(books: &Books, node: &str, file: ActorRef<FileProtocol>) -> Option<u64> {
    let length = file.ask(Length).await.ok()?.as_ref().ok()?.bytes.to_native();
    let read = ReadAt { offset: 0, len: length as u32 };
    let block = file.ask(read).await.ok()?;
    let bytes = &block.as_ref().ok()?.bytes;
    let mut good = 0_u64;
    for record in bytes.chunks_exact(RECORD) {
        let expected = [good.to_le_bytes(), good.to_le_bytes()].concat();
        if record != expected {
            break;
        }
        good += 1;
    }
    let durable = books.durable(node);
    if good < durable {
        let says = format!("of {durable} durable records of {node} there are {good}");
        books.checks.violation("P21", says);
    }
    Some(good)
}
