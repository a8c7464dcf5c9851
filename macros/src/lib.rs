//! The attributes of [annulus](https://docs.rs/annulus): `#[message]` and `#[wire]`.

use proc_macro::TokenStream;

/// Marks a message.
#[proc_macro_attribute]
pub fn message(_: TokenStream, item: TokenStream) -> TokenStream {
    item
}

/// Marks a part of a message.
#[proc_macro_attribute]
pub fn wire(_: TokenStream, item: TokenStream) -> TokenStream {
    item
}
