use std::{
    rc::Rc,
    sync::{Arc, Mutex, Weak},
};

use annulus_macros::message;

#[message]
struct Shared {
    rc: Rc<u8>,
    arc: Vec<Arc<String>>,
    weak: Weak<u8>,
    mutex: Mutex<u8>,
    when: std::time::Instant,
}

fn main() {}
