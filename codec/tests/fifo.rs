//! The queue of what is kept elsewhere, beside a plain model.

mod common;

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use annulus_codec::queue::Fifo;
use common::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
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

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..6_u8).prop_map(Step::Push),
        6 => (1..6_u8).prop_map(Step::Pop),
        2 => (0..10_u32).prop_map(Step::Change),
        1 => (0..10_u32).prop_map(Step::ChangeAndPush),
        1 => (0..6_u32, 0..6_u32).prop_map(|(skip, at)| Step::ChangeAndPanic(skip, at)),
        1 => Just(Step::Free),
    ]
}

#[derive(Default)]
struct Beside {
    fifo: Fifo<Noted>,
    /// `None` is where a change has failed.
    waiting: VecDeque<Option<u32>>,
    dropped: Dropped,
    expected: Vec<u32>,
    next: u32,
}

impl Beside {
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

    fn take(&mut self, step: Step) {
        let next = std::cell::Cell::new(self.next);
        let dropped = self.dropped.clone();
        let another = |old: Noted| {
            drop(old);
            Noted(next.replace(next.get() + 1), dropped.clone())
        };
        match step {
            Step::Push(count) => (0..count).for_each(|_| self.push()),
            Step::Pop(count) => (0..count).for_each(|_| self.pop()),
            Step::Change(skip) => {
                self.fifo.change(skip, another);
                self.change(skip, usize::MAX);
            }
            Step::ChangeAndPush(skip) => {
                const MORE: u32 = 1 << 20;
                self.fifo.change(skip, |old| {
                    self.fifo.push(Noted(MORE + next.get(), dropped.clone()));
                    another(old)
                });
                let begin = self.next;
                let changed = self.change(skip, usize::MAX);
                self.waiting.extend((0..changed).map(|behind| Some(MORE + begin + behind)));
            }
            Step::ChangeAndPanic(skip, at) => {
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
            Step::Free => {
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
        let Beside { fifo, waiting, dropped, mut expected, .. } = self;
        drop(fifo);
        expected.extend(waiting.into_iter().flatten());
        expected.sort_unstable();
        dropped.borrow_mut().sort_unstable();
        assert_eq!(*dropped.borrow(), expected);
    }
}

proptest! {
    #[test]
    fn a_fifo_gives_out_each_once_and_drops_the_rest(
        steps in prop::collection::vec(step(), 0..150),
    ) {
        let mut beside = Beside::default();
        for step in steps {
            beside.take(step);
        }
        beside.end();
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
