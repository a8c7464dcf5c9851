//! A deterministic simulator for actors of annulus.
//!
//! A whole cluster runs in one thread, in a time of its own. Everything above the
//! [driver](annulus::transport::driver) is what runs in production; the kernel below it is a model whose
//! network, disks, clocks and processes fail on demand. One seed decides everything that chance decides:
//! the same seed gives the same run.
//!
//! ```
//! use annulus::prelude::*;
//! use annulus_sim::{Sim, sim_test};
//!
//! #[message(reply = Pong)]
//! struct Ping;
//!
//! #[message]
//! struct Pong;
//!
//! struct Echo;
//!
//! impl Actor for Echo {
//!     type Protocol = (Ping,);
//! }
//!
//! impl Handler<Ping> for Echo {
//!     async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) -> Pong {
//!         Pong
//!     }
//! }
//!
//! const ECHO: Name<(Ping,)> = Name::new("echo");
//!
//! #[sim_test(seeds = 20)]
//! fn an_echo_is_found_again_after_a_crash(sim: &mut Sim) {
//!     sim.node("ann", 2, |node| node, async |_| {
//!         let echo = annulus::spawn(Echo).unwrap();
//!         ECHO.register(echo).await.unwrap();
//!     });
//!     sim.node("bob", 1, |node| node, async |_| ());
//!     sim.at(Duration::from_secs(1), |sim| {
//!         sim.kill("ann");
//!     });
//!     sim.at(Duration::from_secs(2), |sim| {
//!         sim.restart("ann");
//!     });
//!     sim.run_for(Duration::from_secs(3));
//!     let answered = sim.run_on("bob", async || {
//!         let echo = ECHO.find_on("ann", Duration::from_secs(10)).await?;
//!         echo.ask(Ping).await?;
//!         Ok::<_, Error>(())
//!     });
//!     assert!(answered.unwrap().is_ok());
//! }
//! ```
#![forbid(unsafe_code)]

mod address;
#[doc(hidden)]
pub mod bare;
mod checks;
mod disk;
mod driver;
mod faults;
mod marks;
mod net;
mod random;
mod seeds;
mod sending;
mod sim;
mod trace;
mod watching;
mod world;

pub use annulus_macros::sim_test;

pub use crate::{
    checks::{Checks, Sums},
    faults::{DiskFaults, Faults},
    marks::Marks,
    random::Random,
    seeds::run_seeds,
    sending::SendChecks,
    sim::{Leftovers, Sim},
    watching::{Owed, WatchChecks},
};
