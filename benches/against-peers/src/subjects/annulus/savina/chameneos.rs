//! Creatures ask a mall for somebody to meet, and change their colors when they do.

use annulus::prelude::*;

use crate::{
    finish::Finish,
    meter::Meter,
    rules::chameneos::{COUNTED, CREATURES, Color, MEETINGS, Mall, Meeting, color_of, complement},
    subjects::annulus::{spawn, time},
};

pub(super) fn run(node: &Node, meter: Meter) -> Meter {
    let finish = Finish::default();
    let mall = MallActor { creatures: Vec::new(), mall: Mall::default(), finish: finish.clone() };
    let mall = spawn(node, mall);
    time(node, meter, MEETINGS, COUNTED, async move || {
        mall.tell(Go).expect("there is room");
        finish.wait().await
    })
}

type MallProtocol = (Meet, Left, Go);
type CreatureProtocol = (Meet, Change, Over, Go, All);

/// Start a lap.
#[message]
struct Go;

/// Who there is.
#[message]
struct All {
    creatures: Vec<ActorRef<CreatureProtocol>>,
}

/// To the mall: this creature wants to meet another one. To that one: it has met this creature.
#[message]
struct Meet {
    creature: u32,
    color: Color,
}

/// The other creature of a meeting takes this color.
#[message]
struct Change {
    color: Color,
}

/// There are no more meetings.
#[message]
struct Over;

/// A creature leaves the mall.
#[message]
struct Left {
    met: u64,
}

struct MallActor {
    creatures: Vec<ActorRef<CreatureProtocol>>,
    mall: Mall,
    finish: Finish,
}

impl Actor for MallActor {
    type Protocol = MallProtocol;

    async fn started(&mut self, context: &mut Context<Self>) {
        let mall = context.me();
        for number in 0..CREATURES {
            let creature = Creature {
                number: number as u32,
                color: color_of(number),
                met: 0,
                mall,
                creatures: Vec::new(),
            };
            self.creatures.push(context.spawn(creature).expect("there is room"));
        }
        for creature in &self.creatures {
            let all = All { creatures: self.creatures.clone() };
            creature.tell(all).expect("there is room");
        }
    }
}

impl Handler<Go> for MallActor {
    async fn handle(&mut self, _: Msg<Go>, _: &mut Context<Self>) {
        self.mall.open();
        self.creatures.iter().for_each(|creature| creature.tell(Go).expect("there is room"));
    }
}

impl Handler<Meet> for MallActor {
    async fn handle(&mut self, meet: Msg<Meet>, _: &mut Context<Self>) {
        let creature = meet.creature.to_native() as usize;
        let told = match self.mall.enter(creature) {
            Meeting::Wait => Ok(()),
            // The message goes on as it is, as in Savina.
            Meeting::With(other) => self.creatures[other].forward(meet),
            Meeting::Over => self.creatures[creature].tell(Over).map_err(|back| back.reason),
        };
        told.expect("there is room");
    }
}

impl Handler<Left> for MallActor {
    async fn handle(&mut self, left: Msg<Left>, _: &mut Context<Self>) {
        if let Some(counted) = self.mall.leave(left.met.to_native()) {
            self.finish.with(counted);
        }
    }
}

struct Creature {
    number: u32,
    color: Color,
    met: u64,
    mall: ActorRef<MallProtocol>,
    creatures: Vec<ActorRef<CreatureProtocol>>,
}

impl Creature {
    fn go_to_mall(&self) {
        let meet = Meet { creature: self.number, color: self.color };
        self.mall.tell(meet).expect("there is room");
    }
}

impl Actor for Creature {
    type Protocol = CreatureProtocol;
}

impl Handler<All> for Creature {
    async fn handle(&mut self, all: Msg<All>, _: &mut Context<Self>) {
        self.creatures = all.decode().creatures;
    }
}

impl Handler<Go> for Creature {
    async fn handle(&mut self, _: Msg<Go>, _: &mut Context<Self>) {
        self.go_to_mall();
    }
}

impl Handler<Meet> for Creature {
    async fn handle(&mut self, meet: Msg<Meet>, _: &mut Context<Self>) {
        self.met += 1;
        self.color = complement(self.color, meet.color);
        let other = self.creatures[meet.creature.to_native() as usize];
        other.tell(Change { color: self.color }).expect("there is room");
        self.go_to_mall();
    }
}

impl Handler<Change> for Creature {
    async fn handle(&mut self, change: Msg<Change>, _: &mut Context<Self>) {
        self.met += 1;
        self.color = change.color;
        self.go_to_mall();
    }
}

impl Handler<Over> for Creature {
    async fn handle(&mut self, _: Msg<Over>, _: &mut Context<Self>) {
        self.mall.tell(Left { met: std::mem::take(&mut self.met) }).expect("there is room");
    }
}
