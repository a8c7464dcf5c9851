use annulus_macros::message;

#[message(reply)]
struct NoReply;

#[message(reply = )]
struct EmptyReply;

#[message(name = echo)]
struct NameWithoutQuotes;

#[message(name = "")]
struct EmptyName;

#[message(local = true)]
struct LocalWithValue;

#[message(local reply = ())]
struct NoComma;

fn main() {}
