//! How a member of a crowd tells others something: all of it is numbered, and accounted for.

use std::{cell::Cell, rc::Rc};

use annulus::{NotReached, TellError, broadcast};
use annulus_sim::Random;

use super::{
    Crowd, Peer, Reach,
    member::{Essay, Talk, Whisper, Word},
};

/// Every so many broadcasts are of a text, and one in so many of those is larger than a chunk.
const TEXTS: f64 = 0.3;
const LARGE: f64 = 0.05;

/// See the [module](self). Clones are one voice.
#[derive(Clone)]
pub(super) struct Voice {
    pub(super) id: u64,
    pub(super) crowd: Rc<Crowd>,
    numbers: Rc<Cell<u64>>,
}

impl Voice {
    pub(super) fn new(crowd: &Rc<Crowd>) -> Self {
        let id = crowd.occasion.checks.unique();
        Voice { id, crowd: crowd.clone(), numbers: Rc::default() }
    }

    /// The number of what is said next.
    pub(super) fn next(&self) -> u64 {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }

    /// Tells somebody a word, half of them in few bytes, several in a row. Returns whether it was taken.
    pub(super) fn tell(&self, to: &Peer, fuel: u64) -> bool {
        let (sender, number) = (self.id, self.next());
        let told = if number % 8 < 4 {
            let word = Word { sender, number, fuel };
            to.place.tell(word).map_err(|undelivered| undelivered.reason)
        } else {
            let (sender, number, fuel) = (sender as u32, number as u32, fuel as u32);
            let whisper = Whisper { sender, number, fuel };
            to.place.tell(whisper).map_err(|undelivered| undelivered.reason)
        };
        self.account(to, number, told)
    }

    /// Tells all of them the same; one who is named twice gets it twice.
    pub(super) fn broadcast(&self, to: &[Peer], fuel: u64, random: &mut Random) {
        let (sender, number) = (self.id, self.next());
        let places: Vec<_> = to.iter().map(|peer| peer.place).collect();
        let told = if random.happens(TEXTS) {
            let most = if random.happens(LARGE) { 100_000 } else { 500 };
            let filling = vec![number as u8; random.between(0, most) as usize];
            broadcast(&places, &Essay { sender, number, fuel, filling })
        } else {
            broadcast(&places, &Word { sender, number, fuel })
        };
        let mut refused =
            told.err().map_or_else(Vec::new, |NotReached::<Talk> { refused, .. }| refused);
        for (at, peer) in to.iter().enumerate() {
            let why = refused.iter().position(|(place, _)| *place == peer.place);
            let told = why.map_or(Ok(()), |why| Err(refused.swap_remove(why).1));
            if self.account(peer, number, told) {
                self.mark(peer, to[..at].iter().any(|other| other.id == peer.id));
            }
        }
    }

    fn mark(&self, to: &Peer, again: bool) {
        self.crowd.occasion.sent.hit(match to.reach {
            Reach::Worker if again => "broadcast went to one actor twice",
            Reach::Worker => "broadcast went to its own worker",
            Reach::Node => "broadcast went to another worker",
            Reach::Cluster => "broadcast went to another node",
        });
    }

    /// Notes what came of a message. Returns whether it was taken.
    fn account(&self, to: &Peer, number: u64, told: Result<(), TellError>) -> bool {
        let Crowd { occasion, .. } = &*self.crowd;
        if let Err(reason) = told {
            self.crowd.refused(to, reason);
            return false;
        }
        if to.reach == Reach::Worker && occasion.sent.has_ended(to.id) {
            let says = format!("{} took a message after its end", to.id);
            occasion.checks.violation("P13", says);
        }
        occasion.sent.sent(self.id, to.id, number, self.crowd.is_sure(to));
        true
    }
}

/// What a mortal member says when it is dropped, or when a task of it is.
pub(super) struct LastWords {
    pub(super) voice: Voice,
    pub(super) random: Random,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        let Voice { id, crowd, .. } = &self.voice;
        if !crowd.is_open() {
            return;
        }
        for _ in 0..self.random.between(0, 3) {
            let member = super::pick(&crowd.members.borrow(), &mut self.random);
            let Some(to) = member else { return };
            let (number, fuel) = (self.voice.next(), self.random.between(0, 3));
            // Where the whole node ends nobody hears it.
            if to.place.tell(Word { sender: *id, number, fuel }).is_ok() {
                crowd.occasion.sent.sent(*id, to.id, number, true);
                crowd.occasion.sent.hit("destructor told something");
            }
        }
    }
}
