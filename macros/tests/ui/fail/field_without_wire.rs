use annulus_macros::message;

mod shim {
    pub use annulus_codec as codec;
}

struct Point {
    x: f64,
    y: f64,
}

#[message(crate = shim)]
struct Draw {
    corners: Vec<u8>,
    at: Point,
}

fn main() {}
