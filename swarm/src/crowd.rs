//! A crowd on each worker: [members](member::Member) who tell, ask and broadcast to each other, to themselves and
//! to those of other workers and nodes, as chance will have it, and whose last words come out of destructors
//! (P1, P3, P8, P13).

mod member;
mod voice;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use annulus::{TellError, prelude::*};
use annulus_sim::{Checks, Random, SendChecks};

use self::member::{Go, Member, Talk};
use crate::{business::Business, traffic::Shops};

/// Members of a worker that stay as long as their node.
const MEMBERS: usize = 4;

/// Members of other workers and nodes that those of a worker know at most.
const ACQUAINTED: usize = 8;

/// How long the host of a worker is looked for.
const PATIENCE: Duration = Duration::from_secs(2);

/// How much members do, all in all, when one of them is told to begin.
const FUEL: (u64, u64) = (1, 40);

/// Who is there?
#[message(reply = Present)]
pub(crate) struct Who;

/// These are.
#[message]
pub(crate) struct Present {
    members: Vec<(u64, ActorRef<Talk>)>,
}

/// The name of the host on a worker.
pub(crate) fn host(worker: usize) -> Name<(Who,)> {
    Name::from_string(format!("host-{worker}"))
}

/// What all crowds share.
#[derive(Clone)]
pub(crate) struct Occasion {
    checks: Checks,
    sent: SendChecks,
    business: Business,
    shops: Shops,
    /// Nothing is lost between nodes either.
    calm: bool,
    random: Random,
}

impl Occasion {
    pub(crate) fn new(
        business: &Business,
        checks: &Checks,
        sent: &SendChecks,
        shops: &Shops,
        calm: bool,
        seed: u64,
    ) -> Self {
        // A stream of its own: what others draw is not changed by this.
        let random = Random::new(seed ^ 0xc2b2_ae3d_27d4_eb4f);
        let (business, checks, shops) = (business.clone(), checks.clone(), shops.clone());
        Occasion { checks, sent: sent.clone(), business, shops, calm, random }
    }

    pub(crate) fn fork(&mut self) -> Self {
        Occasion { random: self.random.fork(), ..self.clone() }
    }
}

/// How far away a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Worker,
    Node,
    Cluster,
}

/// A member as others know it.
#[derive(Clone, Copy, Debug)]
struct Peer {
    id: u64,
    place: ActorRef<Talk>,
    reach: Reach,
    /// It ends before its node does.
    mortal: bool,
}

/// The members of a worker, and whom they know elsewhere.
struct Crowd {
    occasion: Occasion,
    members: RefCell<Vec<Peer>>,
    mortals: RefCell<Vec<Peer>>,
    /// Mortal members that have been told to end.
    ending: RefCell<BTreeSet<u64>>,
    far: RefCell<Vec<Peer>>,
    /// Who waits for what is asked in few bytes, by its asker and number.
    chains: RefCell<BTreeMap<(u64, u64), Vec<u64>>>,
    /// The asker that is being polled, and the number of its question.
    polled: Cell<Option<(u64, u64)>>,
}

impl Crowd {
    fn is_open(&self) -> bool {
        self.occasion.business.is_open()
    }

    /// Whether nothing can keep a message from arriving.
    fn is_sure(&self, peer: &Peer) -> bool {
        !peer.mortal && (peer.reach != Reach::Cluster || self.occasion.calm)
    }

    /// A message was not taken. On one worker only those refuse who end.
    fn refused(&self, peer: &Peer, reason: TellError) {
        let ends = peer.mortal && reason == TellError::Dead && self.forget(peer);
        if peer.reach == Reach::Worker && !ends && self.is_open() {
            let says = format!("{} refused a message: {reason}", peer.id);
            self.occasion.checks.violation("P13", says);
        }
        if peer.reach == Reach::Cluster {
            self.far.borrow_mut().retain(|far| far.id != peer.id);
        }
    }

    /// A mortal member is dead. Returns whether it had been told to end.
    fn forget(&self, peer: &Peer) -> bool {
        self.mortals.borrow_mut().retain(|mortal| mortal.id != peer.id);
        self.ending.borrow().contains(&peer.id)
    }
}

/// Keeps the crowd of a worker together.
pub(crate) struct Host {
    crowd: Rc<Crowd>,
    random: Random,
}

impl Host {
    pub(crate) fn new(mut occasion: Occasion) -> Self {
        let random = occasion.random.fork();
        let crowd = Crowd {
            occasion,
            members: RefCell::default(),
            mortals: RefCell::default(),
            ending: RefCell::default(),
            far: RefCell::default(),
            chains: RefCell::default(),
            polled: Cell::default(),
        };
        Host { crowd: Rc::new(crowd), random }
    }
}

impl Actor for Host {
    type Protocol = (Who,);

    async fn started(&mut self, context: &mut Context<Self>) {
        for _ in 0..MEMBERS {
            let member = Member::new(&self.crowd, self.random.fork(), None);
            let id = member.id();
            // A node that shuts down spawns no more.
            let Ok(place) = context.spawn(member) else { return };
            let peer = Peer { id, place, reach: Reach::Worker, mortal: false };
            self.crowd.members.borrow_mut().push(peer);
        }
        let begins = begin(self.crowd.clone(), self.random.fork());
        context.task(|_| begins);
        let (node, worker) = (context.node_name().to_owned(), context.worker());
        let meets = meet(self.crowd.clone(), self.random.fork(), node, worker);
        context.task(|_| meets);
    }
}

impl Handler<Who> for Host {
    async fn handle(&mut self, _: Msg<Who>, _: &mut Context<Self>) -> Present {
        let members = self.crowd.members.borrow();
        Present { members: members.iter().map(|member| (member.id, member.place)).collect() }
    }
}

/// Tells members to begin, again and again.
async fn begin(crowd: Rc<Crowd>, mut random: Random) {
    while crowd.is_open() {
        sleep(Duration::from_millis(random.between(1, 1000))).await;
        for _ in 0..random.between(1, 3) {
            let member = pick(&crowd.members.borrow(), &mut random);
            if let Some(Peer { place, .. }) = member {
                let _ = place.tell(Go { fuel: random.between(FUEL.0, FUEL.1) });
            }
        }
    }
}

/// Makes the acquaintance of crowds elsewhere, again and again.
async fn meet(crowd: Rc<Crowd>, mut random: Random, own_node: String, own_worker: usize) {
    while crowd.is_open() {
        sleep(Duration::from_millis(random.between(1, 2000))).await;
        let shops = &crowd.occasion.shops;
        let (node, workers) = &shops[random.index(shops.len())];
        let worker = random.index(*workers);
        let reach = if *node == own_node { Reach::Node } else { Reach::Cluster };
        if reach == Reach::Node && worker == own_worker {
            continue;
        }
        let Ok(found) = host(worker).find_on(node, PATIENCE).await else { continue };
        let Ok(present) = found.ask(Who).within(PATIENCE).await else { continue };
        for (id, place) in present.decode().members {
            let mut far = crowd.far.borrow_mut();
            far.retain(|known| known.id != id);
            if far.len() == ACQUAINTED {
                far.swap_remove(random.index(ACQUAINTED));
            }
            far.push(Peer { id, place, reach, mortal: false });
        }
    }
}

/// One of these, if there are any.
fn pick(peers: &[Peer], random: &mut Random) -> Option<Peer> {
    if peers.is_empty() { None } else { Some(peers[random.index(peers.len())]) }
}
