use annulus_macros::message;

mod shim {
    pub use annulus_codec as codec;
}

struct Said;

#[message(reply = Said, crate = shim)]
struct Say;

fn main() {}
