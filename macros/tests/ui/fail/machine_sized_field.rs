use annulus_macros::{message, wire};

#[message]
struct Count {
    up: usize,
    both: Vec<(u8, isize)>,
}

#[wire]
enum Step {
    Up(usize),
    Down { by: [isize; 2] },
}

fn main() {}
