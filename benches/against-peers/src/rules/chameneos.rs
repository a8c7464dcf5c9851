//! Chameneos: creatures that meet at a mall and change their colors.

pub(crate) const CREATURES: usize = 100;

/// Meetings of a lap. Savina: 200,000.
pub(crate) const MEETINGS: u64 = 20_000;

/// Each meeting is counted by both who meet.
pub(crate) const COUNTED: u64 = 2 * MEETINGS;

/// A color, as a number below three, so that it can be sent as it is.
pub(crate) type Color = u8;

/// The first color of a creature.
pub(crate) fn color_of(creature: usize) -> Color {
    (creature % 3) as Color
}

/// What becomes of a color when it meets another one: the same if they are equal, otherwise the third.
#[inline]
pub(crate) fn complement(own: Color, other: Color) -> Color {
    if own == other { own } else { 3 - own - other }
}

/// What the mall knows: who waits, and how many meetings are left.
#[derive(Debug, Default)]
pub(crate) struct Mall {
    left: u64,
    waiting: Option<usize>,
    faded: usize,
    counted: u64,
}

/// What the mall does about a creature that wants to meet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meeting {
    /// It waits for another one.
    Wait,
    /// It meets this one, which is told.
    With(usize),
    /// There are no more meetings.
    Over,
}

impl Mall {
    pub(crate) fn open(&mut self) {
        *self = Mall { left: MEETINGS, ..Mall::default() };
    }

    pub(crate) fn enter(&mut self, creature: usize) -> Meeting {
        if self.left == 0 {
            return Meeting::Over;
        }
        match self.waiting.take() {
            Some(other) => {
                self.left -= 1;
                Meeting::With(other)
            }
            None => {
                self.waiting = Some(creature);
                Meeting::Wait
            }
        }
    }

    /// A creature leaves, and says how often it has met another one. The last one gets the sum.
    pub(crate) fn leave(&mut self, met: u64) -> Option<u64> {
        self.faded += 1;
        self.counted += met;
        (self.faded == CREATURES).then_some(self.counted)
    }
}
