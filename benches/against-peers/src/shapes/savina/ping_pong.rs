//! Two actors, one message between them, to and fro.

use crate::{
    finish::Finish,
    meter::Meter,
    rules::PING_PONGS,
    shapes::{Behaviour, Flow, Framework},
};

pub(super) async fn run<F: Framework>(peer: F, meter: &mut Meter) {
    let finish = Finish::default();
    let pinger = Pinger::<F> { ponger: None, sent: 0, finish: finish.clone() };
    let pinger = peer.spawn(pinger).await;
    let ponger = peer.spawn(Ponger { pinger: pinger.clone() }).await;
    F::tell(&pinger, ToPinger::Ponger(ponger)).await;
    meter
        .time(PING_PONGS, PING_PONGS, async || {
            F::tell(&pinger, ToPinger::Go).await;
            finish.wait().await
        })
        .await;
}

enum ToPinger<F: Framework> {
    Ponger(F::Ref<Ponger<F>>),
    Go,
    Pong,
}

struct Pinger<F: Framework> {
    ponger: Option<F::Ref<Ponger<F>>>,
    sent: u64,
    finish: Finish,
}

impl<F: Framework> Pinger<F> {
    async fn ping(&mut self) {
        self.sent += 1;
        F::tell(self.ponger.as_ref().expect("it comes first"), Ping).await;
    }
}

impl<F: Framework> Behaviour<F> for Pinger<F> {
    type Message = ToPinger<F>;

    async fn handle(&mut self, message: ToPinger<F>) -> Flow {
        match message {
            ToPinger::Ponger(ponger) => self.ponger = Some(ponger),
            ToPinger::Pong if self.sent == PING_PONGS => {
                self.finish.with(std::mem::take(&mut self.sent));
            }
            ToPinger::Go | ToPinger::Pong => self.ping().await,
        }
        Flow::On
    }
}

struct Ping;

struct Ponger<F: Framework> {
    pinger: F::Ref<Pinger<F>>,
}

impl<F: Framework> Behaviour<F> for Ponger<F> {
    type Message = Ping;

    async fn handle(&mut self, _: Ping) -> Flow {
        F::tell(&self.pinger, ToPinger::Pong).await;
        Flow::On
    }
}
