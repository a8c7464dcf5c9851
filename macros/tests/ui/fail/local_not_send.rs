use annulus_macros::message;

mod shim {
    pub use annulus_codec as codec;
}

#[message(local, crate = shim)]
struct Share {
    number: u8,
    shared: std::rc::Rc<u8>,
}

fn main() {}
