//! Actors that talk, and actors that listen to them and watch them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use annulus::{Down, DownReason, MailboxLimits, StopMode, TellError, Watch, prelude::*};

use crate::Shared;

/// One of the words that are said.
#[message]
#[derive(Debug)]
pub struct Word {
    /// Its number, from 0.
    pub number: u64,
    /// What makes it large.
    pub filling: Vec<u8>,
}

impl Word {
    /// One as a [`Listener`] expects it.
    pub fn new(number: u64) -> Self {
        Word { number, filling: filling(number) }
    }
}

/// Say so many words, and then meet this end.
#[message(reply = Said)]
#[derive(Debug)]
pub struct Talk {
    /// To whom.
    pub to: ActorRef<Hears>,
    /// How many words.
    pub words: u64,
    /// What then; see [`Talker`].
    pub end: String,
}

/// Whether all words were taken; if not, the reason.
#[message]
#[derive(Debug)]
pub struct Said {
    /// Empty if they were.
    pub refused: String,
}

/// What a [`Talker`] takes.
pub type Talks = (Talk,);

/// Says words, and ends by `stop`, `drain`, `kill` or `panic`.
#[derive(Debug)]
pub struct Talker;

impl Actor for Talker {
    type Protocol = Talks;
}

/// Some words do not fit into a chunk.
fn filling(number: u64) -> Vec<u8> {
    vec![1; [10, 3000, 200_000][number as usize % 3]]
}

impl Handler<Talk> for Talker {
    async fn handle(&mut self, talk: Msg<Talk>, context: &mut Context<Self>) -> Said {
        let Talk { to, words, end } = talk.decode();
        let said = (0..words).try_for_each(|number| {
            to.tell(Word::new(number)).map_err(|undelivered| undelivered.reason)
        });
        match end.as_str() {
            "stop" => context.stop(),
            "drain" => context.drain(),
            "kill" => {
                context.me().stop(StopMode::Kill).expect("it is of this node");
                context.sleep(Duration::from_secs(3600)).await;
            }
            "panic" => panic!("as it was told to"),
            _ => {}
        }
        Said { refused: said.err().map_or(String::new(), |why: TellError| why.to_string()) }
    }
}

/// Watch a talker.
#[message(reply = Watched)]
#[derive(Debug)]
pub struct Follow {
    /// Which one.
    pub talker: ActorRef<Talks>,
    /// How often.
    pub times: u64,
}

/// Whether that went well; if not, why.
#[message]
#[derive(Debug)]
pub struct Watched {
    /// Empty if it did.
    pub refused: String,
}

/// Call all watches off.
#[message(reply = CalledOff)]
#[derive(Debug)]
pub struct CallOff;

/// How many were still to come to something.
#[message]
#[derive(Debug)]
pub struct CalledOff {
    /// So many.
    pub open: u64,
}

/// Do not go on before the gate is open.
#[message]
#[derive(Debug)]
pub struct Hold;

/// What a [`Listener`] takes.
pub type Hears = (Word, Follow, CallOff, Hold, Down);

/// Notes what it hears: `word 0`, `down: stopped`. It has room for 64 messages.
#[derive(Debug, Default)]
pub struct Listener {
    /// What it has heard, in order.
    pub heard: Shared<String>,
    /// What it waits for when it holds.
    pub gate: Arc<AtomicBool>,
    watches: Vec<Watch>,
}

impl Listener {
    /// One that notes what it hears there.
    pub fn noting(heard: &Shared<String>) -> Self {
        Listener { heard: heard.clone(), ..Listener::default() }
    }
}

impl Actor for Listener {
    type Protocol = Hears;
    const MAILBOX: MailboxLimits = MailboxLimits { messages: 64, ..MailboxLimits::DEFAULT };
}

impl Handler<Word> for Listener {
    async fn handle(&mut self, word: Msg<Word>, _: &mut Context<Self>) {
        let number = word.number.to_native();
        assert_eq!(word.filling.len(), filling(number).len());
        self.heard.push(format!("word {number}"));
    }
}

impl Handler<Follow> for Listener {
    async fn handle(&mut self, follow: Msg<Follow>, context: &mut Context<Self>) -> Watched {
        let Follow { talker, times } = follow.decode();
        for _ in 0..times {
            match context.watch(talker) {
                Ok(watch) => self.watches.push(watch),
                Err(error) => return Watched { refused: error.to_string() },
            }
        }
        Watched { refused: String::new() }
    }
}

impl Handler<CallOff> for Listener {
    async fn handle(&mut self, _: Msg<CallOff>, context: &mut Context<Self>) -> CalledOff {
        let watches = self.watches.drain(..);
        CalledOff { open: watches.filter(|watch| context.unwatch(*watch)).count() as u64 }
    }
}

impl Handler<Hold> for Listener {
    async fn handle(&mut self, _: Msg<Hold>, context: &mut Context<Self>) {
        self.heard.push("holds".into());
        while !self.gate.load(Relaxed) {
            context.sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Handler<Down> for Listener {
    async fn handle(&mut self, down: Msg<Down>, _: &mut Context<Self>) {
        let known = self.watches.iter().position(|watch| *watch == down.watch);
        match known.map(|at| self.watches.swap_remove(at)) {
            Some(_) => self.heard.push(format!("down: {}", say(down.why))),
            None => self.heard.push(format!("unexpected: {:?}", *down)),
        }
    }
}

fn say(why: DownReason) -> String {
    match why {
        DownReason::Ended(exit) => exit.to_string(),
        DownReason::Gone => "gone".into(),
        DownReason::NodeLost => "node lost".into(),
        why => format!("{why:?}").to_lowercase(),
    }
}
