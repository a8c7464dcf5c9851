//! How long the primitives take.
#![forbid(unsafe_code)]

use divan::{Bencher, counter::ItemsCount};
use micro::{
    LAP, Work,
    crossing::Cross,
    frames::{Read, ReadForeign, Write},
    handshakes::Shake,
    lane::SendAndReceive,
    messages::{Block, Number, Text},
    names::Hash,
    timers::{Cancel, Expire, Insert},
};

fn main() {
    divan::main();
}

#[divan::bench(types = [
    Write<Number>, Write<Text>, Write<Block>,
    Read<Number>, Read<Text>, Read<Block>,
    ReadForeign<Number>, ReadForeign<Text>, ReadForeign<Block>,
    Cross<2>, Cross<100>,
    SendAndReceive<1>, SendAndReceive<16>,
    Insert, Cancel, Expire,
    Shake, Hash,
])]
fn lap<W: Work>(bencher: Bencher) {
    bencher.counter(ItemsCount::new(LAP)).with_inputs(W::prepare).bench_local_refs(W::lap);
}
