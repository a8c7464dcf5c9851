use annulus_macros::message;

#[message]
struct Say {
    text: &'static str,
    bytes: &'static [u8],
    number: Option<&'static u64>,
    boxed: Box<str>,
    slice: Box<[u16]>,
    cow: std::borrow::Cow<'static, str>,
    pointer: *const u8,
    call: fn(u8) -> u8,
    action: Box<dyn Fn() + Send>,
}

fn main() {}
