//! Watchers, and those whom they watch (P4, P5, P6): speakers look a watcher up somewhere, tell it numbered
//! things, and leave or end; the watcher watches each of them as long as it talks.

use annulus::{Access, Down, SpawnError, StopMode, Watch, prelude::*, spawn};
use annulus_sim::{Checks, Random, Sim, WatchChecks};

use crate::{business::Business, traffic::Shops};

/// The first thing that is said on a line.
#[message]
pub(crate) struct Greeting {
    speaker: ActorRef<Listens>,
    line: u64,
}

/// The next thing that is said.
#[message]
pub(crate) struct Speech {
    line: u64,
    number: u64,
    filling: Vec<u8>,
}

/// The last thing that is said, by one that does not end.
#[message]
pub(crate) struct Leave {
    line: u64,
    number: u64,
}

pub(crate) type Hears = (Greeting, Speech, Leave, Down);

/// How long a speaker looks for a watcher.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a speaker takes: nobody says anything to it.
type Listens = (Greeting,);

/// The name of the watcher on a worker.
pub(crate) fn watcher(worker: usize) -> Name<Hears> {
    Name::from_string(format!("watcher-{worker}"))
}

/// See the [module](self).
pub(crate) struct Watcher {
    errand: Errand,
    id: u64,
    open: Vec<(Watch, u64, ActorRef<Listens>)>,
}

/// What watchers and speakers share.
#[derive(Clone)]
pub(crate) struct Errand {
    business: Business,
    checks: Checks,
    book: WatchChecks,
    shops: Shops,
    random: Random,
}

impl Errand {
    pub(crate) fn new(
        business: &Business,
        book: &WatchChecks,
        checks: &Checks,
        shops: &Shops,
        seed: u64,
    ) -> Self {
        // A stream of its own: what others draw is not changed by this.
        let random = Random::new(seed ^ 0x9e37_79b9_7f4a_7c15);
        let (business, checks) = (business.clone(), checks.clone());
        Errand { business, checks, book: book.clone(), shops: shops.clone(), random }
    }

    pub(crate) fn fork(&mut self) -> Self {
        Errand { random: self.random.fork(), ..self.clone() }
    }
}

impl Watcher {
    pub(crate) fn new(errand: Errand) -> Self {
        Watcher { id: errand.checks.unique(), errand, open: Vec::new() }
    }

    fn watch(&mut self, speaker: ActorRef<Listens>, line: u64, context: &mut Context<Self>) {
        match context.watch(speaker) {
            Ok(watch) => {
                self.errand.book.watched(self.id, watch, line);
                self.open.push((watch, line, speaker));
            }
            Err(error) => self.errand.checks.violation("P6", format!("not watched: {error}")),
        }
    }

    fn unwatch(&mut self, at: usize, context: &mut Context<Self>) {
        let (watch, ..) = self.open.swap_remove(at);
        self.errand.book.unwatched(self.id, watch, context.unwatch(watch));
    }
}

impl Actor for Watcher {
    type Protocol = Hears;

    async fn started(&mut self, context: &mut Context<Self>) {
        let errand = self.errand.fork();
        context.task(|_| async move {
            // A node that shuts down spawns no more.
            let _ = speakers(errand).await;
        });
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.errand.book.left(self.id);
    }
}

impl Handler<Greeting> for Watcher {
    async fn handle(&mut self, greeting: Msg<Greeting>, context: &mut Context<Self>) {
        let Greeting { speaker, line } = greeting.decode();
        self.errand.book.heard(self.id, line, 1);
        self.watch(speaker, line, context);
        if self.errand.random.happens(0.3) {
            self.watch(speaker, line, context);
            let one_of_both = self.open.len() - 1 - self.errand.random.index(2);
            self.unwatch(one_of_both, context);
        }
    }
}

impl Handler<Speech> for Watcher {
    async fn handle(&mut self, speech: Msg<Speech>, _: &mut Context<Self>) {
        self.errand.book.heard(self.id, speech.line.to_native(), speech.number.to_native());
    }
}

impl Handler<Leave> for Watcher {
    async fn handle(&mut self, leave: Msg<Leave>, context: &mut Context<Self>) {
        self.errand.book.heard(self.id, leave.line.to_native(), leave.number.to_native());
        while let Some(at) = self.open.iter().position(|(_, line, _)| *line == leave.line) {
            self.unwatch(at, context);
        }
    }
}

impl Handler<Down> for Watcher {
    async fn handle(&mut self, down: Msg<Down>, context: &mut Context<Self>) {
        self.errand.book.down(self.id, &down);
        let Some(at) = self.open.iter().position(|(watch, ..)| *watch == down.watch) else {
            return;
        };
        let (_, line, speaker) = self.open.swap_remove(at);
        if self.errand.random.happens(0.2) {
            // It is gone, or out of reach: this comes to its end at once.
            self.watch(speaker, line, context);
        }
    }
}

/// How long after its actor has ended a watcher knows it, at the latest.
const KNOWN: Duration = Duration::from_secs(8);

/// Lets a healed cluster run. In the end whoever is to be told of an end has been.
pub(crate) fn settle(sim: &mut Sim, seen: &WatchChecks, time: Duration) {
    // What happened just before it was healed takes as long as it takes.
    if time < 2 * KNOWN {
        return sim.run_for(time);
    }
    sim.run_for(time - KNOWN);
    let owed = seen.owed();
    sim.run_for(KNOWN);
    seen.insist(&owed);
}

/// Starts speakers, one after the other.
async fn speakers(mut errand: Errand) -> Result<(), SpawnError> {
    while errand.business.is_open() {
        let speaker = spawn(Speaker { id: errand.checks.unique(), errand: errand.fork() })?;
        let _ = speaker.join().await;
        sleep(Duration::from_millis(errand.random.between(1, 300))).await;
    }
    Ok(())
}

/// See the [module](self).
struct Speaker {
    id: u64,
    errand: Errand,
}

impl Actor for Speaker {
    type Protocol = Listens;

    async fn started(&mut self, context: &mut Context<Self>) {
        let (id, errand) = (self.id, self.errand.fork());
        context.task(|me| async move {
            // A node that ends takes its speakers with it.
            let _ = talk(me, id, errand).await;
        });
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.errand.book.ended(self.id);
    }
}

impl Handler<Greeting> for Speaker {
    async fn handle(&mut self, _: Msg<Greeting>, _: &mut Context<Self>) {}
}

/// Talks to one watcher after the other, and ends after one of them.
async fn talk(me: Access<Speaker>, id: u64, mut errand: Errand) -> Result<(), Error> {
    while errand.business.is_open() {
        let (node, workers) = errand.shops[errand.random.index(errand.shops.len())].clone();
        let name = watcher(errand.random.index(workers));
        // A talk that is interrupted is taken up again.
        while let Ok(to) = name.find_on(&node, PATIENCE).await {
            match talk_to(to, me.me(), id, &mut errand).await {
                Ok(Then::Ends(word)) if errand.random.happens(0.7) => {
                    let book = errand.book.clone();
                    let speak_and_stop = move |context: &mut Context<Speaker>| {
                        let (line, number) = (word.line, word.number);
                        if to.tell(word).is_ok() {
                            book.said(line, number);
                        }
                        context.stop();
                    };
                    return Ok(me.with(|_, context| speak_and_stop(context)).await?);
                }
                Ok(Then::Ends(_)) => return Ok(me.me().stop(StopMode::Kill)?),
                Ok(Then::Leaves) => break,
                Err(_) if errand.business.is_open() => {}
                Err(_) => break,
            }
        }
    }
    Ok(me.me().stop(StopMode::Drain)?)
}

/// What a speaker does when it has said all.
enum Then {
    Leaves,
    /// This is the last word, if there is still time for it.
    Ends(Speech),
}

/// Says a number of things on a line of their own.
async fn talk_to(
    to: ActorRef<Hears>,
    speaker: ActorRef<Listens>,
    id: u64,
    errand: &mut Errand,
) -> Result<Then, Error> {
    let Errand { checks, book, random, .. } = errand;
    let line = checks.unique();
    book.begins(line, id);
    to.tell(Greeting { speaker, line })?;
    book.said(line, 1);
    let last = random.between(2, 40);
    for number in 2..=last {
        let filling = vec![1; if random.happens(0.03) { 100_000 } else { 20 }];
        to.send(Speech { line, number, filling }).await?;
        book.said(line, number);
        if random.happens(0.5) {
            sleep(Duration::from_millis(random.between(1, 100))).await;
        }
    }
    if random.happens(0.4) {
        return Ok(Then::Ends(Speech { line, number: last + 1, filling: Vec::new() }));
    }
    to.send(Leave { line, number: last + 1 }).await?;
    book.said(line, last + 1);
    Ok(Then::Leaves)
}
