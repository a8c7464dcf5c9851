//! The lint still works on what the user wrote: only the generated items are documented for them.

#![deny(missing_docs)]

/// Stands for annulus.
pub mod shim {
    pub use annulus_codec as codec;
}

#[annulus_macros::message(crate = shim)]
pub struct Say {
    pub text: String,
}

fn main() {}
