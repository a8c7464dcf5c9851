//! What the ring workers of [annulus](https://docs.rs/annulus) ask of the outside.
//!
//! Everything goes through one seam, the [`driver::Driver`]: sockets, files, time, randomness and
//! doorbells. The driver in [`ring`] does it with io_uring. What is built on the seam knows nothing of
//! the kernel: [`io`] turns operations into futures, [`stream`], [`datagram`] and [`mod@file`] are the
//! things that users hold.
//!
//! Between the workers of a node go [`lane`]s, with the [`park`] protocol for a worker that sleeps, and a
//! [`call`] that says whether there is something where looking costs too much.
//! [`timer`] is the wheel that keeps deadlines; [`scoped`] is how code finds the worker that runs it.

#![deny(unsafe_code)]

pub mod call;
pub mod datagram;
pub mod driver;
pub mod endpoint;
pub mod file;
pub mod io;
#[allow(unsafe_code, reason = "values live in shared slots that one side owns at a time")]
pub mod lane;
pub mod park;
#[allow(unsafe_code, reason = "this is where the crate talks to the kernel")]
pub mod ring;
#[allow(unsafe_code, reason = "a pointer stands for a reference while a call lasts")]
pub mod scoped;
pub mod stream;
pub mod timer;
