//! What the small benches of annulus do. Two harnesses run the same works: `benches/times.rs` takes the time,
//! `benches/counts.rs` counts instructions.
//!
//! [`frames`] are messages as bytes, [`crossing`] is what goes to another worker and [`lane`] how,
//! [`timers`] the wheel, [`handshakes`] and [`names`] what their names say. [`paths`] are whole ways through
//! a node. [`baseline`] compares counts with those that are stored.
#![forbid(unsafe_code)]

pub mod baseline;
pub mod crossing;
pub mod frames;
pub mod handshakes;
pub mod lane;
pub mod messages;
pub mod names;
pub mod paths;
pub mod timers;

/// Operations of a lap.
pub const LAP: usize = 1000;

/// Operations of a lap of a whole path: so many that a lap's own start and end are next to nothing.
pub const PATH_LAP: usize = 10_000;

/// Some primitive or path, many times over.
pub trait Work {
    /// Makes what a lap needs; it is not part of what is measured.
    fn prepare() -> Self;

    /// Does all operations of the only lap.
    fn lap(&mut self);
}
