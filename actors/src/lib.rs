//! An actor framework over io_uring.
#![forbid(unsafe_code)]

pub use annulus_codec as codec;
pub use annulus_macros::{message, wire};
