//! The attributes of [annulus](https://docs.rs/annulus): [`macro@message`] marks what actors send each
//! other, [`macro@wire`] the structs and enums inside of it.
//!
//! From the top down: `message` and `wire` write what the two attributes stand for; `args` reads their
//! arguments; `item` reads the type below them; `refuse` says no to what cannot go over the wire;
//! `archive` and `layout` write the parts that both attributes share.

mod archive;
mod args;
mod item;
mod layout;
mod message;
mod refuse;
mod sim_test;
mod wire;

use proc_macro::TokenStream;

/// Marks a struct or an enum as a message.
///
/// ```ignore
/// /// Asks the echo for its answer.
/// #[message(reply = Said)]
/// #[derive(Debug)]
/// pub struct Say {
///     pub text: String,
/// }
///
/// #[message]
/// #[derive(Debug)]
/// pub struct Said {
///     pub text: String,
/// }
/// ```
///
/// # Arguments
/// - `reply = Type`: what an ask with this message is answered with, itself a message. By default `()`.
/// - `name = "echo.Say"`: the name that other nodes know the message by. By default the path of the
///   type in its crate, which changes when the type moves. Give a name to what must stay.
/// - `local`: the message never leaves the process. It is moved to its receiver by value, so its fields
///   may be anything that is `Send`: descriptors, channels, an `Arc`.
/// - `crate = path`: where annulus is found, if not at `::annulus`.
///
/// # What it adds
/// The traits that make the type sendable: `Message` in all cases, and unless it is `local` also
/// `Layout` and the three traits of `rkyv`, with the archive `Archived…` that the receiver reads.
///
/// The archive has `Debug`. It shows its fields if `#[derive(Debug)]` stands *below* this attribute, on
/// a type without parameters; otherwise it shows its name only, so that what a type keeps from the
/// logs stays out of them.
///
/// The archive of an enum with named fields in its variants is a type alias. Its variants are found
/// through it, as in `ArchivedShape::Circle { .. }`, but `use ArchivedShape::*` is not possible.
///
/// # Flat messages
/// A message is flat if there is no string, vector, `Bytes`, box, map or set in it, nor in any of its parts: numbers,
/// flags, characters, durations, addresses, references to actors; options, results, tuples, arrays, structs and enums of
/// them. Such messages are the quickest, most of all *small* ones: those whose archives have 16 bytes at most, and no
/// number of 128 bits. An option takes as much room as what is in it and one more byte, rounded up.
///
/// # What it refuses
/// On all messages:
/// - anything but a struct or an enum, and any type or lifetime parameter: a name has one type;
/// - arguments that are unknown, or given twice.
///
/// On messages that are not `local`:
/// - references, pointers, functions and trait objects: own the data;
/// - `usize` and `isize`, which differ between machines: use `u64` and `i64`;
/// - `HashMap`, `HashSet`, `IndexMap` and `IndexSet`: use a `BTreeMap` or a sorted `Vec`;
/// - `Rc`, `Arc` and `Weak`: send the value itself;
/// - types that contain themselves: send a flat `Vec`, and refer to its elements by index;
/// - sequences of elements that take no room: send their count;
/// - enums without variants, and `#[rkyv(..)]`, which would change the archive and leave its layout as
///   it is;
/// - any other field whose type has no `Layout`: mark your own types with [`macro@wire`];
/// - a reply that is `local`: the message may come from another node. Mark both `local`, or neither.
///
/// On `local` messages: types that are not `Send`.
#[proc_macro_attribute]
pub fn message(args: TokenStream, item: TokenStream) -> TokenStream {
    message::expand(args.into(), item.into()).into()
}

/// Marks a struct or an enum as a part of messages.
///
/// ```ignore
/// #[wire]
/// #[derive(Debug)]
/// pub enum Shape {
///     Circle { radius: f64 },
///     Polygon(Vec<Point>),
/// }
///
/// #[wire]
/// #[derive(Debug)]
/// pub struct Point(pub f64, pub f64);
/// ```
///
/// A message needs no `#[wire]`: it may be a part of other messages as it is.
///
/// Type parameters and const parameters are fine: a `Page<T>` is a part of a message if its fields are.
///
/// # Arguments
/// - `crate = path`: where annulus is found, if not at `::annulus`.
///
/// # What it adds
/// `Layout` and the three traits of `rkyv`, with the archive `Archived…`, as [`macro@message`] does.
///
/// # What it refuses
/// Lifetime parameters, and all that [`macro@message`] refuses in messages that are not `local`.
#[proc_macro_attribute]
pub fn wire(args: TokenStream, item: TokenStream) -> TokenStream {
    wire::expand(args.into(), item.into()).into()
}

/// Makes a function a test that runs in a simulated cluster, once for each of many seeds. It is for
/// `annulus_sim`, which shows how.
///
/// ```ignore
/// #[sim_test(seeds = 1000)]
/// fn nothing_is_lost(sim: &mut Sim) {
///     // ..
/// }
/// ```
///
/// # Arguments
/// - `seeds = number`: how many seeds; 100 if it is not given.
#[proc_macro_attribute]
pub fn sim_test(args: TokenStream, item: TokenStream) -> TokenStream {
    sim_test::expand(args.into(), item.into()).into()
}
