//! Files.

use std::path::Path;

use annulus::transport::driver::{Data, Descriptor, Fill, Operation, Output};

use crate::bench::{Bench, LATE, text};

scripts![
    a_file_that_is_not_there,
    a_file_is_made_once,
    a_file_is_found_again,
    a_file_is_cut_to_nothing,
    a_file_within_a_file,
    a_name_too_long,
    an_empty_name,
    a_directory_is_no_file,
    a_directory_can_be_made_durable,
    reads_end_with_the_file,
    reads_beyond_the_end_are_empty,
    a_read_takes_no_more_than_was_asked_for,
    a_read_takes_no_more_than_there_is_room_for,
    a_read_needs_room,
    a_read_of_nothing,
    a_read_fills_what_is_free,
    a_read_into_a_chunk,
    writes_go_where_they_should,
    a_write_of_nothing_changes_nothing,
    a_gap_reads_as_zeros,
    leases_are_written_in_order,
    offsets_that_mean_something_else,
    appending_writes_go_to_the_end,
    files_that_are_only_read,
    files_that_are_only_written,
    two_descriptors_of_one_file,
    a_file_cut_under_a_reader,
    syncs_of_both_kinds,
    a_sync_without_writes,
    files_in_time_have_no_deadline,
    files_are_closed_and_opened_again,
    files_of_two_workers,
    many_reads_at_once,
];

const MAKE: i32 = libc::O_RDWR | libc::O_CREAT;

async fn a_file_that_is_not_there(bench: &Bench) {
    bench.try_open("nothing", libc::O_RDONLY).await;
    bench.try_open("nothing", libc::O_RDWR).await;
    bench.try_open("nothing", libc::O_RDWR | libc::O_TRUNC).await;
    bench.try_open("nothing", libc::O_RDONLY).await;
}

async fn a_file_is_made_once(bench: &Bench) {
    bench.try_open("file", MAKE | libc::O_EXCL).await;
    bench.try_open("file", MAKE | libc::O_EXCL).await;
    bench.try_open("file", MAKE).await;
    bench.try_open("other", MAKE).await;
    bench.try_open("other", MAKE | libc::O_EXCL).await;
}

async fn a_file_is_found_again(bench: &Bench) {
    let file = bench.file("file").await;
    bench.note("length", bench.length(&file).await);
    bench.note("write", bench.write(&file, "kept", 0).await);
    drop(file);
    let file = bench.file("file").await;
    bench.note("length", bench.length(&file).await);
    bench.note("read", bench.read(&file, 4, 0).await);
}

async fn a_file_is_cut_to_nothing(bench: &Bench) {
    let file = bench.file("file").await;
    bench.write(&file, "old words", 0).await;
    let again = bench.try_open("file", libc::O_RDWR | libc::O_TRUNC).await.unwrap();
    bench.note("length", bench.length(&again).await);
    bench.note("read", bench.read(&again, 9, 0).await);
    bench.write(&again, "new", 0).await;
    bench.note("read", bench.read(&file, 9, 0).await);
}

async fn a_file_within_a_file(bench: &Bench) {
    bench.file("file").await;
    bench.try_open("file/within", MAKE).await;
    bench.try_open("file/within", libc::O_RDONLY).await;
}

async fn a_name_too_long(bench: &Bench) {
    bench.try_open(&"x".repeat(255), MAKE).await;
    bench.try_open(&"x".repeat(256), MAKE).await;
    let deep = "deep/".repeat(1000);
    bench.try_open(&deep, libc::O_RDONLY).await;
}

async fn an_empty_name(bench: &Bench) {
    bench.note("open", text(&bench.open_path(Path::new(""), MAKE).await));
}

async fn a_directory_is_no_file(bench: &Bench) {
    // The simulator knows a directory by what is in it.
    bench.file("file").await;
    bench.note("to write", text(&bench.open_path(&bench.path(""), libc::O_RDWR).await));
    bench.note("to make", text(&bench.open_path(&bench.path(""), MAKE).await));
    let outcome = bench.open_path(&bench.path(""), libc::O_RDONLY).await;
    bench.note("to read", text(&outcome));
    let Ok(Output::Opened(directory)) = outcome else { return };
    bench.note("read", bench.read(&directory, 10, 0).await);
    bench.note("write", bench.write(&directory, "x", 0).await);
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    bench.note("file", text(&bench.open_path(&bench.path("file"), flags).await));
}

async fn a_directory_can_be_made_durable(bench: &Bench) {
    bench.file("file").await;
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    let outcome = bench.open_path(&bench.path(""), flags).await;
    bench.note("open", text(&outcome));
    let Ok(Output::Opened(file)) = outcome else { return };
    bench.show("sync", Operation::Sync { file, data_only: false }).await;
}

async fn reads_end_with_the_file(bench: &Bench) {
    let file = bench.file("file").await;
    bench.write(&file, "0123456789", 0).await;
    for (len, offset) in [(10, 0), (20, 0), (20, 5), (1, 9), (5, 9)] {
        bench.note("read", bench.read(&file, len, offset).await);
    }
}

async fn reads_beyond_the_end_are_empty(bench: &Bench) {
    let file = bench.file("file").await;
    bench.note("of nothing", bench.read(&file, 10, 0).await);
    bench.write(&file, "0123456789", 0).await;
    for offset in [10, 11, 1 << 20, i64::MAX as u64 - 4096] {
        bench.note("read", bench.read(&file, 10, offset).await);
    }
}

async fn a_read_takes_no_more_than_was_asked_for(bench: &Bench) {
    let file = bench.file("file").await;
    bench.write(&file, "0123456789", 0).await;
    let into = Fill::Bytes(Vec::with_capacity(100));
    bench.show("read", Operation::Read { file, into, len: 4, offset: 2 }).await;
}

async fn a_read_takes_no_more_than_there_is_room_for(bench: &Bench) {
    let file = bench.file("file").await;
    bench.write(&file, "0123456789", 0).await;
    let into = Fill::Bytes(Vec::with_capacity(3));
    bench.show("read", Operation::Read { file, into, len: 1000, offset: 0 }).await;
}

async fn a_read_needs_room(bench: &Bench) {
    let file = bench.file("file").await;
    bench.write(&file, "0123456789", 0).await;
    let into = Fill::Bytes(Vec::new());
    bench.show("read", Operation::Read { file: file.clone(), into, len: 1, offset: 0 }).await;
    // Not even where there is nothing to read.
    let into = Fill::Bytes(Vec::new());
    bench.show("read", Operation::Read { file, into, len: 1, offset: 100 }).await;
}

async fn a_read_of_nothing(bench: &Bench) {
    let file = bench.file("file").await;
    bench.write(&file, "0123456789", 0).await;
    for room in [0, 10] {
        let into = Fill::Bytes(Vec::with_capacity(room));
        let read = Operation::Read { file: file.clone(), into, len: 0, offset: 0 };
        bench.show("read", read).await;
    }
}

async fn a_read_fills_what_is_free(bench: &Bench) {
    let file = bench.file("file").await;
    bench.write(&file, "0123456789", 0).await;
    let mut vector = Vec::with_capacity(9);
    vector.extend_from_slice(b"kept ");
    let into = Fill::Bytes(vector);
    bench.show("read", Operation::Read { file, into, len: 100, offset: 3 }).await;
}

async fn a_read_into_a_chunk(bench: &Bench) {
    let file = bench.file("file").await;
    bench.write(&file, "0123456789", 0).await;
    let mut chunk = bench.pool().acquire().unwrap();
    chunk.append(b"kept ");
    let into = Fill::Chunk(chunk);
    bench.show("read", Operation::Read { file, into, len: 4, offset: 3 }).await;
    bench.note("lent", bench.pool().bytes_lent().to_string());
}

async fn writes_go_where_they_should(bench: &Bench) {
    let file = bench.file("file").await;
    for (text, offset) in [("aaaaaaaaaa", 0), ("bb", 2), ("cccc", 8), ("d", 0), ("e", 11)] {
        bench.note("write", bench.write(&file, text, offset).await);
        bench.note("length", bench.length(&file).await);
        bench.note("read", bench.read(&file, 100, 0).await);
    }
}

async fn a_write_of_nothing_changes_nothing(bench: &Bench) {
    let file = bench.file("file").await;
    bench.note("write", bench.write(&file, "", 0).await);
    bench.note("write", bench.write(&file, "", 100).await);
    bench.note("length", bench.length(&file).await);
    let data = Data::Leases(Vec::new());
    bench.show("no leases", Operation::Write { file: file.clone(), data, offset: 50 }).await;
    bench.note("length", bench.length(&file).await);
}

async fn a_gap_reads_as_zeros(bench: &Bench) {
    let file = bench.file("file").await;
    bench.note("write", bench.write(&file, "far", 1 << 20).await);
    bench.note("length", bench.length(&file).await);
    bench.note("start", bench.read(&file, 4, 0).await);
    bench.note("edge", bench.read(&file, 100, (1 << 20) - 4).await);
    bench.note("write", bench.write(&file, "near", 4).await);
    bench.note("start", bench.read(&file, 12, 0).await);
}

/// Writes all of the data, however it is cut.
async fn write_all(bench: &Bench, file: &Descriptor, mut data: Data, mut offset: u64) -> usize {
    let mut all = 0;
    while !data.is_empty() {
        let outcome = bench.run(Operation::Write { file: file.clone(), data, offset }).await;
        let Ok(Output::Written { bytes, data: given }) = outcome else { panic!("{outcome:?}") };
        all += bytes;
        offset += bytes as u64;
        data = given.without(bytes);
    }
    all
}

async fn leases_are_written_in_order(bench: &Bench) {
    let file = bench.file("file").await;
    let data = Data::Leases(bench.leases(&["one ", "", "two ", "three"]));
    bench.show("write", Operation::Write { file: file.clone(), data, offset: 3 }).await;
    bench.note("read", bench.read(&file, 100, 0).await);
    // More than one entry takes: such a write may be short.
    let data = Data::Leases(bench.leases(&["word "; 200]));
    let written = write_all(bench, &file, data, 0).await;
    bench.note("written", written.to_string());
    bench.note("length", bench.length(&file).await);
    bench.note("last", bench.read(&file, 100, 990).await);
}

async fn offsets_that_mean_something_else(bench: &Bench) {
    let file = bench.file("file").await;
    for offset in [u64::MAX, 1 << 63] {
        bench.note("write", bench.write(&file, "x", offset).await);
        bench.note("read", bench.read(&file, 1, offset).await);
    }
    bench.note("length", bench.length(&file).await);
}

async fn appending_writes_go_to_the_end(bench: &Bench) {
    let file = bench.try_open("file", MAKE | libc::O_APPEND).await.unwrap();
    bench.note("write", bench.write(&file, "one ", 0).await);
    bench.note("write", bench.write(&file, "two ", 0).await);
    bench.note("write", bench.write(&file, "three", 100).await);
    bench.note("length", bench.length(&file).await);
    bench.note("read", bench.read(&file, 100, 0).await);
}

async fn files_that_are_only_read(bench: &Bench) {
    let file = bench.file("file").await;
    bench.write(&file, "0123456789", 0).await;
    let reading = bench.try_open("file", libc::O_RDONLY).await.unwrap();
    bench.note("read", bench.read(&reading, 10, 0).await);
    bench.note("write", bench.write(&reading, "x", 0).await);
    bench.note("length", bench.length(&reading).await);
    bench.show("sync", Operation::Sync { file: reading, data_only: false }).await;
}

async fn files_that_are_only_written(bench: &Bench) {
    let writing = bench.try_open("file", libc::O_WRONLY | libc::O_CREAT).await.unwrap();
    bench.note("write", bench.write(&writing, "x", 0).await);
    bench.note("read", bench.read(&writing, 1, 0).await);
    bench.note("length", bench.length(&writing).await);
}

async fn two_descriptors_of_one_file(bench: &Bench) {
    let one = bench.file("file").await;
    let other = bench.file("file").await;
    bench.note("write", bench.write(&one, "from one", 0).await);
    bench.note("read", bench.read(&other, 100, 0).await);
    bench.note("write", bench.write(&other, "the other", 5).await);
    drop(other);
    bench.note("read", bench.read(&one, 100, 0).await);
    bench.note("length", bench.length(&one).await);
}

async fn a_file_cut_under_a_reader(bench: &Bench) {
    let file = bench.file("file").await;
    bench.write(&file, "0123456789", 0).await;
    bench.try_open("file", libc::O_WRONLY | libc::O_TRUNC).await;
    bench.note("read", bench.read(&file, 10, 0).await);
    bench.note("write", bench.write(&file, "x", 3).await);
    bench.note("read", bench.read(&file, 10, 0).await);
}

async fn syncs_of_both_kinds(bench: &Bench) {
    let file = bench.file("file").await;
    for data_only in [true, false] {
        bench.write(&file, "durable", 0).await;
        bench.show("sync", Operation::Sync { file: file.clone(), data_only }).await;
        bench.note("read", bench.read(&file, 7, 0).await);
    }
}

async fn a_sync_without_writes(bench: &Bench) {
    let file = bench.file("file").await;
    bench.show("sync", Operation::Sync { file: file.clone(), data_only: true }).await;
    bench.show("sync", Operation::Sync { file, data_only: false }).await;
}

async fn files_in_time_have_no_deadline(bench: &Bench) {
    let file = bench.file("file").await;
    let data = Data::Bytes(b"in time".to_vec());
    let write = Operation::Write { file: file.clone(), data, offset: 0 };
    bench.note("write", text(&bench.io.run(write, LATE).await));
    let sync = Operation::Sync { file: file.clone(), data_only: true };
    bench.note("sync", text(&bench.io.run(sync, LATE).await));
    let into = Fill::Bytes(Vec::with_capacity(7));
    let read = Operation::Read { file: file.clone(), into, len: 7, offset: 0 };
    bench.note("read", text(&bench.io.run(read, LATE).await));
    bench.note("length", text(&bench.io.run(Operation::Length { file }, LATE).await));
}

async fn files_are_closed_and_opened_again(bench: &Bench) {
    for round in 0..5u64 {
        let file = bench.file("file").await;
        bench.note("write", bench.write(&file, "x", round).await);
        bench.note("length", bench.length(&file).await);
    }
}

async fn files_of_two_workers(bench: &Bench) {
    let file = bench.file("file").await;
    bench.write(&file, "from here", 0).await;
    // A file moves as a socket does.
    let file = Descriptor::new(file.detach().expect("nothing is in flight"));
    let into = Fill::Bytes(Vec::with_capacity(9));
    let read = Operation::Read { file, into, len: 9, offset: 0 };
    bench.note("read", text(&bench.other().run(read, None).await));
}

async fn many_reads_at_once(bench: &Bench) {
    let file = bench.file("file").await;
    bench.write(&file, "0123456789", 0).await;
    let reads: Vec<_> = (0..10)
        .map(|offset| {
            let into = Fill::Bytes(Vec::with_capacity(1));
            bench.io.run(Operation::Read { file: file.clone(), into, len: 1, offset }, None)
        })
        .collect();
    for read in reads {
        bench.note("read", text(&read.await));
    }
}
