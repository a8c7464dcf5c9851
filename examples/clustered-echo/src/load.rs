//! The traffic that a node makes: each worker keeps some asks to each target in flight.

use std::{cell::RefCell, rc::Rc, time::Duration};

use annulus::{ActorRef, AskError, Node, prelude::*, transport::driver::Mono};
use hdrhistogram::Histogram;

use crate::{
    Failure,
    args::{Traffic, Transport},
    messages::{
        Echo, EchoProtocol, LARGEST, LARGEST_DATAGRAM, Recipe, Sizes, asker_number, echo_name,
    },
    report::{Asked, PairReport, new_histogram},
};

/// How long an ask may take: longer than anything but a node that is gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an ask by datagram is waited for: what takes longer is lost.
const DATAGRAM_PATIENCE: Duration = Duration::from_secs(1);

/// How long an echo actor is looked for before the time is looked at again.
const FIND_PATIENCE: Duration = Duration::from_millis(500);

/// What one worker has measured towards one node.
struct Tally {
    report: PairReport,
    times: Histogram<u64>,
}

/// How far a worker is.
#[message(local, reply = Progress)]
pub(crate) struct GetProgress;

/// What each of its targets has answered.
#[message(local)]
pub(crate) struct Progress(pub(crate) Vec<PairReport>);

/// Start asking.
#[message(local)]
pub(crate) struct Go {
    seconds: f64,
}

/// Ask no more, from now on.
#[message(local)]
pub(crate) struct Enough;

/// Tell when every ask has ended.
#[message(local, reply = Done)]
pub(crate) struct Finish;

/// Every ask has ended; these were made.
#[message(local)]
pub(crate) struct Done {
    pub(crate) pairs: Vec<PairReport>,
    pub(crate) asked: Vec<Asked>,
}

type DriverProtocol = (GetProgress, Go, Enough, Finish);

/// Asks other nodes' echo actors from one worker.
struct Driver {
    node: String,
    worker: usize,
    targets: Vec<String>,
    in_flight: u32,
    transport: Transport,
    sizes: Sizes,
    shared: Rc<Shared>,
    asked: Vec<Rc<RefCell<Asked>>>,
}

#[derive(Default)]
struct Shared {
    tallies: RefCell<Vec<Rc<RefCell<Tally>>>>,
    end: std::cell::Cell<Option<Mono>>,
    running: std::cell::Cell<usize>,
    finished: RefCell<Option<annulus::Responder<Done>>>,
}

impl Actor for Driver {
    type Protocol = DriverProtocol;
}

impl Handler<Go> for Driver {
    async fn handle(&mut self, go: Msg<Go>, context: &mut Context<Self>) {
        let end = annulus::now().after(Duration::from_secs_f64(go.seconds));
        self.shared.end.set(Some(end));
        for target in self.targets.clone() {
            let tally = Rc::new(RefCell::new(Tally {
                report: PairReport {
                    from: self.node.clone(),
                    to: target.clone(),
                    ..PairReport::default()
                },
                times: new_histogram(),
            }));
            self.shared.tallies.borrow_mut().push(tally.clone());
            let asker = asker_number(&format!("{}->{target}", self.node), self.worker);
            let asked = Asked { to: target.clone(), asker, count: 0 };
            let asked = Rc::new(RefCell::new(asked));
            self.asked.push(asked.clone());
            let lane = Rc::new(AskLane {
                target,
                worker: self.worker,
                transport: self.transport,
                sizes: self.sizes,
                asked,
                tally,
                echo: RefCell::new(None),
            });
            for _ in 0..self.in_flight {
                let (lane, shared) = (lane.clone(), self.shared.clone());
                shared.running.set(shared.running.get() + 1);
                context.task(|driver| async move {
                    lane.ask_until_the_end(&shared).await;
                    shared.running.set(shared.running.get() - 1);
                    if shared.running.get() == 0 {
                        // The actor owns this task, so it is there.
                        let _ = driver.with(|driver, _| driver.finish()).await;
                    }
                });
            }
        }
    }
}

impl Handler<Enough> for Driver {
    async fn handle(&mut self, _: Msg<Enough>, _: &mut Context<Self>) {
        self.shared.end.set(Some(Mono(0)));
    }
}

impl Handler<GetProgress> for Driver {
    async fn handle(&mut self, _: Msg<GetProgress>, _: &mut Context<Self>) -> Progress {
        Progress(self.reports())
    }
}

impl Respond<Finish> for Driver {
    async fn respond(&mut self, finish: Msg<Finish>, context: &mut Context<Self>) -> Reply<Done> {
        let (later, responder) = context.defer(&finish);
        self.shared.finished.replace(Some(responder));
        if self.shared.running.get() == 0 {
            self.finish();
        }
        later.into()
    }
}

impl Driver {
    fn reports(&self) -> Vec<PairReport> {
        let tallies = self.shared.tallies.borrow();
        tallies.iter().map(|tally| tally.borrow().to_report()).collect()
    }

    fn finish(&mut self) {
        if let Some(responder) = self.shared.finished.take() {
            let asked = self.asked.iter().map(|asked| asked.borrow().clone()).collect();
            responder.reply(Done { pairs: self.reports(), asked });
        }
    }
}

impl Tally {
    fn to_report(&self) -> PairReport {
        let times = self.times.iter_recorded();
        let times = times.map(|step| (step.value_iterated_to(), step.count_at_value())).collect();
        PairReport { times, ..self.report.clone() }
    }
}

/// The asks from one worker to one node.
struct AskLane {
    target: String,
    worker: usize,
    transport: Transport,
    sizes: Sizes,
    asked: Rc<RefCell<Asked>>,
    tally: Rc<RefCell<Tally>>,
    /// The echo actor, as it was found last.
    echo: RefCell<Option<ActorRef<EchoProtocol>>>,
}

impl AskLane {
    async fn ask_until_the_end(&self, shared: &Shared) {
        while shared.end.get().is_some_and(|end| annulus::now() < end) {
            let known = *self.echo.borrow();
            let echo = match known {
                Some(echo) => echo,
                None => match self.find().await {
                    Some(echo) => echo,
                    None => continue,
                },
            };
            self.ask_once(echo).await;
        }
    }

    /// The echo actor of the worker with the same number, if it can be found now.
    async fn find(&self) -> Option<ActorRef<EchoProtocol>> {
        let echo = echo_name(self.worker).find_on(&self.target, FIND_PATIENCE).await.ok()?;
        self.echo.replace(Some(echo));
        Some(echo)
    }

    async fn ask_once(&self, echo: ActorRef<EchoProtocol>) {
        let (asker, sequence) = {
            let mut asked = self.asked.borrow_mut();
            asked.count += 1;
            (asked.asker, asked.count - 1)
        };
        let recipe = Recipe::new(asker, sequence, self.sizes);
        let message = Echo { asker, sequence, body: recipe.body() };
        let start = annulus::now();
        let reply = match self.transport {
            Transport::Udp => echo.by_datagram().ask(message).within(DATAGRAM_PATIENCE).await,
            Transport::Tcp | Transport::Unix => echo.ask(message).within(PATIENCE).await,
        };
        match reply {
            Ok(reply) => {
                let right = reply.asker == asker
                    && reply.sequence == sequence
                    && recipe.matches(&reply.body);
                let micros = annulus::now().since(start).as_micros() as u64;
                let mut tally = self.tally.borrow_mut();
                if right {
                    tally.report.verified += 1;
                    tally.report.bytes += recipe.len() as u64;
                } else {
                    tally.report.mismatches += 1;
                }
                tally.times.saturating_record(micros.max(1));
            }
            Err(error) => {
                self.count_loss(&error);
                if error != AskError::Timeout {
                    // The node may come back as another incarnation.
                    self.echo.replace(None);
                    sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    fn count_loss(&self, error: &dyn std::fmt::Display) {
        let report = &mut self.tally.borrow_mut().report;
        report.lost += 1;
        report.first_loss.get_or_insert_with(|| error.to_string());
    }
}

/// The traffic of a whole node.
pub(crate) struct Load {
    drivers: Vec<ActorRef<DriverProtocol>>,
}

impl Load {
    /// Prepares the traffic from every worker of `node` to every target.
    pub(crate) fn new(
        node: &Node,
        targets: &[String],
        traffic: &Traffic,
        transport: Transport,
    ) -> Result<Self, Failure> {
        let max = if transport == Transport::Udp { LARGEST_DATAGRAM } else { LARGEST };
        if transport == Transport::Udp && traffic.size.is_some_and(|size| size as usize > max) {
            return Err(format!("--size: a datagram carries {max} bytes at most").into());
        }
        let mut drivers = Vec::new();
        for worker in 0..node.workers() {
            let (name, targets) = (node.name().to_owned(), targets.to_vec());
            let (in_flight, fixed) = (traffic.in_flight, traffic.size);
            drivers.push(node.spawn_with(worker, move || Driver {
                node: name,
                worker,
                targets,
                in_flight,
                transport,
                sizes: Sizes { fixed, max },
                shared: Rc::default(),
                asked: Vec::new(),
            })?);
        }
        Ok(Load { drivers })
    }

    pub(crate) fn go(&self, node: &Node, seconds: f64) -> Result<(), Failure> {
        let drivers = self.drivers.clone();
        node.run(async move || {
            for driver in drivers {
                driver.tell(Go { seconds }).map_err(|error| error.to_string())?;
            }
            Ok::<(), String>(())
        })??;
        Ok(())
    }

    /// Ends the traffic early.
    pub(crate) fn enough(&self, node: &Node) -> Result<(), Failure> {
        let drivers = self.drivers.clone();
        node.run(async move || {
            for driver in drivers {
                driver.tell(Enough).map_err(|error| error.to_string())?;
            }
            Ok::<(), String>(())
        })??;
        Ok(())
    }

    /// How far it is, a row for each target.
    pub(crate) fn progress(&self, node: &Node) -> Result<Vec<PairReport>, Failure> {
        let drivers = self.drivers.clone();
        let reports = node.run(async move || {
            let mut reports = Vec::new();
            for driver in drivers {
                let progress = driver.ask(GetProgress).await.map_err(|error| error.to_string())?;
                reports.push(progress.into_inner().0);
            }
            Ok::<_, String>(reports)
        })??;
        Ok(merge(reports))
    }

    /// Waits until every ask has ended.
    pub(crate) fn finish(&self, node: &Node) -> Result<(Vec<PairReport>, Vec<Asked>), Failure> {
        let drivers = self.drivers.clone();
        let done = node.run(async move || {
            let mut done = Vec::new();
            for driver in drivers {
                let ask = driver.ask(Finish).within(Duration::from_secs(90_000));
                done.push(ask.await.map_err(|error| error.to_string())?.into_inner());
            }
            Ok::<_, String>(done)
        })??;
        let (pairs, asked): (Vec<_>, Vec<_>) =
            done.into_iter().map(|done| (done.pairs, done.asked)).unzip();
        Ok((merge(pairs), asked.concat()))
    }
}

/// Adds up what the workers of a node have measured.
fn merge(reports: Vec<Vec<PairReport>>) -> Vec<PairReport> {
    let mut merged: Vec<PairReport> = Vec::new();
    for report in reports.into_iter().flatten() {
        match merged.iter_mut().find(|known| known.to == report.to) {
            None => merged.push(report),
            Some(known) => {
                known.verified += report.verified;
                known.bytes += report.bytes;
                known.mismatches += report.mismatches;
                known.lost += report.lost;
                known.first_loss = known.first_loss.take().or(report.first_loss);
                known.times.extend(report.times);
            }
        }
    }
    merged
}
