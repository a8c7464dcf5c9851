use annulus_macros::{message, wire};

#[message]
union Either {
    number: u32,
    other: f32,
}

#[wire]
union Part {
    number: u32,
    other: f32,
}

#[message]
fn say() {}

#[wire]
type Alias = u8;

fn main() {}
