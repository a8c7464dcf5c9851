//! The directory that leads to the queues of mailboxes, beside a plain model.

mod common;

use std::{
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use annulus_codec::{
    address::{Address, MAX_ACTORS, NodeId, Slot},
    directory::{Directory, Pushed},
    queue::SmallQueue,
};
use common::*;
use proptest::prelude::*;

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
enum Step {
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

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..8_u8).prop_map(Step::Insert),
        1 => (1..40_usize).prop_map(Step::InsertWrong),
        1 => Just(Step::InsertAndPanic),
        8 => whom().prop_map(Step::Remove),
        4 => whom().prop_map(Step::Find),
        2 => whom().prop_map(Step::Keep),
        1 => Just(Step::LetGo),
        8 => (whom(), any::<u64>()).prop_map(|(whom, word)| Step::Push(whom, word)),
        4 => (whom(), 0..5_u32).prop_map(|(whom, messages)| Step::Open(whom, messages)),
        1 => whom().prop_map(Step::Close),
        4 => whom().prop_map(Step::Pop),
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
struct Beside {
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

impl Beside {
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

    fn take(&mut self, step: Step) {
        let directory = std::mem::take(&mut self.directory);
        match step {
            Step::Insert(count) => {
                self.directory = directory;
                (0..count).for_each(|_| self.insert());
                return self.check();
            }
            Step::InsertWrong(off) => {
                let (owner, index) = (self.owner(), directory.next_index() + off);
                let inserted = catch_unwind(AssertUnwindSafe(|| {
                    directory.insert(at(WORKER, index, 1), owner, queue_of);
                }));
                assert!(inserted.is_err());
            }
            Step::InsertAndPanic => {
                let (owner, index) = (self.owner(), directory.next_index());
                let inserted = catch_unwind(AssertUnwindSafe(|| {
                    directory.insert(at(WORKER, index, 1), owner, |_| {
                        std::panic::resume_unwind(Box::new("no queue"))
                    });
                }));
                assert!(inserted.is_err());
            }
            Step::Remove(whom) => {
                let address = self.address(whom);
                let removed = directory.remove(address).map(|owner| owner.noted.0);
                assert_eq!(removed, self.known(address).map(|known| known.number));
                if removed.is_some() {
                    self.known.remove(&address.slot().index());
                    assert!(directory.next_index() == address.slot().index());
                }
            }
            Step::Find(whom) => {
                let address = self.address(whom);
                let found = directory.find(address).map(|owner| owner.noted.0);
                assert_eq!(found, self.known(address).map(|known| known.number));
                let index = address.slot().index();
                let there = directory.at(index).map(|owner| owner.noted.0);
                assert_eq!(there, self.known.get(&index).map(|known| known.number));
            }
            Step::Keep(whom) => self.kept.extend(directory.find(self.address(whom))),
            Step::LetGo => self.kept.clear(),
            Step::Push(whom, word) => {
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
            Step::Open(whom, messages) => {
                let address = self.address(whom);
                if let Some(owner) = directory.find(address) {
                    owner.queue.open(messages, messages);
                    self.known(address).unwrap().open = messages;
                }
            }
            Step::Close(whom) => {
                let address = self.address(whom);
                if let Some(owner) = directory.find(address) {
                    owner.queue.close();
                    self.known(address).unwrap().open = 0;
                }
            }
            Step::Pop(whom) => {
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

proptest! {
    #[test]
    fn a_directory_knows_who_is_in_it_and_nobody_else(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut beside = Beside::default();
        for step in steps {
            beside.take(step);
        }
        beside.end();
    }
}

#[test]
fn who_is_put_in_while_another_is_stays_and_the_other_does_not() {
    let mut beside = Beside::default();
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
    let mut beside = Beside::default();
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
    let mut beside = Beside::default();
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
