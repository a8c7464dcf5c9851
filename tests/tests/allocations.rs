//! A handler that is not suspended costs no memory from the allocator: not for the message, not for its
//! future, not for its answer.
#![allow(missing_docs, reason = "tests are named after what they show")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use annulus::prelude::*;

/// Counts what is allocated, by all threads.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller keeps the contract of this function, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[message(reply = Point)]
struct Point {
    x: u64,
    y: u64,
}

#[derive(Default)]
struct Plotter {
    sum: u64,
}

impl Actor for Plotter {
    type Protocol = (Point,);
}

impl Handler<Point> for Plotter {
    async fn handle(&mut self, point: Msg<Point>, _: &mut Context<Self>) -> Point {
        self.sum += point.x.to_native();
        Point { x: self.sum, y: point.y.to_native() }
    }
}

/// Passes points on to another actor, from within a handler.
struct Pen {
    plotter: ActorRef<(Point,)>,
}

#[message(reply = Counted)]
struct Draw {
    points: u64,
    ask: bool,
}

#[message]
struct Counted {
    allocations: u64,
}

impl Actor for Pen {
    type Protocol = (Draw,);
}

impl Handler<Draw> for Pen {
    async fn handle(&mut self, draw: Msg<Draw>, _: &mut Context<Self>) -> Counted {
        let before = ALLOCATIONS.load(Relaxed);
        for x in 0..draw.points.to_native() {
            let point = Point { x, y: 1 };
            if draw.ask {
                self.plotter.ask(point).await.unwrap();
            } else {
                self.plotter.send(point).await.unwrap();
            }
        }
        Counted { allocations: ALLOCATIONS.load(Relaxed) - before }
    }
}

const MESSAGES: u64 = 10_000;

/// Queues grow to their size in the first rounds; the best of them is what messages cost.
const ROUNDS: u64 = 5;

/// Tells and asks from a future on worker 0. Returns the allocations of each in the best round.
fn from_a_future(node: &Node, plotter: ActorRef<(Point,)>) -> (u64, u64) {
    let mut counted = (u64::MAX, u64::MAX);
    for _ in 0..ROUNDS {
        let run = node.run(async move || {
            let begin = ALLOCATIONS.load(Relaxed);
            for x in 0..MESSAGES {
                plotter.send(Point { x, y: 1 }).await.unwrap();
                if x % 500 == 0 {
                    plotter.ask(Point { x, y: 1 }).await.unwrap();
                }
            }
            plotter.ask(Point { x: 0, y: 1 }).await.unwrap();
            let told = ALLOCATIONS.load(Relaxed);
            for x in 0..MESSAGES {
                plotter.ask(Point { x, y: 1 }).await.unwrap();
            }
            (told - begin, ALLOCATIONS.load(Relaxed) - told)
        });
        let (told, asked) = run.unwrap();
        counted = (counted.0.min(told), counted.1.min(asked));
    }
    counted
}

/// Tells three actors of one worker at once. Returns the allocations of the best round.
fn broadcast_here(node: &Node, to: [ActorRef<(Point,)>; 3]) -> u64 {
    let mut counted = u64::MAX;
    for _ in 0..ROUNDS {
        let run = node.run(async move || {
            let begin = ALLOCATIONS.load(Relaxed);
            for x in 0..MESSAGES {
                annulus::broadcast(&to, &Point { x, y: 1 }).unwrap();
                if x % 500 == 0 {
                    to[0].ask(Point { x, y: 1 }).await.unwrap();
                }
            }
            ALLOCATIONS.load(Relaxed) - begin
        });
        counted = counted.min(run.unwrap());
    }
    counted
}

/// Tells or asks from a handler, which is suspended at each ask.
fn from_a_handler(node: &Node, plotter: ActorRef<(Point,)>, ask: bool) -> u64 {
    let pen = node.spawn_on(0, Pen { plotter }).unwrap();
    let mut counted = u64::MAX;
    for _ in 0..ROUNDS {
        let run = node.run(async move || {
            let drawn = pen.ask(Draw { points: MESSAGES, ask }).await;
            drawn.unwrap().allocations.to_native()
        });
        counted = counted.min(run.unwrap());
    }
    counted
}

/// All in one test, so that no other one allocates meanwhile.
#[test]
fn a_handler_that_is_not_suspended_allocates_nothing() {
    let node = Node::builder("ann").workers(2).start().unwrap();
    let here = node.spawn_on(0, Plotter::default()).unwrap();
    let there = node.spawn_on(1, Plotter::default()).unwrap();
    let (told_here, asked_here) = from_a_future(&node, here);
    let (told_there, asked_there) = from_a_future(&node, there);
    let handler_told = from_a_handler(&node, here, false);
    let handler_asked = from_a_handler(&node, here, true);
    let handler_asked_there = from_a_handler(&node, there, true);
    let to = [0; 3].map(|worker| node.spawn_on(worker, Plotter::default()).unwrap());
    let broadcast = broadcast_here(&node, to);
    println!("allocations for {MESSAGES} messages each");
    println!("same worker: {told_here} told, {asked_here} asked");
    println!("other worker: {told_there} told, {asked_there} asked");
    println!("from a handler: {handler_told} told, {handler_asked} asked here,");
    println!("and {handler_asked_there} asked there");
    assert_eq!((told_here, asked_here), (0, 0), "same worker");
    assert_eq!(handler_told, 0, "told from a handler");
    assert_eq!(broadcast, 0, "broadcast");
    // What crosses to another worker is counted by the crossing, not by the message.
    assert!(told_there < MESSAGES / 50, "told across");
    assert!(asked_there <= MESSAGES / 100, "asked across");
    assert!(handler_asked <= MESSAGES / 100, "asked from a handler");
    assert!(handler_asked_there <= MESSAGES / 100, "and across");
}
