//! P16: what a node is told of others may be wrong. In the end nodes find each other all the same.
#![allow(missing_docs, reason = "tests are named after what they show")]

use annulus::{
    Limits, NodeBuilder,
    codec::address::{Address, Slot},
    prelude::*,
    wire,
};
use annulus_sim::{Sim, sim_test};

/// What cluster actors tell each other.
#[message(name = "annulus.Members")]
struct Members {
    members: Vec<Member>,
}

#[wire]
struct Member {
    name: String,
    endpoints: Vec<String>,
}

impl Member {
    fn at(name: impl Into<String>, endpoint: &str) -> Self {
        Member { name: name.into(), endpoints: vec![endpoint.into()] }
    }
}

#[message]
struct Ping;

struct Echo;

impl Actor for Echo {
    type Protocol = (Ping,);
}

impl Handler<Ping> for Echo {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {}
}

const ECHO: Name<(Ping,)> = Name::new("echo");

/// Nodes that the later ones join. Those learn of each other from these alone.
const HUBS: [&str; 3] = ["hub-0", "hub-1", "hub-2"];

fn node(sim: &mut Sim, name: &str, limits: Limits) {
    let settings = move |node: NodeBuilder| node.limits(limits);
    sim.node(name, 1, settings, async |_| {
        ECHO.register(annulus::spawn(Echo).unwrap()).await.unwrap();
    });
}

/// A node tells another something of others.
fn tell_of(sim: &mut Sim, from: &str, to: &str, members: Vec<Member>) {
    let to = to.to_owned();
    let told = sim.run_on(from, async move || {
        let echo = ECHO.find_on(&to, Duration::from_secs(10)).await.unwrap().address();
        let cluster = Address::new(echo.node(), echo.incarnation(), Slot::new(0, 1), 2);
        ActorRef::<(Members,)>::from_address(cluster).tell(Members { members }).is_ok()
    });
    assert_eq!(told, Ok(true));
}

/// Whether a node finds another one in time.
fn finds(sim: &mut Sim, from: &str, other: &str, patience: Duration) -> bool {
    let other = other.to_owned();
    sim.run_on(from, async move || ECHO.find_on(&other, patience).await.is_ok()).unwrap()
}

#[sim_test(seeds = 20)]
fn p16_nodes_that_were_told_wrong_endpoints_of_each_other_meet_again(sim: &mut Sim) {
    for name in HUBS.into_iter().chain(["ann", "bob"]) {
        node(sim, name, Limits::default());
    }
    assert!(finds(sim, "ann", "bob", Duration::from_secs(20)));
    tell_of(sim, HUBS[0], "ann", vec![Member::at("bob", "tcp://10.0.0.99:7000")]);
    tell_of(sim, HUBS[0], "bob", vec![Member::at("ann", "tcp://10.0.0.98:7000")]);
    sim.partition(&["ann"], &["bob"]);
    sim.run_for(Duration::from_secs(6));
    assert!(!finds(sim, "ann", "bob", Duration::from_millis(1)));
    sim.heal();
    assert!(finds(sim, "ann", "bob", Duration::from_secs(60)));
}

#[sim_test(seeds = 20)]
fn p16_nodes_that_somebody_made_up_take_no_places_of_others(sim: &mut Sim) {
    let limits = Limits { peers: 20, ..Limits::default() };
    for name in HUBS.into_iter().chain(["ann"]) {
        node(sim, name, limits);
    }
    // Somebody lives there, but not they.
    let made_up = (0..100).map(|number| Member::at(format!("x{number}"), "tcp://10.0.0.2:7000"));
    tell_of(sim, HUBS[0], "ann", made_up.collect());
    sim.run_for(Duration::from_secs(10));
    node(sim, "bob", limits);
    assert!(finds(sim, "ann", "bob", Duration::from_secs(20)));
}
