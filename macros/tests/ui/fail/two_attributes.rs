use annulus_macros::{message, wire};

#[message]
#[wire]
struct Both;

#[wire]
#[message]
struct TheOtherWayRound;

fn main() {}
