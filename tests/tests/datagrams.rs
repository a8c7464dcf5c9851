//! P17: datagrams are another class of delivery: at most once, in no order, and nobody hears of a loss.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(clippy::disallowed_methods, reason = "tests look from the outside")]

use std::{
    net::UdpSocket,
    sync::{Mutex, MutexGuard},
};

use annulus::{AskError, Limits, TellError, prelude::*};
use annulus_tests::{Over, PATIENCE, Pair, Shared, comes_to_rest, eventually, messages::*, total};

/// Two nodes with datagrams, and an actor on each worker of the first.
fn scene(workers: usize, limits: Limits) -> (Pair, Vec<ActorRef<Work>>, Shared<String>) {
    let settings = |node: annulus::NodeBuilder| node.datagrams("udp://127.0.0.1:0").limits(limits);
    let pair =
        Pair::with(Over::Tcp, |ann| settings(ann).workers(workers), |bob| settings(bob).workers(2));
    let done = Shared::default();
    let actors =
        (0..workers).map(|at| pair.ann.spawn_on(at, Worker::noting(&done)).unwrap()).collect();
    (pair, actors, done)
}

fn dropped(node: &Node) -> u64 {
    total(node, |stats| stats.datagrams_dropped)
}

/// One test at a time: one of them sends to every port for datagrams that the process has.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[test]
fn p17_tells_and_asks_arrive_at_the_worker_of_the_actor() {
    let _turn = alone();
    let (pair, actors, done) = scene(3, Limits::default());
    for at in 0..2 {
        for actor in &actors {
            let actor = *actor;
            let asked = pair.bob.run_on(at, async move || {
                actor.by_datagram().tell(Ping).unwrap();
                // One may be lost; not all of ten.
                for number in 0..10 {
                    let ask = actor.by_datagram().ask(Number { number });
                    if let Ok(answer) = ask.within(PATIENCE / 10).await {
                        assert_eq!(answer.number, number);
                        return true;
                    }
                }
                false
            });
            assert_eq!(asked, Ok(true));
        }
    }
    eventually("the tells arrive", || {
        done.all().iter().filter(|what| *what == "ping").count() == 6
    });
    assert_eq!(dropped(&pair.ann) + dropped(&pair.bob), 0);
    comes_to_rest(&pair.bob, u64::MAX);
    pair.shut_down();
}

#[test]
fn p17_what_arrives_arrives_once() {
    let _turn = alone();
    let (pair, actors, done) = scene(1, Limits::default());
    let actor = actors[0];
    pair.bob
        .run(async move || {
            for number in 0..2000 {
                actor.by_datagram().tell(Number { number }).unwrap();
                if number % 20 == 0 {
                    sleep(Duration::from_micros(100)).await;
                }
            }
        })
        .unwrap();
    eventually("most arrive", || done.len() > 1800);
    let mut seen = done.all();
    let all = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), all);
}

#[test]
fn p17_a_message_that_fits_no_datagram_comes_back() {
    let _turn = alone();
    let limits = Limits { max_datagram: 1400, ..Limits::default() };
    let (pair, actors, _) = scene(1, limits);
    let actor = actors[0];
    let told = pair.bob.run(async move || {
        let sink: ActorRef<(Parcel,)> = ActorRef::from_address(actor.address());
        let parcel = |len| Parcel { sender: 0, number: 0, filling: vec![0; len] };
        let told = sink.by_datagram().tell(parcel(2000)).map_err(|e| e.reason);
        let asked = sink.by_datagram().ask(parcel(2000)).await.map(|_| ());
        // As large as may be: it is refused as unknown, so it has arrived.
        let fits = sink.by_datagram().ask(parcel(1200)).within(PATIENCE).await.map(|_| ());
        (told, asked, fits)
    });
    let (told, asked, fits) = told.unwrap();
    assert!(matches!(told, Err(TellError::TooLarge { max: 1000..1400 })), "{told:?}");
    assert!(matches!(asked, Err(AskError::TooLarge { .. })), "{asked:?}");
    assert_eq!(fits, Err(AskError::Unknown));
    assert_eq!(dropped(&pair.bob), 0);
}

/// Every size around the limit is either taken and arrives, or comes back: none is dropped silently.
#[test]
fn p17_around_the_largest_size_nothing_is_dropped_without_a_word() {
    let _turn = alone();
    let limits = Limits { max_datagram: 1400, ..Limits::default() };
    let (pair, actors, _) = scene(1, limits);
    let actor = actors[0];
    let silent = pair.bob.run(async move || {
        let sink: ActorRef<(Parcel,)> = ActorRef::from_address(actor.address());
        let mut silent = Vec::new();
        for len in 1250..1400 {
            let parcel = Parcel { sender: 0, number: 0, filling: vec![0; len] };
            let ask = sink.by_datagram().ask(parcel).within(PATIENCE / 20);
            match ask.await.map(|_| ()) {
                Err(AskError::Unknown | AskError::TooLarge { .. }) => {}
                other => silent.push((len, other)),
            }
            if silent.len() > 3 {
                break;
            }
        }
        silent
    });
    assert_eq!(silent, Ok(Vec::new()));
}

#[test]
fn p17_p19_a_datagram_without_the_token_is_dropped_and_counted() {
    let _turn = alone();
    let (pair, actors, done) = scene(1, Limits::default());
    let own = UdpSocket::bind("127.0.0.1:0").unwrap();
    let ports = udp_ports();
    let socket = &own;
    let send = |bytes: &[u8]| {
        for port in &ports {
            let _ = socket.send_to(bytes, ("127.0.0.1", *port));
        }
    };
    let number = actors[0];
    let before = dropped(&pair.ann);
    let at = number.address();
    use annulus::codec::{
        frame::{Header, Kind},
        message::Message,
    };
    let header = Header::new(Kind::Tell, at.slot(), at.generation(), Number::ID, 0);
    let frame = annulus_tests::raw::frame(header, &[], &1_u64.to_le_bytes());
    let forged = |token: [u8; 8]| {
        let bob = annulus::codec::address::NodeId::from_name("bob").bits();
        [b"ANUD".as_slice(), &bob.to_le_bytes(), &token, &frame].concat()
    };
    let forgeries = [forged([0; 8]), forged([0xff; 8]), b"ANUD".to_vec(), vec![0xee; 60_000]];
    for bytes in &forgeries {
        send(bytes);
    }
    send(&[]);
    eventually("all are counted", || dropped(&pair.ann) >= before + forgeries.len() as u64);
    assert!(done.is_empty());
    let asked = pair.bob.run(async move || number.by_datagram().ask(Ping).await.is_ok());
    assert_eq!(asked, Ok(true));
}

/// The ports that this process has open for datagrams.
fn udp_ports() -> Vec<u16> {
    let own: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .filter_map(|link| {
            Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').into())
        })
        .collect();
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|fields| own.contains(&fields[9].to_string()))
        .filter_map(|fields| u16::from_str_radix(fields[1].split(':').nth(1)?, 16).ok())
        .collect()
}

#[test]
fn p17_to_an_actor_of_the_same_node_a_datagram_goes_the_ordinary_way() {
    let _turn = alone();
    for datagrams in [false, true] {
        let mut node = Node::builder("ann").workers(2);
        if datagrams {
            node = node.datagrams("udp://127.0.0.1:0");
        }
        let node = node.start().unwrap();
        for at in 0..2 {
            let worker = node.spawn_on(at, Worker::default()).unwrap();
            let asked = node.run(async move || {
                let asked = worker.by_datagram().ask(Number { number: 4 }).await;
                worker.by_datagram().tell(Ping).unwrap();
                asked.unwrap().number.to_native()
            });
            assert_eq!(asked, Ok(4));
        }
    }
}

#[test]
fn p17_a_node_without_datagrams_cannot_be_reached_by_them() {
    let _turn = alone();
    let pair = Pair::new(Over::Tcp, 1, 1);
    let worker = pair.ann.spawn(Worker::default()).unwrap();
    let outcomes = pair.bob.run(async move || {
        let told = worker.by_datagram().tell(Ping).map_err(|e| e.reason);
        (told, worker.by_datagram().ask(Ping).await.map(|_| ()))
    });
    assert_eq!(outcomes, Ok((Err(TellError::Unreachable), Err(AskError::Unreachable))));
}
