//! Creatures ask a mall for somebody to meet, and change their colors when they do.

use std::sync::Arc;

use crate::{
    finish::Finish,
    meter::Meter,
    rules::chameneos::{COUNTED, CREATURES, Color, MEETINGS, Mall, Meeting, color_of, complement},
    shapes::{Behaviour, Flow, Framework},
};

pub(super) async fn run<F: Framework>(peer: F, meter: &mut Meter) {
    let finish = Finish::default();
    let mall =
        MallActor::<F> { creatures: Arc::new([]), mall: Mall::default(), finish: finish.clone() };
    let mall = peer.spawn(mall).await;
    let mut creatures = Vec::new();
    for number in 0..CREATURES {
        let creature = Creature::<F> {
            number,
            color: color_of(number),
            met: 0,
            mall: mall.clone(),
            creatures: Arc::new([]),
        };
        creatures.push(peer.spawn(creature).await);
    }
    let creatures: Arc<[_]> = creatures.into();
    F::tell(&mall, ToMall::Creatures(creatures.clone())).await;
    for creature in &*creatures {
        F::tell(creature, ToCreature::Creatures(creatures.clone())).await;
    }
    meter
        .time(MEETINGS, COUNTED, async || {
            F::tell(&mall, ToMall::Go).await;
            finish.wait().await
        })
        .await;
}

enum ToMall<F: Framework> {
    Creatures(Arc<[F::Ref<Creature<F>>]>),
    Go,
    Meet { creature: usize, color: Color },
    Left { met: u64 },
}

struct MallActor<F: Framework> {
    creatures: Arc<[F::Ref<Creature<F>>]>,
    mall: Mall,
    finish: Finish,
}

impl<F: Framework> Behaviour<F> for MallActor<F> {
    type Message = ToMall<F>;

    async fn handle(&mut self, message: ToMall<F>) -> Flow {
        match message {
            ToMall::Creatures(creatures) => self.creatures = creatures,
            ToMall::Go => {
                self.mall.open();
                for creature in &*self.creatures {
                    F::tell(creature, ToCreature::Go).await;
                }
            }
            ToMall::Meet { creature, color } => match self.mall.enter(creature) {
                Meeting::Wait => {}
                Meeting::With(other) => {
                    F::tell(&self.creatures[other], ToCreature::Meet { creature, color }).await;
                }
                Meeting::Over => F::tell(&self.creatures[creature], ToCreature::Over).await,
            },
            ToMall::Left { met } => {
                if let Some(counted) = self.mall.leave(met) {
                    self.finish.with(counted);
                }
            }
        }
        Flow::On
    }
}

enum ToCreature<F: Framework> {
    Creatures(Arc<[F::Ref<Creature<F>>]>),
    Go,
    Meet { creature: usize, color: Color },
    Change(Color),
    Over,
}

struct Creature<F: Framework> {
    number: usize,
    color: Color,
    met: u64,
    mall: F::Ref<MallActor<F>>,
    creatures: Arc<[F::Ref<Creature<F>>]>,
}

impl<F: Framework> Creature<F> {
    async fn go_to_mall(&self) {
        let meet = ToMall::Meet { creature: self.number, color: self.color };
        F::tell(&self.mall, meet).await;
    }
}

impl<F: Framework> Behaviour<F> for Creature<F> {
    type Message = ToCreature<F>;

    async fn handle(&mut self, message: ToCreature<F>) -> Flow {
        match message {
            ToCreature::Creatures(creatures) => self.creatures = creatures,
            ToCreature::Go => self.go_to_mall().await,
            ToCreature::Meet { creature, color } => {
                self.met += 1;
                self.color = complement(self.color, color);
                F::tell(&self.creatures[creature], ToCreature::Change(self.color)).await;
                self.go_to_mall().await;
            }
            ToCreature::Change(color) => {
                self.met += 1;
                self.color = color;
                self.go_to_mall().await;
            }
            ToCreature::Over => {
                F::tell(&self.mall, ToMall::Left { met: std::mem::take(&mut self.met) }).await;
            }
        }
        Flow::On
    }
}
