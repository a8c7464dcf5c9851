use annulus_macros::message;

mod shim {
    pub use annulus_codec as codec;
}

#[message(local, crate = shim)]
struct Shared(std::sync::Arc<u8>);

#[message(reply = Shared, crate = shim)]
struct Share {
    number: u8,
}

#[message(local, reply = Shared, crate = shim)]
struct ShareHere;

fn main() {}
