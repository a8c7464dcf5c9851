//! Messages of all shapes, told, asked and forwarded: what arrives is what was sent.
#![allow(missing_docs, reason = "tests are named after what they show")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use annulus::{prelude::*, wire};
use annulus_tests::{Over, PATIENCE, Pair, Shared};

/// Two values of three: zero is none of them.
#[wire]
#[derive(Clone, Debug)]
#[repr(u8)]
enum Light {
    Red = 1,
    Green = 4,
}

/// One word long, and its archive is longer.
#[message(reply = Niched)]
#[derive(Clone, Debug)]
struct Niched(Option<char>, Light, Option<bool>);

/// Much shorter than its archive.
#[message(reply = Nested)]
#[derive(Clone, Debug)]
struct Nested([Option<bool>; 8], Option<Option<char>>);

/// Gaps everywhere.
#[message(reply = Gaps)]
#[derive(Clone, Debug)]
struct Gaps {
    small: u8,
    wide: u64,
    pair: (u16, u32),
}

/// More than fits into two words, and aligned to more.
#[message(reply = Wide)]
#[derive(Clone, Debug)]
struct Wide(u8, u128, Result<u8, u32>);

/// Variants of all lengths.
#[message(reply = Event)]
#[derive(Clone, Debug)]
enum Event {
    Nothing,
    Seen(bool),
    Moved { from: (i16, i64), to: Light },
    Waited(Duration),
    Came(SocketAddr),
    Went(IpAddr),
}

/// Whom to answer.
#[message(reply = Whom)]
#[derive(Clone, Debug)]
struct Whom(Option<ActorRef<Shapes>>, u32);

/// More than crosses without a chunk, with gaps.
#[message(reply = Large)]
#[derive(Clone, Debug)]
struct Large([(u8, u32); 40]);

/// More than a chunk, with gaps.
#[message(reply = Huge)]
#[derive(Clone, Debug)]
struct Huge([(u8, u32); 10_000]);

/// Not flat, in one variant of two.
#[message(reply = Mixed)]
#[derive(Clone, Debug)]
enum Mixed {
    Number(u64),
    Words(String, Vec<Light>),
}

type Shapes = (Niched, Nested, Gaps, Wide, Event, Whom, Large, Huge, Mixed);

/// Notes what it gets, passes it on as it is if there is somebody to get it, and gives it back.
struct Echo {
    seen: Shared<String>,
    to: Option<ActorRef<Shapes>>,
}

impl Actor for Echo {
    type Protocol = Shapes;
}

macro_rules! echoes {
    ($($message:ident)+) => {
        $(impl Handler<$message> for Echo {
            async fn handle(&mut self, message: Msg<$message>, _: &mut Context<Self>) -> $message {
                let decoded = message.decode();
                self.seen.push(format!("{decoded:?}"));
                if let Some(to) = self.to {
                    to.forward(message).unwrap();
                }
                decoded
            }
        })+
    };
}

echoes!(Niched Nested Gaps Wide Event Whom Large Huge Mixed);

/// Tells some, and asks, each of these.
macro_rules! send {
    ($echo:ident: $($message:expr,)+) => {{
        let mut sent = Vec::new();
        $({
            let message = $message;
            let shown = format!("{message:?}");
            for _ in 0..3 {
                $echo.send(message.clone()).await.unwrap();
                sent.push(shown.clone());
            }
            let answer = $echo.ask(message).await.unwrap().decode();
            assert_eq!(format!("{answer:?}"), shown);
            sent.push(shown);
        })+
        sent
    }};
}

/// Sends one of each, and returns what there should be seen of it.
async fn send_all(echo: ActorRef<Shapes>) -> Vec<String> {
    send! { echo:
        Niched(None, Light::Red, None),
        Niched(Some('ä'), Light::Green, Some(true)),
        Niched(Some('\0'), Light::Red, Some(false)),
        Nested([None; 8], None),
        Nested([Some(true), None, Some(false), None, None, None, None, Some(true)], Some(None)),
        Nested([Some(true); 8], Some(Some('z'))),
        Gaps { small: 1, wide: 0, pair: (2, 3) },
        Gaps { small: u8::MAX, wide: u64::MAX, pair: (u16::MAX, u32::MAX) },
        Wide(7, u128::MAX - 1, Ok(8)),
        Wide(7, 0, Err(9)),
        Event::Nothing,
        Event::Seen(true),
        Event::Moved { from: (-1, i64::MIN), to: Light::Green },
        Event::Waited(Duration::new(3, 999_999_999)),
        Event::Came(SocketAddr::from((Ipv6Addr::LOCALHOST, 80))),
        Event::Came(SocketAddr::from(([10, 1, 2, 3], 65_535))),
        Event::Went(IpAddr::V4(Ipv4Addr::BROADCAST)),
        Whom(None, 1),
        Whom(Some(echo), 2),
        Large(std::array::from_fn(|n| (n as u8, n as u32 * 1000))),
        Huge(std::array::from_fn(|n| (n as u8, n as u32 * 1000))),
        Mixed::Number(5),
        Mixed::Words("so many words".repeat(20), vec![Light::Red, Light::Green]),
    }
}

#[test]
fn messages_of_all_shapes_arrive_as_they_were_sent_on_a_node() {
    for on in [0, 1] {
        let node = Node::builder("ann").workers(2).start().unwrap();
        let seen = Shared::default();
        let echo = node.spawn_on(on, Echo { seen: seen.clone(), to: None }).unwrap();
        let sent = node.run_on(0, async move || send_all(echo).await).unwrap();
        assert_eq!(seen.all(), sent, "on worker {on}");
        node.shutdown(PATIENCE).unwrap();
    }
}

#[test]
fn messages_of_all_shapes_arrive_as_they_were_sent_through_another_actor() {
    for (router_on, echo_on) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let node = Node::builder("ann").workers(2).start().unwrap();
        let (seen, routed) = (Shared::default(), Shared::default());
        let echo = node.spawn_on(echo_on, Echo { seen: seen.clone(), to: None }).unwrap();
        let router = Echo { seen: routed.clone(), to: Some(echo) };
        let router = node.spawn_on(router_on, router).unwrap();
        let sent = node.run_on(0, async move || send_all(router).await).unwrap();
        assert_eq!(routed.all(), sent);
        assert_eq!(seen.wait_for(sent.len()), sent);
        node.shutdown(PATIENCE).unwrap();
    }
}

#[test]
fn messages_of_all_shapes_arrive_as_they_were_sent_between_nodes() {
    const ECHO: Name<Shapes> = Name::new("echo");
    let pair = Pair::new(Over::Tcp, 1, 1);
    let seen = Shared::default();
    let echo = pair.ann.spawn(Echo { seen: seen.clone(), to: None }).unwrap();
    pair.ann.run(async move || ECHO.register(echo).await.unwrap()).unwrap();
    let sent = pair.bob.run(async || send_all(ECHO.find_on("ann", PATIENCE).await.unwrap()).await);
    // A reference shows how a node knows the other one, which differs.
    let alike = |texts: Vec<String>| -> Vec<String> {
        texts.into_iter().filter(|text| !text.starts_with("Whom(Some")).collect()
    };
    assert_eq!(alike(seen.all()), alike(sent.unwrap()));
    pair.shut_down();
}
