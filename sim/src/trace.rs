//! What happened, in order: as a hash always, as text on demand.

use std::fmt;

/// The trace of a run. Two runs of one seed have the same.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    events: u64,
    aloud: bool,
}

/// Writes text into the hash, without memory.
struct Hasher<'a>(&'a mut u64);

impl fmt::Write for Hasher<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // FNV-1a.
            *self.0 = (*self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

impl Trace {
    pub(crate) fn new(aloud: bool) -> Self {
        Trace { hash: 0xcbf2_9ce4_8422_2325, events: 0, aloud }
    }

    /// Notes three numbers that say what happened; cheap enough for everything.
    pub(crate) fn note(&mut self, at: u64, what: u64, whom: u64) {
        self.events += 1;
        for number in [at, what, whom] {
            self.hash = (self.hash ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }

    /// Says something, and prints it if the run is to be read.
    pub(crate) fn say(&mut self, at: u64, what: fmt::Arguments<'_>) {
        self.events += 1;
        // Writing into a hash does not fail.
        let _ = fmt::write(&mut Hasher(&mut self.hash), format_args!("{at} {what}"));
        if self.aloud {
            println!("{:>12.6} {what}", at as f64 / 1e9);
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }
}
