//! Frames, chunks, message identity and the handshake of [annulus](https://docs.rs/annulus).
//!
//! A message becomes bytes once, when it is sent, and stays the same bytes until it has been handled.
//! This crate holds what those bytes are and how they are written and read. It does no I/O, reads no
//! clock and draws no randomness.
//!
//! From the bottom up: [`chunk`] is the memory, [`frame`] what lies in it, [`message`] what a frame is
//! about, [`archive`] how a message gets into a frame and is read there, [`held`] what the receiver of one
//! holds, [`passing`] which messages do so, [`outbox`] what waits for a destination, [`queue`] and [`yard`] what
//! waits for a receiver, [`directory`] who the receivers are, and [`handshake`] how two nodes get to trust a connection.

pub mod address;
pub mod archive;
pub mod bytes;
pub mod chunk;
pub mod directory;
pub mod extension;
pub mod frame;
pub mod handshake;
pub mod hash;
pub mod held;
pub mod message;
pub mod outbox;
pub mod passing;
pub mod queue;
pub mod yard;

pub use rkyv;
