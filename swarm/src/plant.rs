//! Planted faults: the proof that the simulation can fail.
//!
//! This program is built a second time, with faults compiled in. That [copy] runs itself once for each
//! fault, with that one at work, and searches for a seed that finds it.

#[cfg(not(planted))]
mod copy;
#[cfg(planted)]
mod search;

#[cfg(not(planted))]
pub(crate) use self::copy::{plant, plant_all};
#[cfg(planted)]
pub(crate) use self::search::{plant, plant_all};
