//! How many instructions the primitives and some whole paths take, under callgrind.
#![forbid(unsafe_code)]

use gungraun::{Callgrind, prelude::*};
use micro::{
    Work,
    crossing::Cross,
    frames::{Read, ReadForeign, Write},
    handshakes::Shake,
    lane::SendAndReceive,
    messages::{Block, Gaps, Number, Text, Word},
    names::Hash,
    paths::{Ask, Nothing, SpawnAndEnd, Tell, Timers},
    timers::{Cancel, Expire, Insert},
};

#[library_benchmark]
#[bench::write_number(Write::<Number>::prepare())]
#[bench::write_gaps(Write::<Gaps>::prepare())]
#[bench::write_text(Write::<Text>::prepare())]
#[bench::write_block(Write::<Block>::prepare())]
#[bench::read_number(Read::<Number>::prepare())]
#[bench::read_text(Read::<Text>::prepare())]
#[bench::read_block(Read::<Block>::prepare())]
#[bench::read_foreign_number(ReadForeign::<Number>::prepare())]
#[bench::read_foreign_text(ReadForeign::<Text>::prepare())]
#[bench::read_foreign_block(ReadForeign::<Block>::prepare())]
#[bench::cross_by_2(Cross::<2>::prepare())]
#[bench::cross_by_100(Cross::<100>::prepare())]
#[bench::handshake(Shake::prepare())]
#[bench::hash_name(Hash::prepare())]
fn codec<W: Work>(work: W) -> W {
    after_lap(work)
}

#[library_benchmark]
#[bench::lane_1_word(SendAndReceive::<1>::prepare())]
#[bench::lane_16_words(SendAndReceive::<16>::prepare())]
#[bench::timer_insert(Insert::prepare())]
#[bench::timer_cancel(Cancel::prepare())]
#[bench::timer_expire(Expire::prepare())]
fn transport<W: Work>(work: W) -> W {
    after_lap(work)
}

#[library_benchmark]
#[bench::nothing(Nothing::prepare())]
#[bench::tell_same_worker(Tell::<Number, 0>::prepare())]
#[bench::tell_same_worker_word(Tell::<Word, 0>::prepare())]
#[bench::tell_same_worker_gaps(Tell::<Gaps, 0>::prepare())]
#[bench::tell_same_worker_text(Tell::<Text, 0>::prepare())]
#[bench::tell_other_worker(Tell::<Number, 1>::prepare())]
#[bench::ask_same_worker(Ask::<0>::prepare())]
#[bench::ask_other_worker(Ask::<1>::prepare())]
#[bench::spawn_and_end(SpawnAndEnd::prepare())]
#[bench::timer(Timers::prepare())]
fn path<W: Work>(work: W) -> W {
    after_lap(work)
}

/// What is dropped later does not count.
fn after_lap<W: Work>(mut work: W) -> W {
    work.lap();
    work
}

/// Which of its ways to copy bytes the C library takes depends on the processor; with these every x86 takes
/// the same.
const TUNABLES: &str = "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-AVX,-AVX_Fast_Unaligned_Load,\
                        -SSE4_2,-SSE4_1,-SSSE3,-ERMS,-FSRM";

library_benchmark_group!(name = counts, benchmarks = [codec, transport, path]);

main!(
    config = LibraryBenchmarkConfig::default()
        .env("GLIBC_TUNABLES", TUNABLES)
        .tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = counts
);
