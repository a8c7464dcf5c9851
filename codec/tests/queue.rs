//! The queue of small messages in a mailbox, beside a plain model.

mod common;

use std::collections::VecDeque;

use annulus_codec::{
    archive::Archived,
    held::Small,
    message::{Message, MessageId},
    queue::{Front, Mark, Popped, SmallQueue},
    rkyv,
};
use common::*;
use proptest::prelude::*;

/// Fills one word and half of another.
#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(crate = annulus_codec::rkyv)]
#[repr(C)]
struct Three([u32; 3]);
message!(Three, "test.Three", flat: true);

/// Most bits are not valid in the second word.
#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(crate = annulus_codec::rkyv)]
#[repr(C)]
struct Strict(u64, char, u32);
message!(Strict, "test.Strict", flat: true);

/// One word long, and its archive takes a part of another: options find no room for themselves there.
#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(crate = annulus_codec::rkyv)]
struct Niched(Option<char>, u32);
message!(Niched, "test.Niched", flat: true);

/// What waits.
#[derive(Clone, Debug, PartialEq)]
enum Waiting {
    Unit,
    Inc(u64),
    Pair(u64, u64),
    Three([u32; 3]),
    Strict(u64, char, u32),
    Niched(Option<char>, u32),
    Mark(Mark, u64),
}

impl Waiting {
    fn small(&self) -> Option<Small> {
        Some(match *self {
            Waiting::Unit => small(&()),
            Waiting::Inc(number) => small(&Inc(number)),
            Waiting::Pair(first, second) => small(&Pair(first, second)),
            Waiting::Three(numbers) => small(&Three(numbers)),
            Waiting::Strict(first, letter, last) => small(&Strict(first, letter, last)),
            Waiting::Niched(letter, last) => small(&Niched(letter, last)),
            Waiting::Mark(..) => return None,
        })
    }

    /// Words that are not zero need a place, and so does each message.
    fn places(&self) -> u32 {
        1 + match *self {
            Waiting::Pair(_, second) => u32::from(second != 0),
            Waiting::Three([_, _, third]) => u32::from(third != 0),
            Waiting::Strict(_, letter, last) => u32::from(letter != '\0' || last != 0),
            Waiting::Niched(_, last) => u32::from(last != 0),
            Waiting::Unit | Waiting::Inc(_) | Waiting::Mark(..) => 0,
        }
    }

    fn front(&self) -> Front {
        match *self {
            Waiting::Unit => Front::Alone(<()>::ID),
            Waiting::Inc(_) => Front::Alone(Inc::ID),
            Waiting::Pair(..) => Front::Alone(Pair::ID),
            Waiting::Three(_) => Front::Alone(Three::ID),
            Waiting::Strict(..) => Front::Alone(Strict::ID),
            Waiting::Niched(..) => Front::Alone(Niched::ID),
            Waiting::Mark(mark, bits) => Front::Mark(mark, MessageId::from_bits(bits)),
        }
    }

    /// Takes the next of the queue as a message of one of the types.
    fn pop(of: Kind, queue: &SmallQueue) -> Option<Self> {
        match of {
            Kind::Unit => queue.pop::<()>().map(|_| Waiting::Unit),
            Kind::Inc => queue.pop::<Inc>().map(|inc| Self::of_inc(&inc)),
            Kind::Pair => queue.pop::<Pair>().map(|pair| Self::of_pair(&pair)),
            Kind::Three => queue.pop::<Three>().map(|three| Self::of_three(&three)),
            Kind::Strict => queue.pop::<Strict>().map(|strict| Self::of_strict(&strict)),
            Kind::Niched => queue.pop::<Niched>().map(|niched| Self::of_niched(&niched)),
            Kind::Text => queue.pop::<Text>().map(|text| panic!("{text:?} is not small")),
        }
    }

    fn opened(small: &Small) -> Self {
        if let Ok(inc) = Archived::<Inc>::of_small(small) {
            Self::of_inc(&inc)
        } else if let Ok(pair) = Archived::<Pair>::of_small(small) {
            Self::of_pair(&pair)
        } else if let Ok(three) = Archived::<Three>::of_small(small) {
            Self::of_three(&three)
        } else if let Ok(strict) = Archived::<Strict>::of_small(small) {
            Self::of_strict(&strict)
        } else if let Ok(niched) = Archived::<Niched>::of_small(small) {
            Self::of_niched(&niched)
        } else {
            assert!(Archived::<()>::of_small(small).is_ok());
            Waiting::Unit
        }
    }

    fn of_inc(inc: &Archived<Inc>) -> Self {
        Waiting::Inc(inc.0.into())
    }

    fn of_pair(pair: &Archived<Pair>) -> Self {
        Waiting::Pair(pair.0.into(), pair.1.into())
    }

    fn of_three(three: &Archived<Three>) -> Self {
        Waiting::Three(three.0.map(u32::from))
    }

    fn of_strict(strict: &Archived<Strict>) -> Self {
        Waiting::Strict(strict.0.into(), strict.1.into(), strict.2.into())
    }

    fn of_niched(niched: &Archived<Niched>) -> Self {
        Waiting::Niched(niched.0.as_ref().map(|letter| (*letter).into()), niched.1.into())
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Unit,
    Inc,
    Pair,
    Three,
    Strict,
    Niched,
    Text,
}

#[derive(Clone, Debug)]
enum Step {
    Open(u32, u32),
    Shut,
    Reopen(u32),
    Close,
    Push(Waiting),
    /// Pushes these as long as they may be.
    Fill(Waiting),
    PushAlone(Waiting),
    Grant(u32),
    Pop(Kind),
    /// Pops what is at the front as what it is.
    PopRight,
    /// As long as any may be.
    Drain,
    PopFront,
    PopMark(Mark, u64),
    Uncount,
    Free,
}

fn mark() -> impl Strategy<Value = Mark> {
    prop::sample::select(vec![Mark::Told, Mark::Untold, Mark::Other])
}

/// Words that may be mistaken for something else, and others.
fn word() -> impl Strategy<Value = u64> {
    let odd = vec![0, 1, u64::MAX, u64::MAX - 1, u64::MAX - 2, Inc::ID.bits(), Pair::ID.bits()];
    prop_oneof![prop::sample::select(odd), any::<u64>()]
}

fn small_waiting() -> impl Strategy<Value = Waiting> {
    let letter = prop::sample::select(vec!['\0', 'a', '\u{10ffff}']);
    prop_oneof![
        Just(Waiting::Unit),
        word().prop_map(Waiting::Inc),
        word().prop_map(|first| Waiting::Pair(first, 0)),
        (word(), word()).prop_map(|(first, second)| Waiting::Pair(first, second)),
        (any::<[u32; 2]>(), 0..2_u32).prop_map(|([a, b], c)| Waiting::Three([a, b, c])),
        (word(), letter, 0..2_u32)
            .prop_map(|(word, letter, last)| Waiting::Strict(word, letter, last)),
        (any::<Option<char>>(), 0..2_u32).prop_map(|(letter, last)| Waiting::Niched(letter, last)),
    ]
}

fn waiting() -> impl Strategy<Value = Waiting> {
    prop_oneof![
        3 => small_waiting(),
        1 => (mark(), word()).prop_map(|(mark, bits)| Waiting::Mark(mark, bits)),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    let kinds =
        [Kind::Unit, Kind::Inc, Kind::Pair, Kind::Three, Kind::Strict, Kind::Niched, Kind::Text];
    prop::sample::select(kinds.to_vec())
}

fn step() -> impl Strategy<Value = Step> {
    let messages = || prop_oneof![4 => 0..6_u32, 2 => 0..40_u32, 1 => Just(u32::MAX)];
    prop_oneof![
        3 => (messages(), 0..4_u32).prop_map(|(messages, places)| Step::Open(messages, places)),
        1 => Just(Step::Shut),
        2 => (0..4_u32).prop_map(Step::Reopen),
        1 => Just(Step::Close),
        8 => small_waiting().prop_map(Step::Push),
        1 => small_waiting().prop_map(Step::Fill),
        2 => waiting().prop_map(Step::PushAlone),
        5 => messages().prop_map(Step::Grant),
        4 => kind().prop_map(Step::Pop),
        6 => Just(Step::PopRight),
        1 => Just(Step::Drain),
        4 => Just(Step::PopFront),
        1 => (mark(), word()).prop_map(|(mark, bits)| Step::PopMark(mark, bits)),
        1 => Just(Step::Uncount),
        2 => Just(Step::Free),
    ]
}

/// A queue, and what is known of it.
#[derive(Default)]
struct Beside {
    queue: SmallQueue,
    waiting: VecDeque<Waiting>,
    /// Places that may be filled: before it is shut, and now.
    opened: u32,
    open: u32,
    granted: u32,
    popped: u32,
    had_memory: bool,
}

impl Beside {
    /// How many places may be filled now.
    fn places_open(&self) -> u32 {
        (1..).find(|places| !self.queue.is_open(*places)).unwrap() - 1
    }

    fn push(&mut self, waiting: Waiting) -> bool {
        let (pushed, places) = (self.queue.push(waiting.small().unwrap()), waiting.places());
        assert_eq!(pushed, places <= self.open);
        if pushed {
            self.waiting.push_back(waiting);
            self.open -= places;
            self.opened -= places;
        }
        pushed
    }

    /// What has been popped is what had to be.
    fn took(&mut self, took: Option<Waiting>, expected: bool) -> bool {
        let front = if expected { self.waiting.pop_front() } else { None };
        assert_eq!(took, front);
        self.popped = self.popped.wrapping_add(u32::from(expected));
        self.granted = self.granted.saturating_sub(u32::from(expected));
        expected
    }

    fn pop_as(&mut self, kind: Kind) -> bool {
        let is_it = matches!(
            (kind, self.waiting.front()),
            (Kind::Unit, Some(Waiting::Unit))
                | (Kind::Inc, Some(Waiting::Inc(_)))
                | (Kind::Pair, Some(Waiting::Pair(..)))
                | (Kind::Three, Some(Waiting::Three(_)))
                | (Kind::Strict, Some(Waiting::Strict(..)))
                | (Kind::Niched, Some(Waiting::Niched(..)))
        );
        self.took(Waiting::pop(kind, &self.queue), is_it && self.granted > 0)
    }

    fn pop_mark(&mut self, mark: Mark, bits: u64) -> bool {
        let it = Waiting::Mark(mark, bits);
        let expected = self.granted > 0 && self.waiting.front() == Some(&it);
        let took = self.queue.pop_mark(mark, MessageId::from_bits(bits)).then_some(it);
        self.took(took, expected)
    }

    fn pop_right(&mut self) -> bool {
        match self.waiting.front() {
            None => self.pop_as(Kind::Inc),
            Some(Waiting::Unit) => self.pop_as(Kind::Unit),
            Some(Waiting::Inc(_)) => self.pop_as(Kind::Inc),
            Some(Waiting::Pair(..)) => self.pop_as(Kind::Pair),
            Some(Waiting::Three(_)) => self.pop_as(Kind::Three),
            Some(Waiting::Strict(..)) => self.pop_as(Kind::Strict),
            Some(Waiting::Niched(..)) => self.pop_as(Kind::Niched),
            Some(&Waiting::Mark(mark, bits)) => self.pop_mark(mark, bits),
        }
    }

    fn pop_front(&mut self) {
        let expected = !self.waiting.is_empty();
        let took = self.queue.pop_front().map(|popped| match popped {
            Popped::Alone(small) => Waiting::opened(&small),
            Popped::Mark => match self.waiting.front() {
                Some(Waiting::Mark(mark, bits)) => Waiting::Mark(*mark, *bits),
                other => panic!("a mark instead of {other:?}"),
            },
        });
        self.took(took, expected);
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Open(messages, places) => {
                self.queue.open(messages, places);
                self.opened = self.places_open();
                self.open = self.opened;
                assert!((places..=places.max(messages)).contains(&self.open));
            }
            Step::Shut => {
                self.queue.shut();
                self.open = 0;
            }
            Step::Reopen(places) => {
                let opens = self.opened >= places;
                assert_eq!(self.queue.reopen(places), opens);
                if opens {
                    self.open = self.opened;
                }
            }
            Step::Close => {
                self.queue.close();
                (self.open, self.opened) = (0, 0);
            }
            Step::Push(waiting) => {
                self.push(waiting);
            }
            Step::Fill(waiting) => while self.push(waiting.clone()) {},
            Step::PushAlone(waiting) => {
                match (waiting.small(), &waiting) {
                    (Some(small), _) => self.queue.push_alone(small),
                    (None, Waiting::Mark(mark, bits)) => {
                        self.queue.push_mark(*mark, MessageId::from_bits(*bits));
                    }
                    (None, other) => unreachable!("{other:?} is small"),
                }
                self.waiting.push_back(waiting);
                (self.open, self.opened) = (0, 0);
            }
            Step::Grant(messages) => {
                self.queue.grant(messages);
                self.granted = messages.min(self.waiting.len() as u32);
            }
            Step::Pop(kind) => {
                self.pop_as(kind);
            }
            Step::PopRight => {
                self.pop_right();
            }
            Step::Drain => while self.pop_right() {},
            Step::PopFront => self.pop_front(),
            Step::PopMark(mark, bits) => {
                self.pop_mark(mark, bits);
            }
            Step::Uncount => {
                self.queue.uncount();
                self.popped = self.popped.wrapping_sub(1);
            }
            Step::Free => {
                self.queue.free();
                if self.waiting.is_empty() {
                    assert!(!self.queue.has_memory());
                    (self.open, self.opened, self.had_memory) = (0, 0, false);
                }
            }
        }
        self.check();
    }

    fn check(&mut self) {
        let queue = &self.queue;
        assert_eq!(queue.len() as usize, self.waiting.len());
        assert_eq!(queue.is_empty(), self.waiting.is_empty());
        assert_eq!(queue.front(), self.waiting.front().map(Waiting::front));
        assert_eq!((queue.granted(), queue.popped()), (self.granted, self.popped));
        assert_eq!(self.places_open(), self.open);
        assert!(queue.has_memory() || !self.had_memory);
        // One place is there without any.
        let places: u32 = self.waiting.iter().map(Waiting::places).sum();
        assert!(queue.has_memory() || places + self.opened <= 1);
        self.had_memory = queue.has_memory();
    }
}

proptest! {
    #[test]
    fn a_queue_gives_out_what_was_put_in_whatever_is_done_with_it(
        steps in prop::collection::vec(step(), 0..150),
    ) {
        let mut beside = Beside::default();
        for step in steps {
            beside.take(step);
        }
        // Nothing is left in it.
        while !beside.waiting.is_empty() {
            beside.take(Step::PopFront);
        }
        beside.take(Step::PopFront);
    }
}

#[test]
fn a_second_word_that_was_there_before_belongs_to_nobody() {
    let queue = SmallQueue::default();
    // Each position of a small ring has had a second word, and meets a message without one.
    for round in 0..16 {
        for second in [7, 0, 7, 0, 0] {
            queue.push_alone(small(&Pair(round, second)));
            queue.grant(1);
            let popped = queue.pop::<Pair>().map(|pair| (u64::from(pair.0), u64::from(pair.1)));
            assert_eq!(popped, Some((round, second)));
            assert!(queue.is_empty() && queue.granted() == 0);
        }
    }
    assert_eq!(queue.popped(), 16 * 5);
}

#[test]
fn what_is_opened_for_one_long_message_is_enough_for_it() {
    let queue = SmallQueue::default();
    for _ in 0..20 {
        queue.open(1, 2);
        assert!(queue.push(small(&Pair(1, 2))) && !queue.push(small(&())));
        queue.shut();
        assert!(!queue.reopen(1));
    }
    assert_eq!(queue.len(), 20);
}
