use annulus_macros::message;

#[message]
enum Never {}

fn main() {}
