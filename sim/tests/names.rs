//! P16: those who look for names and say that they wait for ever.
#![allow(missing_docs, reason = "tests are named after what they show")]

use annulus::{Limits, prelude::*, spawn};
use annulus_sim::{Sim, sim_test};

#[message]
struct Ping;

struct Echo;

impl Actor for Echo {
    type Protocol = (Ping,);
}

impl Handler<Ping> for Echo {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {}
}

fn name(number: usize) -> Name<(Ping,)> {
    Name::from_string(format!("name-{number}"))
}

const NAMES: usize = 4;

const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

#[sim_test(seeds = 20)]
fn p16_look_ups_that_say_that_they_wait_for_ever_leave_their_places(sim: &mut Sim) {
    let limits = Limits { names: NAMES, ask_timeout: Duration::from_secs(5), ..Limits::default() };
    sim.node("ann", 1, move |node| node.limits(limits), async |_| ());
    sim.node("bob", 1, |node| node, async |_| ());
    sim.node("cy", 1, |node| node, async |_| ());
    for number in 1..=NAMES {
        sim.start_on("bob", 0, async move || drop(name(number).find_on("ann", CENTURY).await));
    }
    sim.run_for(Duration::from_secs(2));
    sim.cut_power("bob").run_for(Duration::from_secs(10));
    let handled = |sim: &Sim| sim.stats("ann")[0].messages_handled;
    let before = handled(sim);
    sim.after(Duration::from_secs(4), |sim| {
        sim.start_on("ann", 0, async || name(0).register(spawn(Echo).unwrap()).await.unwrap());
    });
    let found = sim.run_on("cy", async || name(0).find_on("ann", Duration::from_secs(20)).await);
    assert!(found.unwrap().is_ok());
    let handled = handled(sim) - before;
    assert!(
        handled < 20,
        "no place was left, and so it was asked again and again: {handled} messages"
    );
}
