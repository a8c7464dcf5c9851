use annulus_macros::{message, wire};

#[message]
struct Typed<T>(T);

#[message]
struct Sized<const N: usize>([u8; N]);

#[message(local)]
struct Borrowed<'a>(std::borrow::Cow<'a, str>);

#[wire]
struct Part<'a> {
    text: &'a str,
}

fn main() {}
