//! P1: what one actor sends another arrives in the order it was sent, whatever it is sent by, whatever
//! its size, and wherever the two live. The same holds for the answers.
#![allow(missing_docs, reason = "tests are named after what they show")]

use std::{
    collections::{BTreeMap, VecDeque},
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context as TaskContext, Poll, Waker},
};

use annulus::{Ask, prelude::*};
use annulus_tests::{Over, Pair, Shared, ends, eventually, messages::Parcel, start_polling, total};

/// Bytes of filling: from nothing to a frame of many chunks.
const SIZES: [usize; 8] = [0, 16, 100, 4_095, 4_096, 65_536, 70_000, 1 << 20];

/// Bytes on their way before a source waits for an answer.
const WINDOW: usize = 1 << 20;

/// Takes parcels, and answers every other one with the very message that came in.
struct Sink {
    next: BTreeMap<u64, u64>,
    faults: Shared<String>,
    taken: Arc<AtomicU64>,
}

impl Actor for Sink {
    type Protocol = (Parcel,);
}

impl Respond<Parcel> for Sink {
    async fn respond(&mut self, parcel: Msg<Parcel>, context: &mut Context<Self>) -> Reply<Parcel> {
        let (sender, number) = (parcel.sender.to_native(), parcel.number.to_native());
        let next = self.next.entry(sender).or_default();
        if number != *next {
            self.faults.push(format!("{sender}: {number} came, {next} was next"));
        }
        *next = number + 1;
        if !parcel.filling.iter().all(|byte| *byte == number as u8) {
            self.faults.push(format!("{sender}: {number} is damaged"));
        }
        self.taken.fetch_add(1, Relaxed);
        if number % 61 == 60 {
            // What comes meanwhile waits in the mailbox.
            context.sleep(Duration::from_micros(50)).await;
        }
        if number.is_multiple_of(2) { Reply::Same(parcel) } else { Reply::Value(parcel.decode()) }
    }
}

/// Sends so many parcels to a sink, in all ways that there are.
#[message]
struct Go {
    count: u64,
}

struct Source {
    number: u64,
    to: ActorRef<(Parcel,)>,
    sizes: &'static [usize],
    finished: Shared<u64>,
}

impl Actor for Source {
    type Protocol = (Go,);
}

impl Handler<Go> for Source {
    async fn handle(&mut self, go: Msg<Go>, _: &mut Context<Self>) {
        let mut asked = Asked::default();
        let mut on_the_way = 0;
        for number in 0..go.count.to_native() {
            // Scattered, but the same in each run.
            let dice = (number + self.number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            let parcel = Parcel {
                sender: self.number,
                number,
                filling: vec![number as u8; self.sizes[dice as usize % self.sizes.len()]],
            };
            on_the_way += parcel.filling.len() + 1000;
            match dice >> 8 & 3 {
                _ if on_the_way > WINDOW => {
                    on_the_way = 0;
                    self.to.ask(parcel).await.unwrap();
                }
                0 => self.to.tell(parcel).unwrap(),
                1 => self.to.send(parcel).await.unwrap(),
                _ => match start_polling(self.to.ask(parcel)).await {
                    Ok(answer) => {
                        assert_eq!(answer.unwrap().number, number);
                        assert!(asked.check_some().is_ready(), "{number} overtook others");
                    }
                    Err(ask) => asked.0.push_back((number, ask)),
                },
            }
            let _ = asked.check_some();
        }
        poll_fn(|context| asked.poll(context)).await;
        self.finished.push(self.number);
    }
}

/// Asks that wait for their answers, in the order in which they were sent.
#[derive(Default)]
struct Asked(VecDeque<(u64, Pin<Box<Ask<Parcel>>>)>);

impl Asked {
    /// Takes the answers that are there: they have come in the order of the asks.
    fn poll(&mut self, context: &mut TaskContext<'_>) -> Poll<()> {
        while let Some((number, ask)) = self.0.front_mut() {
            let Poll::Ready(answer) = ask.as_mut().poll(context) else {
                // If this has no answer, those behind it have none.
                for (later, ask) in self.0.iter_mut().skip(1).take(3) {
                    assert!(ask.as_mut().poll(context).is_pending(), "{later} came early");
                }
                return Poll::Pending;
            };
            assert_eq!(answer.unwrap().number, *number);
            self.0.pop_front();
        }
        Poll::Ready(())
    }

    fn check_some(&mut self) -> Poll<()> {
        self.poll(&mut TaskContext::from_waker(Waker::noop()))
    }
}

/// Where a source and its sink live: a node, 0 or 1, and one of its workers.
type Place = (usize, usize);

/// Runs one source for each pair of places, all to sinks of their own and to a common one.
fn run(nodes: Vec<Node>, pairs: &[(Place, Place)], count: u64, sizes: &'static [usize]) {
    let (faults, finished) = (Shared::default(), Shared::default());
    let taken = Arc::new(AtomicU64::new(0));
    let mut sinks: BTreeMap<Place, ActorRef<(Parcel,)>> = BTreeMap::new();
    for (_, at) in pairs {
        let sink = Sink { next: BTreeMap::new(), faults: faults.clone(), taken: taken.clone() };
        let (node, worker) = *at;
        sinks.entry(*at).or_insert_with(|| nodes[node].spawn_on(worker, sink).unwrap());
    }
    for (number, ((node, worker), to)) in pairs.iter().enumerate() {
        let source =
            Source { number: number as u64, to: sinks[to], sizes, finished: finished.clone() };
        let source = nodes[*node].spawn_on(*worker, source).unwrap();
        let told = nodes[*node].run(async move || source.tell(Go { count }).is_ok());
        assert_eq!(told, Ok(true));
    }
    eventually("all is sent and answered", || {
        let faults = faults.all();
        assert!(faults.is_empty(), "{:?}", &faults[..faults.len().min(5)]);
        finished.len() == pairs.len()
    });
    eventually("all is handled", || taken.load(Relaxed) == count * pairs.len() as u64);
    for node in nodes {
        assert_eq!(total(&node, |stats| stats.dead_letters), 0);
        ends("the shutdown", move || node.shutdown(annulus_tests::PATIENCE).unwrap());
    }
}

#[test]
fn p01_order_on_one_worker() {
    let node = Node::builder("ann").start().unwrap();
    run(vec![node], &[((0, 0), (0, 0)), ((0, 0), (0, 0))], 2000, &SIZES);
}

#[test]
fn p01_order_across_workers() {
    let node = Node::builder("ann").workers(3).start().unwrap();
    let pairs = [((0, 0), (0, 1)), ((0, 1), (0, 0)), ((0, 2), (0, 1)), ((0, 0), (0, 1))];
    run(vec![node], &pairs, 1500, &SIZES);
}

#[test]
fn p01_order_across_workers_for_many_small_messages() {
    let node = Node::builder("ann").workers(2).start().unwrap();
    run(vec![node], &[((0, 0), (0, 1)), ((0, 1), (0, 0))], 100_000, &[0, 16]);
}

/// Between all workers of two nodes, both ways.
fn across_nodes(over: Over, ann: usize, bob: usize) {
    let pair = Pair::new(over, ann, bob);
    let mut pairs = Vec::new();
    for a in 0..ann {
        for b in 0..bob {
            pairs.push(((0, a), (1, b)));
            pairs.push(((1, b), (0, a)));
        }
    }
    run(vec![pair.ann, pair.bob], &pairs, 600, &SIZES);
}

#[test]
fn p01_order_across_nodes_over_tcp() {
    across_nodes(Over::Tcp, 1, 1);
}

#[test]
fn p01_order_across_nodes_over_unix_sockets() {
    across_nodes(Over::Unix, 1, 1);
}

#[test]
fn p01_order_across_nodes_with_several_workers() {
    across_nodes(Over::Tcp, 2, 1);
    across_nodes(Over::Unix, 1, 3);
}

#[test]
fn p01_order_across_nodes_for_many_small_messages() {
    let pair = Pair::new(Over::Tcp, 1, 1);
    let pairs = [((0, 0), (1, 0)), ((1, 0), (0, 0))];
    run(vec![pair.ann, pair.bob], &pairs, 50_000, &[0, 16, 100]);
}
