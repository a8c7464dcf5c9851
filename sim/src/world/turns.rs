//! Who has the next turn.

use super::{WorkerId, schedule::Place};

/// When each worker has its next turn: a tournament, of which the soonest is the winner.
///
/// A turn is moved again and again, mostly to an earlier time, as things happen to its worker. In a heap
/// the later ones would stay behind.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The winner of each match: the final is at 1, and the winners of matches 2n and 2n + 1 meet in match
    /// n. The second half are the turns themselves, one for each worker, of those to come as well.
    matches: Vec<Turn>,
}

type Turn = (Place, WorkerId);

impl Turns {
    /// The soonest turn, and whose it is.
    pub(super) fn first(&self) -> Turn {
        self.matches.get(1).copied().unwrap_or((Place::NEVER, 0))
    }

    /// A worker's next turn; [`Place::NEVER`] if it has none.
    pub(super) fn of(&self, worker: WorkerId) -> Place {
        self.matches.get(self.matches.len() / 2 + worker).map_or(Place::NEVER, |turn| turn.0)
    }

    /// Gives a worker its next turn, instead of the one that it has.
    pub(super) fn set(&mut self, worker: WorkerId, place: Place) {
        if worker >= self.matches.len() / 2 {
            self.grow(worker + 1);
        }
        let mut number = self.matches.len() / 2 + worker;
        self.matches[number] = (place, worker);
        while number > 1 {
            number /= 2;
            let winner = self.play(number);
            // The later matches stay as they are.
            if self.matches[number] == winner {
                return;
            }
            self.matches[number] = winner;
        }
    }

    fn play(&self, number: usize) -> Turn {
        self.matches[2 * number].min(self.matches[2 * number + 1])
    }

    fn grow(&mut self, workers: usize) {
        let before = self.matches.split_off(self.matches.len() / 2);
        let len = workers.next_power_of_two();
        self.matches = vec![(Place::NEVER, 0); len];
        self.matches.extend(before);
        self.matches.extend((self.matches.len() - len..len).map(|worker| (Place::NEVER, worker)));
        for number in (1..len).rev() {
            self.matches[number] = self.play(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn the_soonest_turn_is_always_at_hand() {
        let (mut turns, mut random) = (Turns::default(), Random::new(1));
        assert_eq!(turns.first().0, Place::NEVER);
        let mut places: Vec<Place> = Vec::new();
        for number in 0..10_000 {
            let worker = random.index(1 + number / 100);
            let at = random.between(0, 50);
            let place = if at == 0 { Place::NEVER } else { Place::new(at, 0, number as u32) };
            places.resize(places.len().max(worker + 1), Place::NEVER);
            places[worker] = place;
            turns.set(worker, place);
            let soonest = places.iter().min().expect("there are some");
            let (first, winner) = turns.first();
            assert_eq!((first, places[winner]), (*soonest, *soonest));
            assert_eq!(turns.of(worker), place);
        }
    }
}
