//! What the ring workers of [annulus](https://docs.rs/annulus) ask of the outside.
//!
//! Everything goes through one seam, the [`driver::Driver`]: sockets, files, time, randomness and
//! doorbells. The driver in [`ring`] does it with io_uring. What is built on the seam knows nothing of
//! the kernel: [`io`] turns operations into futures, [`stream`], [`datagram`] and [`file`] are the
//! things that users hold.
//!
//! Between the workers of a node go [`lane`]s, with the [`park`] protocol for a worker that sleeps.
//! [`timer`] is the wheel that keeps deadlines.

pub mod driver;
pub mod endpoint;
