use std::collections::{HashMap, HashSet};

use annulus_macros::message;

#[message]
struct Table {
    map: HashMap<String, u8>,
    set: Option<HashSet<u8>>,
    path: std::collections::HashMap<u8, u8>,
    index: indexmap::IndexMap<u8, u8>,
    ordered: indexmap::IndexSet<u8>,
    deque: std::collections::VecDeque<u8>,
}

fn main() {}
