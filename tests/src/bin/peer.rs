//! A node in a process of its own, for tests that kill it, starve it, or measure it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it is a program of the tests"
)]

use std::{
    io::{Read, Write},
    sync::Arc,
};

use annulus::prelude::*;
use annulus_tests::{
    PATIENCE,
    load::{Asker, ECHO, Echo},
    messages::{Number, Ping},
};

/// Prints the numbers that it gets.
struct Printer;

impl Actor for Printer {
    type Protocol = (Number, Ping);
}

impl Handler<Number> for Printer {
    async fn handle(&mut self, number: Msg<Number>, _: &mut Context<Self>) -> Number {
        let number = number.decode();
        println!("{}", number.number);
        number
    }
}

impl Handler<Ping> for Printer {
    /// This ping is never answered.
    async fn handle(&mut self, _: Msg<Ping>, context: &mut Context<Self>) {
        println!("asked");
        context.sleep(Duration::from_secs(3600)).await;
    }
}

fn limit(resource: libc::__rlimit_resource_t, value: &str) {
    let value = value.parse().expect("a number");
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the limit is a valid place for one rlimit.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

/// Arguments come in pairs: what to set, and to what.
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let pairs = || arguments.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].clone()));
    let all = |wanted: &'static str| pairs().filter(move |(name, _)| *name == wanted);
    let mut node = Node::builder(all("name").next().map_or("child".into(), |(_, name)| name));
    for (argument, value) in pairs() {
        match argument {
            "name" | "meets" | "asks" => {}
            "listen" => node = node.listen(value),
            "join" => node = node.join(value),
            "workers" => node = node.workers(value.parse().expect("a number")),
            "descriptors" => limit(libc::RLIMIT_NOFILE, &value),
            "locked-memory" => limit(libc::RLIMIT_MEMLOCK, &value),
            other => panic!("unknown argument {other}"),
        }
    }
    let node = match node.start() {
        Ok(node) => node,
        Err(error) => return println!("error: {error}"),
    };
    let printer = node.spawn(Printer).expect("there is room");
    let named = node.run(async move || Name::new("printer").register(printer).await);
    assert_eq!(named, Ok(Ok(())));
    let echo = node.spawn(Echo).expect("there is room");
    assert_eq!(node.run(async move || ECHO.register(echo).await), Ok(Ok(())));
    println!("ready {}", node.endpoints().join(" "));
    std::io::stdout().flush().expect("the parent listens");
    for (_, other) in all("meets") {
        node.wait_for(&other, PATIENCE).expect("the other node comes");
        println!("met {other}");
    }
    for (_, other) in all("asks") {
        for worker in 0..node.workers() {
            let asker = Asker { node: other.clone(), tell: Arc::new(|line| println!("{line}")) };
            node.spawn_on(worker, asker).expect("there is room");
        }
    }
    // The parent closes this when it has seen enough.
    let _ = std::io::stdin().read(&mut [0]);
    node.shutdown(Duration::from_secs(10)).expect("it ends");
}
