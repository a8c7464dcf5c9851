//! The queues of a mailbox, and the directory that leads to them, beside plain models of both.

mod common;

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use annulus_codec::{
    address::{Address, MAX_ACTORS, NodeId, Slot},
    archive::Archived,
    directory::{Directory, Pushed},
    held::Small,
    message::{Message, MessageId},
    passing::Passing,
    queue::{Fifo, Front, Mark, Popped, SmallQueue},
    rkyv,
};
use common::*;
use proptest::prelude::*;

#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(crate = annulus_codec::rkyv)]
#[repr(C)]
struct Pair(u64, u64);
message!(Pair, "test.Pair");

/// Fills one word and half of another.
#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(crate = annulus_codec::rkyv)]
#[repr(C)]
struct Three([u32; 3]);
message!(Three, "test.Three");

/// Most bits are not valid in the second word.
#[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(crate = annulus_codec::rkyv)]
#[repr(C)]
struct Strict(u64, char, u32);
message!(Strict, "test.Strict");

fn small<M: Message>(message: &M) -> Small {
    M::Passing::as_small(message).expect("it is a small one")
}

/// What waits.
#[derive(Clone, Debug, PartialEq)]
enum Waiting {
    Unit,
    Inc(u64),
    Pair(u64, u64),
    Three([u32; 3]),
    Strict(u64, char, u32),
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
            Waiting::Mark(..) => return None,
        })
    }

    /// Words that are not zero need a place, and so does each message.
    fn places(&self) -> u32 {
        1 + match *self {
            Waiting::Pair(_, second) => u32::from(second != 0),
            Waiting::Three([_, _, third]) => u32::from(third != 0),
            Waiting::Strict(_, letter, last) => u32::from(letter != '\0' || last != 0),
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
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Unit,
    Inc,
    Pair,
    Three,
    Strict,
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
    ]
}

fn waiting() -> impl Strategy<Value = Waiting> {
    prop_oneof![
        3 => small_waiting(),
        1 => (mark(), word()).prop_map(|(mark, bits)| Waiting::Mark(mark, bits)),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    let kinds = [Kind::Unit, Kind::Inc, Kind::Pair, Kind::Three, Kind::Strict, Kind::Text];
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

    #[test]
    fn a_fifo_gives_out_each_once_and_drops_the_rest(
        steps in prop::collection::vec(fifo_step(), 0..150),
    ) {
        let mut beside = FifoBeside::default();
        for step in steps {
            beside.take(step);
        }
        beside.end();
    }

    #[test]
    fn a_directory_knows_who_is_in_it_and_nobody_else(
        steps in prop::collection::vec(directory_step(), 0..120),
    ) {
        let mut beside = DirectoryBeside::default();
        for step in steps {
            beside.take(step);
        }
        beside.end();
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

// --- Fifo ----------------------------------------------------------------------------------------

/// Who has been dropped, in order.
type Dropped = Rc<RefCell<Vec<u32>>>;

/// Notes that it is dropped.
struct Noted(u32, Dropped);

impl Drop for Noted {
    fn drop(&mut self) {
        self.1.borrow_mut().push(self.0);
    }
}

#[derive(Clone, Debug)]
enum FifoStep {
    Push(u8),
    Pop(u8),
    /// Others instead of all but the first of them.
    Change(u32),
    /// As many are pushed meanwhile as are changed.
    ChangeAndPush(u32),
    /// The change of one that is so far behind fails.
    ChangeAndPanic(u32, u32),
    Free,
}

fn fifo_step() -> impl Strategy<Value = FifoStep> {
    prop_oneof![
        6 => (1..6_u8).prop_map(FifoStep::Push),
        6 => (1..6_u8).prop_map(FifoStep::Pop),
        2 => (0..10_u32).prop_map(FifoStep::Change),
        1 => (0..10_u32).prop_map(FifoStep::ChangeAndPush),
        1 => (0..6_u32, 0..6_u32).prop_map(|(skip, at)| FifoStep::ChangeAndPanic(skip, at)),
        1 => Just(FifoStep::Free),
    ]
}

#[derive(Default)]
struct FifoBeside {
    fifo: Fifo<Noted>,
    /// `None` is where a change has failed.
    waiting: VecDeque<Option<u32>>,
    dropped: Dropped,
    expected: Vec<u32>,
    next: u32,
}

impl FifoBeside {
    fn push(&mut self) {
        self.fifo.push(Noted(self.next, self.dropped.clone()));
        self.waiting.push_back(Some(self.next));
        self.next += 1;
    }

    fn pop(&mut self) {
        let popped = self.fifo.pop();
        let first = self.waiting.pop_front().flatten();
        assert_eq!(popped.as_ref().map(|noted| noted.0), first);
        self.expected.extend(first);
    }

    /// Each of the others is dropped, and the next number is in its place. Returns how many.
    fn change(&mut self, skip: u32, until: usize) -> u32 {
        let changed: Vec<_> =
            self.waiting.iter_mut().skip(skip as usize).flatten().take(until).collect();
        let count = changed.len() as u32;
        for (next, place) in (self.next..).zip(changed) {
            self.expected.push(std::mem::replace(place, next));
        }
        self.next += count;
        count
    }

    fn take(&mut self, step: FifoStep) {
        let next = std::cell::Cell::new(self.next);
        let dropped = self.dropped.clone();
        let another = |old: Noted| {
            drop(old);
            Noted(next.replace(next.get() + 1), dropped.clone())
        };
        match step {
            FifoStep::Push(count) => (0..count).for_each(|_| self.push()),
            FifoStep::Pop(count) => (0..count).for_each(|_| self.pop()),
            FifoStep::Change(skip) => {
                self.fifo.change(skip, another);
                self.change(skip, usize::MAX);
            }
            FifoStep::ChangeAndPush(skip) => {
                const MORE: u32 = 1 << 20;
                self.fifo.change(skip, |old| {
                    self.fifo.push(Noted(MORE + next.get(), dropped.clone()));
                    another(old)
                });
                let begin = self.next;
                let changed = self.change(skip, usize::MAX);
                self.waiting.extend((0..changed).map(|behind| Some(MORE + begin + behind)));
            }
            FifoStep::ChangeAndPanic(skip, at) => {
                let fails = self.next + at;
                let changed = catch_unwind(AssertUnwindSafe(|| {
                    self.fifo.change(skip, |old| {
                        if next.get() == fails {
                            std::panic::resume_unwind(Box::new("not this one"));
                        }
                        another(old)
                    });
                }));
                self.change(skip, at as usize);
                let failed = self.waiting.iter_mut().skip(skip as usize);
                let failed = failed.filter(|place| place.is_some()).nth(at as usize);
                assert_eq!(changed.is_err(), failed.is_some());
                self.expected.extend(failed.and_then(Option::take));
            }
            FifoStep::Free => {
                self.fifo.free();
                assert!(!self.waiting.is_empty() || !self.fifo.has_memory());
            }
        }
        self.check();
    }

    fn check(&self) {
        assert_eq!(*self.dropped.borrow(), self.expected);
        assert_eq!(self.fifo.len() as usize, self.waiting.len());
        assert_eq!(self.fifo.is_empty(), self.waiting.is_empty());
        assert!(self.fifo.has_memory() || self.waiting.is_empty());
    }

    /// What still waits is dropped with the queue, once.
    fn end(self) {
        let FifoBeside { fifo, waiting, dropped, mut expected, .. } = self;
        drop(fifo);
        expected.extend(waiting.into_iter().flatten());
        expected.sort_unstable();
        dropped.borrow_mut().sort_unstable();
        assert_eq!(*dropped.borrow(), expected);
    }
}

#[test]
fn what_is_popped_may_push_when_it_is_dropped() {
    struct Pushes(Rc<Fifo<Pushes>>, u32);
    impl Drop for Pushes {
        fn drop(&mut self) {
            if self.1 > 0 {
                (0..2).for_each(|_| self.0.push(Pushes(self.0.clone(), self.1 - 1)));
            }
        }
    }
    let fifo = Rc::new(Fifo::default());
    fifo.push(Pushes(fifo.clone(), 6));
    let dropped = std::iter::from_fn(|| fifo.pop().map(drop)).count();
    assert_eq!(dropped, (1 << 7) - 1);
    assert_eq!(Rc::strong_count(&fifo), 1);
}

#[test]
fn a_fifo_of_what_takes_no_room_counts_all_the_same() {
    let fifo = Fifo::default();
    (0..100).for_each(|_| fifo.push(()));
    assert_eq!(fifo.len(), 100);
    assert_eq!(std::iter::from_fn(|| fifo.pop()).count(), 100);
}

// --- Directory -----------------------------------------------------------------------------------

struct Owner {
    queue: SmallQueue,
    noted: Noted,
}

fn queue_of(owner: &Owner) -> &SmallQueue {
    &owner.queue
}

fn at(worker: usize, index: usize, generation: u32) -> Address {
    Address::new(NodeId::from_bits(8), 1, Slot::new(worker, index), generation)
}

const WORKER: usize = 3;

#[derive(Clone, Debug)]
enum Whom {
    /// One of those who are or have been here.
    Known(prop::sample::Index),
    /// The same slot, with another generation or worker.
    Near(prop::sample::Index, u32, u8),
    /// What stands in entries of nobody, perhaps.
    Vacant(usize, u32),
    Any(u32, u32),
}

#[derive(Clone, Debug)]
enum DirectoryStep {
    Insert(u8),
    InsertWrong(usize),
    InsertAndPanic,
    Remove(Whom),
    Find(Whom),
    /// Somebody keeps a share.
    Keep(Whom),
    LetGo,
    Push(Whom, u64),
    Open(Whom, u32),
    Close(Whom),
    Pop(Whom),
}

fn whom() -> impl Strategy<Value = Whom> {
    let halves = || prop_oneof![0..20_u32, (0..20_u32).prop_map(|low| u32::MAX - low)];
    prop_oneof![
        8 => any::<prop::sample::Index>().prop_map(Whom::Known),
        1 => (any::<prop::sample::Index>(), 0..3_u32, any::<u8>())
            .prop_map(|(known, generation, worker)| Whom::Near(known, generation, worker)),
        1 => (0..40_usize, halves()).prop_map(|(index, next)| Whom::Vacant(index, next)),
        1 => (halves(), halves()).prop_map(|(slot, generation)| Whom::Any(slot, generation)),
    ]
}

fn directory_step() -> impl Strategy<Value = DirectoryStep> {
    prop_oneof![
        6 => (1..8_u8).prop_map(DirectoryStep::Insert),
        1 => (1..40_usize).prop_map(DirectoryStep::InsertWrong),
        1 => Just(DirectoryStep::InsertAndPanic),
        8 => whom().prop_map(DirectoryStep::Remove),
        4 => whom().prop_map(DirectoryStep::Find),
        2 => whom().prop_map(DirectoryStep::Keep),
        1 => Just(DirectoryStep::LetGo),
        8 => (whom(), any::<u64>()).prop_map(|(whom, word)| DirectoryStep::Push(whom, word)),
        4 => (whom(), 0..5_u32).prop_map(|(whom, messages)| DirectoryStep::Open(whom, messages)),
        1 => whom().prop_map(DirectoryStep::Close),
        4 => whom().prop_map(DirectoryStep::Pop),
    ]
}

/// Who is in a slot, and what waits there.
struct Known {
    address: Address,
    number: u32,
    open: u32,
    waiting: VecDeque<u64>,
}

#[derive(Default)]
struct DirectoryBeside {
    directory: Directory<Owner>,
    known: BTreeMap<usize, Known>,
    /// All who have been here.
    addresses: Vec<Address>,
    kept: Vec<Rc<Owner>>,
    dropped: Dropped,
    slots: usize,
    /// How many owners there have been.
    next: u32,
}

impl DirectoryBeside {
    fn owner(&mut self) -> Rc<Owner> {
        self.next += 1;
        let noted = Noted(self.next, self.dropped.clone());
        Rc::new(Owner { queue: SmallQueue::default(), noted })
    }

    fn address(&self, whom: Whom) -> Address {
        let known = |index: prop::sample::Index| match &self.addresses[..] {
            [] => at(WORKER, 0, 1),
            addresses => addresses[index.index(addresses.len())],
        };
        match whom {
            Whom::Known(index) => known(index),
            Whom::Near(index, generation, worker) => {
                let near = known(index);
                let generation = near.generation().wrapping_add(generation).wrapping_sub(1);
                at(worker.into(), near.slot().index(), generation)
            }
            Whom::Vacant(index, next) => {
                let slot = Slot::new(0, !index & (MAX_ACTORS - 1));
                Address::new(NodeId::from_bits(8), 1, slot, next)
            }
            Whom::Any(slot, generation) => {
                Address::new(NodeId::from_bits(8), 1, Slot::from_bits(slot), generation)
            }
        }
    }

    /// Who has just this address.
    fn known(&mut self, address: Address) -> Option<&mut Known> {
        self.known.get_mut(&address.slot().index()).filter(|known| known.address == address)
    }

    fn insert(&mut self) {
        let (index, owner) = (self.directory.next_index(), self.owner());
        let address = at(WORKER, index, self.next);
        assert!(index <= self.slots && !self.known.contains_key(&index));
        // No slot is added while one is vacant.
        assert_eq!(index == self.slots, self.known.len() == self.slots);
        self.slots = self.slots.max(index + 1);
        self.directory.insert(address, owner, queue_of);
        self.addresses.push(address);
        let (number, waiting) = (self.next, VecDeque::new());
        self.known.insert(index, Known { address, number, open: 0, waiting });
    }

    fn take(&mut self, step: DirectoryStep) {
        let directory = std::mem::take(&mut self.directory);
        match step {
            DirectoryStep::Insert(count) => {
                self.directory = directory;
                (0..count).for_each(|_| self.insert());
                return self.check();
            }
            DirectoryStep::InsertWrong(off) => {
                let (owner, index) = (self.owner(), directory.next_index() + off);
                let inserted = catch_unwind(AssertUnwindSafe(|| {
                    directory.insert(at(WORKER, index, 1), owner, queue_of);
                }));
                assert!(inserted.is_err());
            }
            DirectoryStep::InsertAndPanic => {
                let (owner, index) = (self.owner(), directory.next_index());
                let inserted = catch_unwind(AssertUnwindSafe(|| {
                    directory.insert(at(WORKER, index, 1), owner, |_| {
                        std::panic::resume_unwind(Box::new("no queue"))
                    });
                }));
                assert!(inserted.is_err());
            }
            DirectoryStep::Remove(whom) => {
                let address = self.address(whom);
                let removed = directory.remove(address).map(|owner| owner.noted.0);
                assert_eq!(removed, self.known(address).map(|known| known.number));
                if removed.is_some() {
                    self.known.remove(&address.slot().index());
                    assert!(directory.next_index() == address.slot().index());
                }
            }
            DirectoryStep::Find(whom) => {
                let address = self.address(whom);
                let found = directory.find(address).map(|owner| owner.noted.0);
                assert_eq!(found, self.known(address).map(|known| known.number));
                let index = address.slot().index();
                let there = directory.at(index).map(|owner| owner.noted.0);
                assert_eq!(there, self.known.get(&index).map(|known| known.number));
            }
            DirectoryStep::Keep(whom) => self.kept.extend(directory.find(self.address(whom))),
            DirectoryStep::LetGo => self.kept.clear(),
            DirectoryStep::Push(whom, word) => {
                let address = self.address(whom);
                let expected = match self.known(address) {
                    None => Pushed::Nobody,
                    Some(known) if known.open == 0 => Pushed::Closed,
                    Some(known) => {
                        known.open -= 1;
                        known.waiting.push_back(word);
                        Pushed::Yes
                    }
                };
                assert_eq!(directory.push(address, small(&Inc(word))), expected);
            }
            DirectoryStep::Open(whom, messages) => {
                let address = self.address(whom);
                if let Some(owner) = directory.find(address) {
                    owner.queue.open(messages, messages);
                    self.known(address).unwrap().open = messages;
                }
            }
            DirectoryStep::Close(whom) => {
                let address = self.address(whom);
                if let Some(owner) = directory.find(address) {
                    owner.queue.close();
                    self.known(address).unwrap().open = 0;
                }
            }
            DirectoryStep::Pop(whom) => {
                let address = self.address(whom);
                if let Some(owner) = directory.find(address) {
                    owner.queue.grant(1);
                    let popped = owner.queue.pop::<Inc>().map(|inc| u64::from(inc.0));
                    assert_eq!(popped, self.known(address).unwrap().waiting.pop_front());
                }
            }
        }
        self.directory = directory;
        self.check();
    }

    fn check(&self) {
        let directory = &self.directory;
        assert_eq!((directory.len(), directory.slots()), (self.known.len(), self.slots));
        assert_eq!(directory.is_empty(), self.known.is_empty());
        for known in self.known.values() {
            let owner = directory.find(known.address).unwrap();
            assert_eq!(owner.noted.0, known.number);
            assert_eq!(owner.queue.len() as usize, known.waiting.len());
            // One share is the directory's.
            let kept = self.kept.iter().filter(|kept| Rc::ptr_eq(kept, &owner)).count();
            assert_eq!(Rc::strong_count(&owner), 2 + kept);
        }
        // The others are dropped, once each.
        let mut there: Vec<u32> = self.known.values().map(|known| known.number).collect();
        there.extend(self.kept.iter().map(|kept| kept.noted.0));
        there.sort_unstable();
        there.dedup();
        there.extend(&*self.dropped.borrow());
        there.sort_unstable();
        assert!(there.into_iter().eq(1..=self.next));
    }

    fn end(mut self) {
        drop(std::mem::take(&mut self.directory));
        self.known.clear();
        self.slots = 0;
        self.check();
        self.kept.clear();
        self.check();
    }
}

#[test]
fn who_is_put_in_while_another_is_stays_and_the_other_does_not() {
    let mut beside = DirectoryBeside::default();
    let (outer, inner) = (beside.owner(), beside.owner());
    let directory = Directory::default();
    let inserted = catch_unwind(AssertUnwindSafe(|| {
        directory.insert(at(WORKER, 0, 1), outer, |owner| {
            directory.insert(at(WORKER, 0, 2), inner, queue_of);
            &owner.queue
        });
    }));
    assert!(inserted.is_err());
    assert_eq!(*beside.dropped.borrow(), [1]);
    assert_eq!((directory.len(), directory.next_index()), (1, 1));
    assert_eq!(directory.push(at(WORKER, 0, 1), small(&Inc(1))), Pushed::Nobody);
    assert_eq!(directory.push(at(WORKER, 0, 2), small(&Inc(1))), Pushed::Closed);
}

#[test]
fn an_entry_of_nobody_is_nobodys_whatever_an_address_says() {
    const COUNT: usize = 20;
    let mut beside = DirectoryBeside::default();
    (0..COUNT).for_each(|_| beside.insert());
    let directory = &beside.directory;
    // Every second one leaves, so that each entry of nobody has another one behind it, or none.
    for address in beside.addresses.iter().step_by(2) {
        assert!(directory.remove(*address).is_some());
    }
    let there = &beside.addresses;
    for worker in [0, 1, WORKER, 255] {
        for index in (0..2 * COUNT).flat_map(|index| [index, !index & (MAX_ACTORS - 1)]) {
            for generation in (0..30).flat_map(|generation| [generation, !generation]) {
                let address = at(worker, index, generation);
                if there.iter().skip(1).step_by(2).any(|other| other.shares_place(address)) {
                    continue;
                }
                assert!(directory.find(address).is_none() && directory.remove(address).is_none());
                assert_eq!(directory.push(address, small(&())), Pushed::Nobody);
            }
        }
    }
    assert_eq!((directory.len(), directory.slots()), (COUNT / 2, COUNT));
}

#[test]
fn slots_may_be_left_and_taken_while_a_queue_is_asked_for() {
    let mut beside = DirectoryBeside::default();
    (0..16).for_each(|_| beside.insert());
    let (owner, directory) = (beside.owner(), &beside.directory);
    // Everybody leaves, and others are in their places.
    let others: Vec<Rc<Owner>> =
        beside.addresses.iter().filter_map(|at| directory.find(*at)).collect();
    directory.insert(at(WORKER, 16, 1), owner, |owner| {
        for address in beside.addresses.iter().rev() {
            assert!(directory.remove(*address).is_some());
        }
        for (index, other) in others.iter().enumerate() {
            directory.insert(at(WORKER, index, 99), other.clone(), queue_of);
        }
        &owner.queue
    });
    assert_eq!((directory.len(), directory.next_index()), (17, 17));
    directory.find(at(WORKER, 16, 1)).unwrap().queue.open(1, 1);
    assert_eq!(directory.push(at(WORKER, 16, 1), small(&Inc(5))), Pushed::Yes);
    assert!((0..16).all(|index| directory.find(at(WORKER, index, 99)).is_some()));
}

#[test]
fn an_owner_that_is_dropped_may_look_into_the_directory() {
    struct Looks(SmallQueue, std::rc::Weak<Directory<Looks>>, Address);
    impl Drop for Looks {
        fn drop(&mut self) {
            if let Some(directory) = self.1.upgrade() {
                assert!(directory.find(self.2).is_none());
                assert_eq!(directory.push(self.2, small(&Inc(1))), Pushed::Nobody);
                let last = std::rc::Weak::new();
                let next = at(WORKER, directory.next_index(), 77);
                let looks = Looks(SmallQueue::default(), last, next);
                directory.insert(next, Rc::new(looks), |looks| &looks.0);
            }
        }
    }
    let directory = Rc::new(Directory::default());
    for index in 0..20 {
        let address = at(WORKER, index, 1);
        let looks = Looks(SmallQueue::default(), Rc::downgrade(&directory), address);
        directory.insert(address, Rc::new(looks), |looks| &looks.0);
    }
    for index in 0..20 {
        drop(directory.remove(at(WORKER, index, 1)));
        assert!(directory.find(at(WORKER, index, 77)).is_some());
    }
    assert_eq!((directory.len(), directory.slots()), (20, 20));
    // Those that are left find no directory any more.
    drop(directory);
}
