//! Files.

mod common;

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{FileExt, OpenOptionsExt},
};

use annulus_transport::{
    driver::{Cause, Data, Fill, Operation, OperationError, OperationName, Wait},
    file::{File, OpenOptions},
};
use common::*;

async fn read(file: &File, len: usize, offset: u64) -> Vec<u8> {
    let into = Fill::Bytes(Vec::with_capacity(len));
    let (into, bytes) = file.read_at(into, len, offset).await.unwrap();
    let vector = into.into_bytes().unwrap();
    assert_eq!(vector.len(), bytes);
    vector
}

#[test]
fn r44_file_read_write_sync() {
    const FAR: u64 = (5 << 30) + 7;
    let dir = Dir::new("r44");
    let io = io();
    let pool = pool();
    block_on(&io, async {
        let path = dir.path("sparse");
        let file = File::open(&io, &path, OpenOptions::writing()).await.unwrap();
        assert_eq!(file.length().await.unwrap(), 0);

        file.write_all_at(Data::Bytes(b"at the start".to_vec()), 0).await.unwrap();
        let mut chunk = pool.acquire().unwrap();
        let leases = ["beyond ", "4 ", "GiB"].map(|text| {
            chunk.append(text.as_bytes());
            chunk.take_committed()
        });
        file.write_all_at(Data::Leases(leases.to_vec()), FAR).await.unwrap();
        file.sync(true).await.unwrap();
        file.sync(false).await.unwrap();
        assert_eq!(file.length().await.unwrap(), FAR + 12);

        let file = File::open(&io, &path, OpenOptions::reading()).await.unwrap();
        assert_eq!(read(&file, 12, 0).await, b"at the start");
        assert_eq!(read(&file, 100, FAR).await, b"beyond 4 GiB");
        assert_eq!(read(&file, 4, 1 << 32).await, [0; 4]);
        assert_eq!(read(&file, 4, FAR + 12).await, b"");

        let into = Fill::Chunk(pool.acquire().unwrap());
        let (into, bytes) = file.read_at(into, 6, FAR).await.unwrap();
        assert_eq!(bytes, 6);
        assert_eq!(&into.into_chunk().unwrap().take_committed()[..], b"beyond");
    });
}

#[test]
fn r44_a_file_opens_as_asked() {
    let dir = Dir::new("r44-open");
    let io = io();
    let path = dir.path("file");
    let open = |options| block_on(&io, File::open(&io, &path, options));
    let cause = |options| open(options).unwrap_err().cause;
    assert_eq!(cause(OpenOptions::reading()), Cause::Os(libc::ENOENT));

    let new = OpenOptions { create_new: true, ..OpenOptions::writing() };
    let file = open(new).unwrap();
    assert_eq!(cause(new), Cause::Os(libc::EEXIST));
    block_on(&io, file.write_all_at(Data::Bytes(vec![1; 100]), 0)).unwrap();

    let reading = open(OpenOptions::reading()).unwrap();
    let outcome = block_on(&io, reading.write_all_at(Data::Bytes(vec![1]), 0));
    assert_eq!(outcome.unwrap_err().cause, Cause::Os(libc::EBADF));

    let truncating = OpenOptions { truncate: true, ..OpenOptions::writing() };
    let file = open(truncating).unwrap();
    assert_eq!(block_on(&io, file.length()).unwrap(), 0);

    let nowhere = std::path::Path::new("a\0b");
    let outcome = block_on(&io, File::open(&io, nowhere, OpenOptions::reading()));
    assert_eq!(outcome.unwrap_err().cause, Cause::Os(libc::EINVAL));
}

#[test]
fn r44_large_writes_and_many_pieces_are_finished() {
    let dir = Dir::new("r44-large");
    let io = io();
    let pool = pool();
    let mut leases = Vec::new();
    let mut expected = Vec::new();
    for number in 0..200u8 {
        let mut chunk = pool.acquire().unwrap();
        let bytes = vec![number; 1000 + usize::from(number)];
        chunk.append(&bytes);
        expected.extend_from_slice(&bytes);
        leases.push(chunk.take_committed());
    }
    block_on(&io, async {
        let path = dir.path("file");
        let file = File::open(&io, &path, OpenOptions::writing()).await.unwrap();
        file.write_all_at(Data::Leases(leases), 3).await.unwrap();
        assert_eq!(file.length().await.unwrap(), 3 + expected.len() as u64);
        assert!(read(&file, expected.len(), 3).await == expected);
    });
    assert_eq!(pool.bytes_lent(), 0);
}

#[test]
fn r44_offsets_that_mean_something_else_are_refused() {
    let dir = Dir::new("r44-offset");
    let io = io();
    block_on(&io, async {
        let path = dir.path("file");
        let file = File::open(&io, &path, OpenOptions::writing()).await.unwrap();
        let outcome = file.write_all_at(Data::Bytes(vec![1]), u64::MAX).await;
        assert_eq!(outcome.unwrap_err().cause, Cause::Os(libc::EINVAL));
        assert_eq!(file.length().await.unwrap(), 0);
    });
}

#[test]
fn r44_a_read_into_no_room_is_not_the_end_of_the_file() {
    let dir = Dir::new("r44-room");
    let io = io();
    block_on(&io, async {
        let path = dir.path("file");
        let file = File::open(&io, &path, OpenOptions::writing()).await.unwrap();
        file.write_all_at(Data::Bytes(vec![1; 10]), 0).await.unwrap();
        let outcome = file.read_at(Fill::Bytes(Vec::new()), 10, 0).await;
        assert_eq!(outcome.unwrap_err().cause, Cause::Os(libc::ENOBUFS));
        assert_eq!(read(&file, 0, 0).await, b"");
    });
}

#[test]
fn a_cancelled_operation_is_not_told_as_one_to_try_again() {
    let error = OperationError { operation: OperationName::Read, cause: Cause::Canceled }.to_io();
    assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
    assert_ne!(error.kind(), ErrorKind::Interrupted);
}

#[test]
fn r72_reads_at_the_device_are_not_cancelled_over_and_over() {
    const BLOCK: usize = 1 << 20;
    const BLOCKS: usize = 64;
    let dir = Dir::new("r72-direct");
    let path = dir.path("file");
    let file = fs::File::create(&path).unwrap();
    for number in 0..BLOCKS {
        file.write_all_at(&vec![1; BLOCK], (number * BLOCK) as u64).unwrap();
    }
    file.sync_all().unwrap();
    let direct = fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&path);
    let file = match direct {
        Ok(file) => descriptor(file),
        Err(error) => return println!("skipped: no O_DIRECT in {}: {error}", path.display()),
    };
    let io = io();
    let pool = annulus_codec::chunk::ChunkPool::new(BLOCK, BLOCKS, BLOCKS * BLOCK);
    let reads: Vec<_> = (0..BLOCKS)
        .map(|number| {
            let into = Fill::Chunk(pool.acquire().unwrap());
            let offset = (number * BLOCK) as u64;
            io.run(Operation::Read { file: file.clone(), into, len: BLOCK, offset }, None)
        })
        .collect();
    io.enter(Wait::No, &mut Vec::new()).unwrap();
    let in_flight = io.in_flight();
    let before = io.counters().enters;
    drop(reads);
    turn_until(&io, || io.in_flight() == 0);
    let enters = io.counters().enters - before;
    println!("{in_flight} reads were at the device, {enters} enters until idle");
    assert!(enters < 300, "{enters} enters");
    assert_eq!(pool.bytes_lent(), 0);
}
