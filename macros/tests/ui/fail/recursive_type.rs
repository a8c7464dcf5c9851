use annulus_macros::{message, wire};

#[message]
struct Node {
    value: u8,
    next: Option<Box<Node>>,
}

#[wire]
enum Tree {
    Leaf,
    Fork(Vec<Self>),
}

fn main() {}
