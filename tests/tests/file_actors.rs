//! File actors: on the same worker, on another one, and on another node.
#![allow(clippy::disallowed_methods, reason = "the tests look at the files from outside")]

use std::fs;

use annulus::{
    ActorRef, FileActor, Name, Node,
    file_actor::{Append, FileError, FileProtocol, Length, MAX_BLOCK, ReadAt, Sync, WriteAt},
    transport::file::OpenOptions,
};

use annulus_tests::{Folder, PATIENCE};

const FILE: Name<FileProtocol> = Name::new("file");

/// Bytes that differ from place to place.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect()
}

/// Writes, appends, syncs and reads through a reference, wherever the actor lives.
async fn write_and_read(file: ActorRef<FileProtocol>) {
    let first = pattern(10_000);
    let written = file.ask(WriteAt { offset: 0, bytes: first.clone().into() }).await.unwrap();
    assert_eq!(written.as_ref().unwrap().offset, 0);
    for (number, len) in [1, 100, 4096, 100_000, 700_000].into_iter().enumerate() {
        let bytes = pattern(len);
        let appended = file.ask(Append { bytes: bytes.clone().into() }).await.unwrap();
        let offset = appended.as_ref().unwrap().offset.to_native();
        let read = ReadAt { offset, len: len as u32 + 7 };
        let block = file.ask(read).await.unwrap();
        assert!(
            block.as_ref().unwrap().bytes.as_slice() == bytes,
            "append {number} of {len} bytes"
        );
    }
    assert!(file.ask(Sync { data_only: false }).await.unwrap().is_ok());
    let whole = file.ask(ReadAt { offset: 0, len: 10_000 }).await.unwrap();
    assert!(whole.as_ref().unwrap().bytes.as_slice() == first);
    let length = file.ask(Length).await.unwrap();
    let length = length.as_ref().unwrap().bytes.to_native();
    assert_eq!(length, 10_000 + 1 + 100 + 4096 + 100_000 + 700_000);
    let beyond = file.ask(ReadAt { offset: length, len: 100 }).await.unwrap();
    assert!(beyond.as_ref().unwrap().bytes.is_empty());
    let too_long = file.ask(ReadAt { offset: 0, len: MAX_BLOCK + 1 }).await.unwrap();
    assert!(too_long.is_err());
}

async fn open(path: std::path::PathBuf) -> ActorRef<FileProtocol> {
    let options = OpenOptions { write: true, create: true, ..OpenOptions::reading() };
    annulus::spawn(FileActor::open(&path, options).await.unwrap()).unwrap()
}

#[test]
fn r44_a_file_actor_writes_appends_syncs_and_reads_on_its_node() {
    let folder = Folder::new();
    let node = Node::builder("ann").workers(2).start().unwrap();
    for worker in 0..2 {
        let path = folder.path().join(format!("file-{worker}"));
        let inside = path.clone();
        let file = node.run_on(worker, async move || open(inside).await).unwrap();
        node.run_on(0, async move || write_and_read(file).await).unwrap();
        assert_eq!(fs::read(&path).unwrap()[..10_000], pattern(10_000));
    }
}

#[test]
fn r44_a_file_actor_of_another_node_is_the_same() {
    let folder = Folder::new();
    let path = folder.path().join("file");
    let ann = Node::builder("ann").listen("tcp://127.0.0.1:0").start().unwrap();
    let bob = Node::builder("bob").join(&ann.endpoints()[0]).start().unwrap();
    ann.run(async move || FILE.register(open(path).await).await.unwrap()).unwrap();
    bob.run(async || write_and_read(FILE.find_on("ann", PATIENCE).await.unwrap()).await).unwrap();
}

#[test]
fn appends_that_are_told_are_all_there_in_order_when_the_actor_has_been_drained() {
    let folder = Folder::new();
    let path = folder.path().join("file");
    let node = Node::builder("ann").start().unwrap();
    let inside = path.clone();
    node.run(async move || {
        let file = open(inside).await;
        for number in 0..20_000_u32 {
            let bytes = number.to_le_bytes().to_vec();
            file.send(Append { bytes: bytes.into() }).await.unwrap();
        }
        file.stop(annulus::StopMode::Drain).unwrap();
        file.join().await.unwrap();
    })
    .unwrap();
    let expected: Vec<u8> = (0..20_000_u32).flat_map(u32::to_le_bytes).collect();
    assert!(fs::read(&path).unwrap() == expected);
}

#[test]
fn a_file_that_cannot_be_written_fails_and_its_actor_stops() {
    let node = Node::builder("ann").start().unwrap();
    let outcome = node.run(async || {
        let options = OpenOptions { write: true, ..OpenOptions::reading() };
        let full = FileActor::open(std::path::Path::new("/dev/full"), options).await.unwrap();
        let file = annulus::spawn(full).unwrap();
        let ended = file.join();
        let failed = file.ask(Append { bytes: vec![1; 100].into() }).await.unwrap().decode();
        (failed.map(|_| ()), annulus::timeout(PATIENCE, ended).await.is_ok())
    });
    let (failed, stopped) = outcome.unwrap();
    assert_eq!(failed, Err(FileError::Os(28)), "no space left on the device");
    assert!(stopped);
}
