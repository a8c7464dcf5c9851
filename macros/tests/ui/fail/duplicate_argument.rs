use annulus_macros::{message, wire};

#[message(reply = Said, reply = ())]
struct Say;

#[message(local, local)]
struct Said;

#[wire(crate = a, crate = b)]
struct Part;

fn main() {}
