use annulus_macros::{message, wire};

#[message(replay = Said)]
struct Say;

#[message("echo.Said")]
struct Said;

#[wire(name = "echo.Part")]
struct Part;

fn main() {}
