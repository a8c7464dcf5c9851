//! P6: one `Down` for each watch, behind everything else; and what P4 and P5 say of it.
#![allow(missing_docs, reason = "tests are named after what they show")]

use std::collections::BTreeMap;

use annulus::{Access, Down, StopMode, Watch, WorkerStats, prelude::*};
use annulus_sim::{Checks, Random, Sim, WatchChecks, sim_test};

/// Something on a line.
#[message]
struct Speech {
    line: u64,
    number: u64,
    filling: Vec<u8>,
}

/// Say so much on a line; and then meet this end.
#[message]
struct Speak {
    to: ActorRef<Ears>,
    line: u64,
    count: u64,
    end: u8,
}

type Mouth = (Speak,);

/// Watch the speaker of a line. It may be something that is said on the line itself.
#[message]
struct Guard {
    speaker: ActorRef<Mouth>,
    line: u64,
    number: u64,
}

/// Call off one of the watches.
#[message]
struct CallOff {
    which: u64,
}

type Ears = (Speech, Guard, CallOff, Down);

/// Says what it is told to say, and ends as it is told to end.
struct Speaker {
    book: WatchChecks,
    id: u64,
    said: BTreeMap<u64, u64>,
    /// What it does by itself.
    errand: Option<Errand>,
}

#[derive(Clone)]
struct Errand {
    book: WatchChecks,
    checks: Checks,
    random: Random,
}

impl Speaker {
    fn new(book: &WatchChecks, id: u64) -> Self {
        Speaker { book: book.clone(), id, said: BTreeMap::new(), errand: None }
    }

    fn talking(errand: Errand) -> Self {
        let mut speaker = Speaker::new(&errand.book, errand.checks.unique());
        speaker.errand = Some(errand);
        speaker
    }
}

impl Actor for Speaker {
    type Protocol = Mouth;

    async fn started(&mut self, context: &mut Context<Self>) {
        if let Some(errand) = self.errand.take() {
            let id = self.id;
            context.task(|speaker| async move {
                // It ends when there is nobody to talk to.
                let _ = talk(speaker, id, errand).await;
            });
        }
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.book.ended(self.id);
    }
}

impl Handler<Speak> for Speaker {
    async fn handle(&mut self, speak: Msg<Speak>, context: &mut Context<Self>) {
        let Speak { to, line, count, end } = speak.decode();
        let number = self.said.entry(line).or_default();
        for _ in 0..count {
            let filling = vec![1; if *number % 7 == 3 { 100_000 } else { 10 }];
            if to.tell(Speech { line, number: *number + 1, filling }).is_err() {
                break;
            }
            *number += 1;
            self.book.said(line, *number);
        }
        match end {
            1 => context.stop(),
            2 => context.drain(),
            3 => {
                context.me().stop(StopMode::Kill).unwrap();
                context.sleep(Duration::from_secs(3600)).await;
            }
            4 => panic!("as it was told to"),
            _ => {}
        }
    }
}

/// Notes what it hears, and watches.
struct Listener {
    book: WatchChecks,
    id: u64,
    open: Vec<Watch>,
}

impl Listener {
    fn new(book: &WatchChecks, id: u64) -> Self {
        Listener { book: book.clone(), id, open: Vec::new() }
    }
}

impl Actor for Listener {
    type Protocol = Ears;
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.book.left(self.id);
    }
}

impl Handler<Speech> for Listener {
    async fn handle(&mut self, speech: Msg<Speech>, context: &mut Context<Self>) {
        self.book.heard(self.id, speech.line.to_native(), speech.number.to_native());
        // Now and then things gather in the mailbox.
        if speech.number % 16 == 0 {
            context.sleep(Duration::from_micros(300)).await;
        }
    }
}

impl Handler<Guard> for Listener {
    async fn handle(&mut self, guard: Msg<Guard>, context: &mut Context<Self>) {
        let Guard { speaker, line, number } = guard.decode();
        if number > 0 {
            self.book.heard(self.id, line, number);
        }
        let watch = context.watch(speaker).unwrap();
        self.book.watched(self.id, watch, line);
        self.open.push(watch);
    }
}

impl Handler<CallOff> for Listener {
    async fn handle(&mut self, off: Msg<CallOff>, context: &mut Context<Self>) {
        if !self.open.is_empty() {
            let which = off.which.to_native() as usize % self.open.len();
            let watch = self.open.swap_remove(which);
            self.book.unwatched(self.id, watch, context.unwatch(watch));
        }
    }
}

impl Handler<Down> for Listener {
    async fn handle(&mut self, down: Msg<Down>, context: &mut Context<Self>) {
        self.book.down(self.id, &down);
        self.open.retain(|watch| *watch != down.watch);
        self.book.unwatched(self.id, down.watch, context.unwatch(down.watch));
    }
}

/// One number of the statistics, over all workers that run.
fn all(sim: &Sim, number: impl Fn(&WorkerStats) -> usize) -> usize {
    let up = sim.names().into_iter().filter(|node| sim.is_up(node));
    up.flat_map(|node| sim.stats(&node)).map(|stats| number(&stats)).sum()
}

/// Nothing is open at either end that the book does not know of.
fn nothing_is_left(sim: &Sim, book: &WatchChecks) {
    let ends = (all(sim, |stats| stats.watches), all(sim, |stats| stats.watchers));
    assert_eq!(ends, (book.open(), book.open()));
}

/// Places on two nodes of two workers each.
const PLACES: [(&str, usize); 4] = [("n0", 0), ("n0", 1), ("n1", 0), ("n1", 1)];

/// Sends, deaths, watches and second thoughts, from and to everywhere, in any order.
#[sim_test(seeds = 150)]
fn p06_one_down_behind_everything_however_sends_deaths_and_watches_interleave(sim: &mut Sim) {
    let checks = Checks::default();
    let book = WatchChecks::new(checks.clone());
    for node in ["n0", "n1"] {
        sim.node(node, 2, |node| node, async |_| ());
    }
    sim.run_for(Duration::from_secs(2));
    let mut speakers = Vec::new();
    let mut listeners = Vec::new();
    for (node, worker) in PLACES {
        let handle = sim.handle(node).unwrap();
        for _ in 0..3 {
            let (id, book) = (checks.unique(), book.clone());
            let speaker = sim.drive(handle.spawn_with(worker, move || Speaker::new(&book, id)));
            speakers.push((id, speaker.unwrap()));
        }
        let (id, book) = (checks.unique(), book.clone());
        let listener = sim.drive(handle.spawn_with(worker, move || Listener::new(&book, id)));
        listeners.push(listener.unwrap());
    }
    let mut lines = BTreeMap::new();
    for (id, _) in &speakers {
        for to in &listeners {
            let line = checks.unique();
            book.begins(line, *id);
            lines.insert((*id, *to), line);
        }
    }
    for (node, worker) in PLACES {
        let mut random = sim.random().fork();
        let (speakers, listeners, lines) = (speakers.clone(), listeners.clone(), lines.clone());
        sim.start_on(node, worker, async move || {
            for _ in 0..60 {
                let (id, speaker) = speakers[random.index(speakers.len())];
                let to = listeners[random.index(listeners.len())];
                let line = lines[&(id, to)];
                let _ = match random.between(0, 9) {
                    0..=4 => {
                        let count = random.between(1, 20);
                        let end = if random.happens(0.1) { random.between(1, 4) as u8 } else { 0 };
                        speaker.tell(Speak { to, line, count, end }).is_ok()
                    }
                    5..=7 => to.tell(Guard { speaker, line, number: 0 }).is_ok(),
                    _ => to.tell(CallOff { which: random.between(0, 9) }).is_ok(),
                };
                if random.happens(0.5) {
                    sleep(Duration::from_micros(random.between(1, 2000))).await;
                }
            }
        });
    }
    sim.run_for(Duration::from_secs(5));
    book.insist(&book.owed());
    assert!(checks.sums().violations.is_empty(), "{:#?}", checks.sums().violations);
    nothing_is_left(sim, &book);
    for listener in listeners {
        for (node, mode) in [("n0", StopMode::Stop), ("n1", StopMode::Kill)] {
            // One of the two is its own.
            let _ = sim.run_on(node, async move || listener.stop(mode));
        }
    }
    sim.run_for(Duration::from_secs(1));
    assert_eq!(book.open(), 0);
    nothing_is_left(sim, &book);
}

fn ear(worker: usize) -> Name<Ears> {
    Name::from_string(format!("ear-{worker}"))
}

/// Talks to a listener of another node, and looks it up again whenever that is lost; and ends at some time,
/// with its last words.
async fn talk(speaker: Access<Speaker>, id: u64, errand: Errand) -> Result<(), Error> {
    let Errand { book, checks, mut random } = errand;
    let ear = ear(random.index(3));
    let dies = if id.is_multiple_of(2) { 0.01 } else { 0.0 };
    loop {
        let to = ear.find_on("n0", Duration::from_secs(60)).await?;
        let line = checks.unique();
        book.begins(line, id);
        if to.tell(Guard { speaker: speaker.me(), line, number: 1 }).is_err() {
            continue;
        }
        book.said(line, 1);
        for number in 2.. {
            let filling = vec![1; if random.happens(0.05) { 100_000 } else { 10 }];
            if to.send(Speech { line, number, filling }).await.is_err() {
                break;
            }
            book.said(line, number);
            if random.happens(dies) {
                speaker.with(|_, context| context.stop()).await?;
            } else if random.happens(dies) {
                speaker.me().stop(StopMode::Kill)?;
            } else if random.happens(0.6) {
                sleep(Duration::from_micros(random.between(10, 100_000))).await;
            }
        }
    }
}

/// Nodes are cut off, killed and started again while their actors talk to those of `n0`, who watch them.
#[sim_test(seeds = 40)]
fn p06_one_down_behind_everything_and_no_silent_gap_under_crashes_and_partitions(sim: &mut Sim) {
    let checks = Checks::default();
    let book = WatchChecks::new(checks.clone());
    let errand = Errand { book: book.clone(), checks: checks.clone(), random: sim.random().fork() };
    let heard = errand.clone();
    sim.node(
        "n0",
        3,
        |node| node,
        async move |node| {
            for worker in 0..3 {
                let Errand { book, checks, .. } = heard.clone();
                let listener =
                    node.spawn_with(worker, move || Listener::new(&book, checks.unique()));
                ear(worker).register(listener.await.unwrap()).await.unwrap();
            }
        },
    );
    for (node, workers) in [("n1", 2), ("n2", 1)] {
        let mut errand = Errand { random: sim.random().fork(), ..errand.clone() };
        sim.node(
            node,
            workers,
            |node| node,
            async move |node| {
                for worker in (0..workers).cycle().take(6) {
                    let errand = Errand { random: errand.random.fork(), ..errand.clone() };
                    // A node that is killed while it starts spawns no more.
                    let _ = node.spawn_with(worker, move || Speaker::talking(errand)).await;
                }
            },
        );
    }
    let mut random = sim.random().fork();
    for _ in 0..8 {
        sim.swarm().run_for(Duration::from_millis(random.between(1, 3000)));
        let node = ["n1", "n2"][random.index(2)];
        match random.between(0, 3) {
            0 => sim.kill(node),
            1 => sim.cut_power(node),
            2 => sim.partition(&["n0"], &[node]),
            _ => sim.cut(&["n0"], &[node]),
        };
        sim.run_for(Duration::from_millis(random.between(1, 8000)));
        sim.restart(node).heal();
    }
    sim.heal().run_for(Duration::from_secs(10));
    let owed = book.owed();
    sim.run_for(Duration::from_secs(10));
    book.insist(&owed);
    assert!(checks.sums().violations.is_empty(), "{:#?}", checks.sums().violations);
    // First some of those who are watched go, then all who watch.
    sim.kill("n1").run_for(Duration::from_secs(10));
    sim.kill("n0").run_for(Duration::from_secs(10));
    assert_eq!(book.open(), 0);
    nothing_is_left(sim, &book);
    assert!(book.marks().iter().any(|(_, count)| count > 0), "nobody has been told anything");
}
