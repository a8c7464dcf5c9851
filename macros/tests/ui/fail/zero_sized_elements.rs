use annulus_macros::{message, wire};

mod shim {
    pub use annulus_codec as codec;
}

#[wire(crate = shim)]
struct Tick;

#[message(crate = shim)]
struct Ticks {
    ticks: Vec<Tick>,
}

fn main() {}
