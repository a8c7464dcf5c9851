//! Nodes seen from their own workers: blocking calls are refused there, handles work; and panics of
//! users' code outside of handlers end where they happen.
#![allow(missing_docs, reason = "tests are named after what they show")]

use annulus::{NodeHandle, RunError, SpawnError, prelude::*};
use annulus_tests::{Over, PATIENCE, Pair, Shared, comes_to_rest, ends, eventually, messages::*};

#[test]
fn blocking_calls_on_a_worker_are_refused_and_its_handle_works() {
    let node = std::sync::Arc::new(Node::builder("ann").workers(2).start().unwrap());
    let inner = node.clone();
    let seen = node.run_on(1, async move || {
        let refused = (
            inner.run(async || ()),
            inner.stats().map(|_| ()),
            inner.spawn(Worker::default()).map(|_| ()),
            inner.wait_for("bob", PATIENCE),
        );
        let handle = inner.handle();
        drop(inner);
        let worker = handle.spawn_on(0, Worker::default()).await.unwrap();
        let answered = worker.ask(Ping).await.is_ok();
        let ran = handle.run_on(0, async || 7).await;
        let stats = handle.stats().await.unwrap();
        let nobody = handle.wait_for("bob", Duration::from_millis(1)).await;
        (refused, answered, ran, stats.len(), nobody)
    });
    let (refused, answered, ran, workers, nobody) = seen.unwrap();
    let blocked = RunError::WouldBlock;
    let expected =
        (Err(blocked), Err(blocked), Err(SpawnError::WouldBlock), Err(AskError::WouldBlock));
    assert_eq!(refused, expected);
    assert_eq!((answered, ran, workers), (true, Ok(7), 2));
    assert_eq!(nobody, Err(AskError::Timeout));
    let no_worker = RunError::NoSuchWorker { worker: 2, workers: 2 };
    assert_eq!(node.run_on(2, async || ()), Err(no_worker));
}

/// The last owner of a node may be a future on its own worker.
#[test]
fn a_node_dropped_on_its_own_worker_ends() {
    let node = Node::builder("ann").workers(2).start().unwrap();
    let handle = node.handle();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let starter = handle.clone();
    let helper = Node::builder("bob").start().unwrap();
    let dropped = helper.run(async move || {
        starter
            .run_on(1, async move || {
                drop(node);
                end
            })
            .await
            .is_ok()
    });
    // Whether the answer still comes out depends on who is faster; the end does not.
    let _ = dropped;
    ends("both workers", move || {
        let _ = ended.recv();
        let stopped = || {
            helper.run({
                let handle = handle.clone();
                async move || handle.stats().await.is_err()
            })
        };
        while stopped() != Ok(true) {}
    });
}

#[test]
fn a_node_ends_by_its_handle() {
    let pair = Pair::new(Over::Tcp, 2, 1);
    let handle: NodeHandle = pair.ann.handle();
    let ended = pair.bob.run(async move || handle.shutdown(PATIENCE).await);
    assert_eq!(ended, Ok(Ok(())));
    eventually("no worker is left", || pair.ann.run(async || ()) == Err(RunError::Ended));
}

/// A local message whose destructor panics.
#[message(local)]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a destructor went off");
    }
}

struct Quarry {
    blasts: u64,
}

impl Actor for Quarry {
    type Protocol = (Bomb, Number);
}

impl Handler<Bomb> for Quarry {
    async fn handle(&mut self, bomb: Msg<Bomb>, _: &mut Context<Self>) {
        self.blasts += 1;
        std::mem::forget(bomb.into_inner());
    }
}

impl Handler<Number> for Quarry {
    async fn handle(&mut self, _: Msg<Number>, _: &mut Context<Self>) -> Number {
        Number { number: self.blasts }
    }
}

#[test]
fn p13_a_panic_in_a_messages_destructor_costs_nobody_else_a_message() {
    let node = Node::builder("ann").workers(2).start().unwrap();
    for worker in [0, 1] {
        let blasts = node.run_on(worker, async || {
            let gone = annulus::spawn(Quarry { blasts: 0 }).unwrap();
            let here = annulus::spawn(Quarry { blasts: 0 }).unwrap();
            gone.ask(Number { number: 0 }).await.unwrap();
            // The second message finds the actor dead, and is dropped between two good ones.
            here.tell(Bomb).unwrap();
            gone.tell(Bomb).unwrap();
            gone.stop(annulus::StopMode::Kill).unwrap();
            gone.tell(Bomb).unwrap();
            here.tell(Bomb).unwrap();
            here.ask(Number { number: 0 }).await.map(|blasts| blasts.decode().number)
        });
        assert_eq!(blasts.unwrap(), Ok(2), "on worker {worker}");
    }
    node.shutdown(PATIENCE).unwrap();
}

/// What a node has sent before it shuts down arrives, however busy the other one is.
#[test]
fn everything_sent_before_a_shutdown_arrives() {
    const COUNT: u64 = 20_000;
    for over in [Over::Tcp, Over::Unix] {
        let Pair { ann, bob, folder } = Pair::new(over, 2, 2);
        let done = Shared::default();
        let worker = ann.spawn(Worker::noting(&done)).unwrap();
        // Bytes that bob has not read when it closes would make the kernel reset the connection.
        let noise = bob.spawn(Worker::default()).unwrap();
        let sent = bob.run(async move || {
            for number in 0..COUNT {
                if worker.send(Number { number }).await.is_err() {
                    return false;
                }
            }
            true
        });
        assert_eq!(sent, Ok(true));
        let told = ann.run(async move || (0..1000).all(|_| noise.tell(Ping).is_ok()));
        assert_eq!(told, Ok(true));
        bob.shutdown(PATIENCE).unwrap();
        let numbers = done.wait_for(COUNT as usize);
        assert_eq!(numbers.first().map(String::as_str), Some("number 0"));
        assert_eq!(numbers.last(), Some(&format!("number {}", COUNT - 1)));
        comes_to_rest(&ann, 1 << 20);
        ann.shutdown(PATIENCE).unwrap();
        drop(folder);
    }
}

/// All of a peer's links are read to their end, not only the first that is closed.
#[test]
fn everything_sent_by_every_worker_before_a_shutdown_arrives() {
    const SENDERS: usize = 3;
    const COUNT: u64 = 12;
    for over in [Over::Tcp, Over::Unix, Over::Tcp] {
        let Pair { ann, bob, folder } = Pair::new(over, SENDERS, SENDERS);
        let done = Shared::default();
        let sinks: Vec<_> = (0..SENDERS)
            .map(|worker| ann.spawn_on(worker, Sink { done: done.clone() }).unwrap())
            .collect();
        for (worker, sink) in sinks.into_iter().enumerate() {
            let sent = bob.run_on(worker, async move || {
                for number in 0..COUNT {
                    let filling = vec![7; 1 << 20];
                    let parcel = Parcel { sender: worker as u64, number, filling };
                    if sink.send(parcel).await.is_err() {
                        return false;
                    }
                }
                true
            });
            assert_eq!(sent, Ok(true));
        }
        bob.shutdown(PATIENCE).unwrap();
        done.wait_for(SENDERS * COUNT as usize);
        ann.shutdown(PATIENCE).unwrap();
        drop(folder);
    }
}

/// Takes parcels one by one, and not in a hurry.
struct Sink {
    done: Shared<u64>,
}

impl Actor for Sink {
    type Protocol = (Parcel,);
}

impl Handler<Parcel> for Sink {
    async fn handle(&mut self, parcel: Msg<Parcel>, context: &mut Context<Self>) -> Parcel {
        context.sleep(Duration::from_millis(10)).await;
        self.done.push(parcel.number.to_native());
        Parcel { sender: 0, number: 0, filling: Vec::new() }
    }
}

/// An ask by a local message, which is passed on by another one.
#[message(local, reply = Number)]
struct Round {
    to: Option<ActorRef<(Round,)>>,
}

struct Link {
    next: Option<ActorRef<(Round,)>>,
}

impl Actor for Link {
    type Protocol = (Round,);
}

impl Handler<Round> for Link {
    async fn handle(&mut self, round: Msg<Round>, _: &mut Context<Self>) -> Number {
        self.next = round.to.or(self.next);
        let Some(next) = self.next else { return Number { number: 0 } };
        let number = match next.ask(Round { to: None }).await {
            Err(AskError::Cycle) => 1,
            Err(AskError::Timeout) => 2,
            _ => 3,
        };
        Number { number }
    }
}

#[test]
fn p08_local_messages_have_a_chain_and_a_deadline_too() {
    let node = Node::builder("ann").workers(2).start().unwrap();
    for worker in [0, 1] {
        let first = node.spawn_on(0, Link { next: None }).unwrap();
        let second = node.spawn_on(worker, Link { next: Some(first) }).unwrap();
        let answer = node.run(async move || {
            let ask = first.ask(Round { to: Some(second) }).within(Duration::from_secs(5));
            ask.await.map(|number| number.decode().number)
        });
        // The second one finds the cycle, answers 1, and so the first one answers 3.
        assert_eq!(answer, Ok(Ok(3)));
    }
    node.shutdown(PATIENCE).unwrap();
}

#[test]
fn names_of_living_actors_stay_however_short_asks_are() {
    let limits = annulus::Limits { ask_timeout: Duration::from_millis(50), ..Default::default() };
    let node = Node::builder("ann").workers(2).limits(limits).start().unwrap();
    let worker = node.spawn_on(1, Worker::default()).unwrap();
    const NAME: Name<Work> = Name::new("worker");
    let registered = node.run(async move || {
        NAME.register(worker).await.unwrap();
        sleep(Duration::from_millis(300)).await;
        NAME.find_on("ann", Duration::from_millis(100)).await.is_ok()
    });
    assert_eq!(registered, Ok(true));
    assert_eq!(node.wait_for("ann", PATIENCE), Ok(()), "a node is connected to itself");
    node.shutdown(PATIENCE).unwrap();
}
