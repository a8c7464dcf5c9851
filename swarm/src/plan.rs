//! What goes wrong in a run, and when: drawn from its seed.
//!
//! Trouble seldom comes alone. When a cut heals or a node comes back, sessions are made: what goes wrong
//! just then meets handshakes and half-made sessions, so that is when more of it is drawn.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use annulus_sim::{Random, Sim};

/// Faults that a batch of seeds is to have reached.
pub(crate) const MARKS: &[&str] = &[
    "a dropped receive took bytes",
    "accept failed",
    "ask found no link",
    "ask lost its node",
    "ask ended in a cycle",
    "ask timed out",
    "ask was handed over",
    "actor told itself something",
    "broadcast went to another node",
    "broadcast went to another worker",
    "broadcast went to its own worker",
    "broadcast went to one actor twice",
    "clock was set back",
    "clock was set forward",
    "closed with bytes unread",
    "connection was refused",
    "connection was reset",
    "cut in one direction",
    "datagram arrived twice",
    "datagram found no room",
    "datagram was lost",
    "datagram was overtaken",
    "destructor told something",
    "doorbell was late",
    "nodes were cut apart",
    "no memory for an operation",
    "node came back at once",
    "node came back elsewhere",
    "node was killed",
    "node was paused",
    "node was paused for longer than a handshake takes",
    "power was cut",
    "power was cut in several places",
    "read failed",
    "write failed",
    "write was short",
    "write was torn",
    "disk stalled",
    "receive was short",
    "segment met a cut",
    "segment met no socket",
    "segment was sent again",
    "send was short",
    "trouble met a comeback",
    "turn was slow",
    "window was full",
    "watched actor ended",
    "watched actor was gone",
    "watched actor was lost",
];

/// A node that was paused is not paused again for so long: an ask that ran out meanwhile has to end in
/// time.
const AWAKE: Duration = Duration::from_secs(4);

/// The longest pause. A handshake is given up after 5 seconds.
const LONGEST_PAUSE: Duration = Duration::from_millis(7500);
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Draws what happens to the nodes until `end`.
pub(crate) fn schedule(sim: &mut Sim, random: &mut Random, end: Duration) {
    let rested = Rc::default();
    let mut at = Duration::from_secs(2);
    while at < end {
        let trouble = Trouble { random: random.fork(), end, rested: Rc::clone(&rested) };
        sim.at(at, |sim| trouble.strike(sim));
        at += Duration::from_millis(random.between(200, 6000));
    }
}

/// The nodes on both sides of a cut.
struct Sides(Vec<String>, Vec<String>);

impl Sides {
    fn draw(names: Vec<String>, random: &mut Random) -> Self {
        let (some, others) = names.into_iter().partition(|_| random.happens(0.5));
        Sides(some, others)
    }

    fn refs(&self) -> [Vec<&str>; 2] {
        [&self.0, &self.1].map(|names| names.iter().map(String::as_str).collect())
    }

    fn part(&self, sim: &mut Sim) {
        let [some, others] = self.refs();
        sim.partition(&some, &others);
    }

    fn cut(&self, sim: &mut Sim) {
        let [some, others] = self.refs();
        sim.cut(&some, &others);
    }

    fn join(&self, sim: &mut Sim) {
        let [some, others] = self.refs();
        sim.join(&some, &others).join(&others, &some);
    }
}

/// Something that goes wrong, and what follows from it.
struct Trouble {
    random: Random,
    /// When all trouble ends.
    end: Duration,
    /// From when on a node may be paused again.
    rested: Rc<RefCell<BTreeMap<String, Duration>>>,
}

impl Trouble {
    /// One thing goes wrong.
    fn strike(mut self, sim: &mut Sim) {
        let names = sim.names();
        let victim = names[self.random.index(names.len())].clone();
        let sides = Sides::draw(names, &mut self.random);
        match self.random.between(0, 11) {
            0 | 1 => {
                sim.mark("nodes were cut apart");
                sides.part(sim);
                self.mend_later(sim, sides);
            }
            2 => {
                sim.mark("cut in one direction");
                sides.cut(sim);
                self.mend_later(sim, sides);
            }
            3 => {
                let times = self.random.between(2, 20);
                self.flap(sim, sides, times);
            }
            4 => {
                sim.mark("node was killed");
                sim.kill(&victim);
                self.restart_later(sim, victim);
            }
            5 => self.cut_power(sim, victim),
            6 => {
                sim.mark("power was cut in several places");
                for victim in sides.0 {
                    self.fork().cut_power(sim, victim);
                }
            }
            7 => self.pause(sim, victim),
            8 => {
                for victim in sides.0 {
                    self.fork().pause(sim, victim);
                }
            }
            9 => {
                sim.mark("clock was set back");
                sim.step_clock(&victim, -(self.random.between(1, 100_000_000_000) as i64));
            }
            10 => {
                sim.mark("clock was set forward");
                sim.step_clock(&victim, self.random.between(1, 100_000_000_000) as i64);
            }
            // Other faults for a while.
            _ => {
                sim.swarm();
            }
        }
    }

    fn fork(&mut self) -> Self {
        Trouble { random: self.random.fork(), end: self.end, rested: Rc::clone(&self.rested) }
    }

    /// The trouble is over, or another one comes.
    fn comes_back(mut self, sim: &mut Sim) {
        if !self.random.happens(0.4) {
            return;
        }
        // Anywhere within a handshake, in fast networks and in slow ones.
        let most = [1_000, 10_000, 100_000, 1_000_000][self.random.index(4)];
        let soon = Duration::from_micros(self.random.between(0, most));
        if sim.now() + soon < self.end {
            sim.mark("trouble met a comeback");
            sim.after(soon, |sim| self.strike(sim));
        }
    }

    fn mend_later(mut self, sim: &mut Sim, sides: Sides) {
        let later = Duration::from_millis(self.random.between(1, 12_000));
        sim.after(later, move |sim| {
            sides.join(sim);
            self.comes_back(sim);
        });
    }

    /// Cuts and joins, again and again.
    fn flap(self, sim: &mut Sim, sides: Sides, times: u64) {
        if times == 0 || sim.now() >= self.end {
            return self.comes_back(sim);
        }
        sides.part(sim);
        sim.after(Duration::from_millis(150), move |sim| {
            sides.join(sim);
            sim.after(Duration::from_millis(150), move |sim| self.flap(sim, sides, times - 1));
        });
    }

    fn cut_power(self, sim: &mut Sim, victim: String) {
        sim.mark("power was cut");
        sim.cut_power(&victim);
        self.restart_later(sim, victim);
    }

    fn restart_later(mut self, sim: &mut Sim, victim: String) {
        let at_once = self.random.happens(0.3);
        let most = if at_once { 50 } else { 3000 };
        let later = Duration::from_millis(self.random.between(1, most));
        sim.after(later, move |sim| {
            if at_once {
                sim.mark("node came back at once");
            }
            sim.restart(&victim);
            self.comes_back(sim);
        });
    }

    fn pause(mut self, sim: &mut Sim, victim: String) {
        let most = LONGEST_PAUSE.as_millis() as u64;
        let time = Duration::from_millis(self.random.between(1, most));
        let rested = self.rested.borrow().get(&victim).copied().unwrap_or_default();
        if sim.now() < rested {
            return;
        }
        self.rested.borrow_mut().insert(victim.clone(), sim.now() + time + AWAKE);
        sim.mark("node was paused");
        if time > HANDSHAKE {
            sim.mark("node was paused for longer than a handshake takes");
        }
        sim.pause(&victim, time).after(time, |sim| self.comes_back(sim));
    }
}
