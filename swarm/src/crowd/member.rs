//! A member of a crowd: whatever it is told, it does things in turn, as long as there is fuel.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
};

use annulus::{Ask, StopMode, codec::message::Message, now, prelude::*};
use annulus_sim::Random;

use super::{
    Crowd, Peer, Reach, pick,
    voice::{LastWords, Voice},
};

/// Begin.
#[message]
pub(super) struct Go {
    pub(super) fuel: u64,
}

/// A few bytes that are copied as they are.
#[message]
pub(super) struct Word {
    pub(super) sender: u64,
    pub(super) number: u64,
    pub(super) fuel: u64,
}

/// The same in so few bytes that they are copied out of their chunk.
#[message]
pub(super) struct Whisper {
    pub(super) sender: u32,
    pub(super) number: u32,
    pub(super) fuel: u32,
}

/// A text.
#[message]
pub(super) struct Essay {
    pub(super) sender: u64,
    pub(super) number: u64,
    pub(super) fuel: u64,
    pub(super) filling: Vec<u8>,
}

/// Wants an answer.
#[message(reply = Answer)]
pub(super) struct Question {
    pub(super) sender: u64,
    pub(super) number: u64,
    pub(super) fuel: u64,
    /// Who waits for the handler that asks, and who asks.
    pub(super) chain: Vec<u64>,
}

/// Wants an answer, too, and takes no frame. Who waits for it is [noted](Crowd::chains).
#[message(reply = Answer)]
pub(super) struct Query {
    sender: u32,
    number: u32,
    fuel: u32,
}

/// The answer.
#[message]
pub(super) struct Answer {
    number: u64,
    by: u64,
}

pub(super) type Talk = (Go, Word, Whisper, Essay, Question, Query);

/// Messages of a burst for one actor, and rounds of a burst for several in turn.
const BURST: u64 = 6;
const ROUNDS: u64 = 40;

/// Actors that a broadcast is for.
const AUDIENCE: u64 = 6;

/// Members of a worker at the same time that end before their node.
const MORTALS: usize = 3;

/// How long an ask may take, in milliseconds, and how much longer on a worker that pauses.
const LIMIT: (u64, u64) = (5, 200);
const SLACK: Duration = Duration::from_secs(8);

/// The part of a limit by which the clock of another host, who looks whether an ask has run out, may be ahead.
const DRIFT: u32 = 32;

/// Askers that wait for each other at most.
const CHAIN: usize = 12;

/// See the [module](self).
pub(super) struct Member {
    voice: Voice,
    random: Random,
    /// Messages that a mortal one handles before it ends.
    left: Option<u64>,
    last_words: Option<LastWords>,
}

impl Member {
    pub(super) fn new(crowd: &Rc<Crowd>, mut random: Random, left: Option<u64>) -> Self {
        let voice = Voice::new(crowd);
        let words = LastWords { voice: voice.clone(), random: random.fork() };
        Member { voice, random, left, last_words: left.is_some().then_some(words) }
    }

    pub(super) fn id(&self) -> u64 {
        self.voice.id
    }

    fn arrived(&self, sender: u64, number: u64) {
        self.voice.crowd.occasion.sent.arrived(sender, self.id(), number);
    }

    fn me(&self, context: &Context<Self>) -> Peer {
        let mortal = self.left.is_some();
        Peer { id: self.id(), place: context.me(), reach: Reach::Worker, mortal }
    }

    /// Somebody else of this worker.
    fn neighbour(&mut self) -> Option<Peer> {
        let crowd = &self.voice.crowd;
        let mortal = self.random.happens(0.2);
        let some = if mortal { &crowd.mortals } else { &crowd.members };
        pick(&some.borrow(), &mut self.random).filter(|peer| peer.id != self.voice.id)
    }

    fn stranger(&mut self) -> Option<Peer> {
        pick(&self.voice.crowd.far.borrow(), &mut self.random)
    }

    /// Does things until the fuel is used up: what others do in turn is part of it. `from` has caused it, and
    /// those of the `chain` wait for it.
    async fn act(&mut self, mut fuel: u64, from: u64, chain: &[u64], context: &mut Context<Self>) {
        while fuel > 0 && self.voice.crowd.is_open() {
            let share = self.random.between(0, fuel - 1);
            fuel -= 1 + share;
            match self.random.between(0, 39) {
                0..=10 => self.tell_in_a_burst(share),
                11..=15 => self.tell_itself(share, context),
                16..=22 => self.broadcast(share, context),
                23..=32 => self.ask(share, from, chain).await,
                33..=35 => self.tell_a_stranger(share),
                36 => context.sleep(Duration::from_millis(self.random.between(0, 4))).await,
                37 => self.tell_in_turn(),
                _ => self.see_to_mortals(share, context),
            }
        }
    }

    /// Tells somebody several words. One of them has the fuel.
    fn tell_some(&mut self, to: &Peer, most: u64, fuel: u64) {
        let words = self.random.between(1, most);
        let heavy = self.random.between(1, words);
        for word in 1..=words {
            if !self.voice.tell(to, if word == heavy { fuel } else { 0 }) {
                return;
            }
        }
    }

    fn tell_in_a_burst(&mut self, fuel: u64) {
        if let Some(to) = self.neighbour() {
            self.tell_some(&to, BURST, fuel);
        }
    }

    fn tell_itself(&mut self, fuel: u64, context: &Context<Self>) {
        self.tell_some(&self.me(context), 3, fuel);
        self.voice.crowd.occasion.sent.hit("actor told itself something");
    }

    fn tell_a_stranger(&mut self, fuel: u64) {
        if let Some(to) = self.stranger() {
            self.tell_some(&to, BURST, fuel);
        }
    }

    /// Tells all others of the worker so much in turn that it is worth while to sort it.
    fn tell_in_turn(&mut self) {
        let mut others = self.voice.crowd.members.borrow().clone();
        others.retain(|other| other.id != self.id());
        for _ in 0..self.random.between(1, ROUNDS) {
            for to in &others {
                let fuel = u64::from(self.random.happens(0.05));
                self.voice.tell(to, fuel);
            }
        }
    }

    fn broadcast(&mut self, fuel: u64, context: &Context<Self>) {
        let mut audience: Vec<Peer> = Vec::new();
        for _ in 0..self.random.between(1, AUDIENCE) {
            let peer = match self.random.between(0, 9) {
                0..=5 => self.neighbour(),
                6..=7 => self.stranger(),
                8 => audience.last().copied(),
                _ => Some(self.me(context)),
            };
            audience.extend(peer);
        }
        let each = fuel / audience.len().max(1) as u64;
        self.voice.broadcast(&audience, each, &mut self.random);
    }

    /// Asks somebody, often the one who has caused it.
    async fn ask(&mut self, fuel: u64, from: u64, chain: &[u64]) {
        let back = self.random.happens(0.5);
        let to = match self.random.between(0, 9) {
            0 => self.stranger(),
            _ if back => self.find(from),
            _ => self.neighbour(),
        };
        let Some(to) = to.filter(|_| chain.len() < CHAIN) else { return };
        let (sender, number) = (self.id(), self.voice.next());
        let crowd = self.voice.crowd.clone();
        let limit = Duration::from_millis(self.random.between(LIMIT.0, LIMIT.1));
        crowd.occasion.sent.sent(sender, to.id, number, false);
        let (begun, waiting) = (now(), [chain, &[sender]].concat());
        let outcome = if to.reach == Reach::Worker && self.random.happens(0.5) {
            let (number, fuel) = (number as u32, fuel as u32);
            crowd.chains.borrow_mut().insert((sender, number.into()), waiting);
            let query = Query { sender: sender as u32, number, fuel };
            self.outcome(number.into(), to.place.ask(query).within(limit)).await
        } else {
            let question = Question { sender, number, fuel, chain: waiting };
            self.outcome(number, to.place.ask(question).within(limit)).await
        };
        let took = now().since(begun);
        let in_time = took <= limit + SLACK;
        if !in_time || !self.may_be(outcome, &to, number, chain, took + limit / DRIFT >= limit) {
            let says = format!(
                "{sender} asked {to:?} {number} for {chain:?}: {outcome:?} after {took:?} of {limit:?}"
            );
            crowd.occasion.checks.violation("P8", says);
        }
    }

    /// Waits for an answer. Meanwhile it can be seen whether the ask is handled within its own poll.
    async fn outcome<M: Message<Reply = Answer>>(
        &self,
        number: u64,
        ask: Ask<M>,
    ) -> Result<(u64, u64), AskError> {
        let mut ask = pin!(ask);
        let answer = poll_fn(|context| {
            let Crowd { polled, .. } = &*self.voice.crowd;
            let before = polled.replace(Some((self.id(), number)));
            let answer = ask.as_mut().poll(context);
            polled.set(before);
            answer
        });
        let answer = answer.await?;
        Ok((answer.by.to_native(), answer.number.to_native()))
    }

    /// Whether an ask may have ended so.
    fn may_be(
        &self,
        outcome: Result<(u64, u64), AskError>,
        to: &Peer,
        number: u64,
        chain: &[u64],
        is_late: bool,
    ) -> bool {
        let Crowd { occasion, .. } = &*self.voice.crowd;
        let cycle = to.id == self.id() || chain.contains(&to.id);
        let afar = to.reach == Reach::Cluster && !occasion.calm;
        match outcome {
            Err(AskError::Cycle) => {
                occasion.sent.hit("ask ended in a cycle");
                cycle
            }
            // The session that the chain came in with may be over by the time that the handler asks back: then the
            // reference is to nobody any more, whoever that was.
            Err(AskError::Dead | AskError::Unreachable) if cycle && afar && to.id != self.id() => {
                true
            }
            _ if cycle => false,
            Ok(answer) => answer == (to.id, number),
            // Who is asked within an ask has no longer than that one.
            Err(AskError::Timeout) => is_late || !chain.is_empty(),
            Err(AskError::Dead) if to.mortal => self.voice.crowd.forget(to),
            Err(AskError::Dead | AskError::NodeDown) => afar,
            Err(AskError::Unreachable | AskError::Overloaded) => afar,
            Err(_) => false,
        }
    }

    async fn asked(
        &mut self,
        sender: u64,
        number: u64,
        fuel: u64,
        chain: &[u64],
        context: &mut Context<Self>,
    ) -> Answer {
        self.arrived(sender, number);
        if self.voice.crowd.polled.get() == Some((sender, number)) {
            self.voice.crowd.occasion.sent.hit("ask was handed over");
        }
        self.act(fuel, sender, chain, context).await;
        self.age(context);
        Answer { number, by: self.id() }
    }

    fn find(&self, id: u64) -> Option<Peer> {
        let Crowd { members, mortals, .. } = &*self.voice.crowd;
        let (members, mortals) = (members.borrow(), mortals.borrow());
        members.iter().chain(&*mortals).find(|peer| peer.id == id).copied()
    }

    /// Makes a mortal member, or ends one if there are too many.
    fn see_to_mortals(&mut self, fuel: u64, context: &mut Context<Self>) {
        let crowd = self.voice.crowd.clone();
        let known = pick(&crowd.mortals.borrow(), &mut self.random);
        if let Some(known) = known.filter(|_| crowd.mortals.borrow().len() >= MORTALS) {
            let modes = [StopMode::Stop, StopMode::Drain, StopMode::Kill];
            crowd.ending.borrow_mut().insert(known.id);
            // It may have ended by itself.
            let _ = known.place.stop(modes[self.random.index(modes.len())]);
            crowd.forget(&known);
            return;
        }
        let left = self.random.between(1, 10);
        let mortal = Member::new(&crowd, self.random.fork(), Some(left));
        let id = mortal.id();
        // A node that shuts down spawns no more.
        let Ok(place) = context.spawn(mortal) else { return };
        let mortal = Peer { id, place, reach: Reach::Worker, mortal: true };
        crowd.mortals.borrow_mut().push(mortal);
        self.tell_some(&mortal, BURST, fuel);
    }

    /// A mortal member has handled a message.
    fn age(&mut self, context: &mut Context<Self>) {
        let Some(left) = &mut self.left else { return };
        *left = left.saturating_sub(1);
        if *left > 0 {
            return;
        }
        self.voice.crowd.ending.borrow_mut().insert(self.voice.id);
        if self.random.happens(0.5) { context.stop() } else { context.drain() }
    }
}

impl Actor for Member {
    type Protocol = Talk;

    async fn started(&mut self, context: &mut Context<Self>) {
        if self.random.happens(0.5)
            && let Some(last_words) = self.last_words.take()
        {
            context.task(|_| async move {
                let _last_words = last_words;
                std::future::pending::<()>().await;
            });
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.voice.crowd.occasion.sent.ended(self.id());
    }
}

impl Handler<Go> for Member {
    async fn handle(&mut self, go: Msg<Go>, context: &mut Context<Self>) {
        let (fuel, me) = (go.fuel.to_native(), self.id());
        self.act(fuel, me, &[], context).await;
    }
}

impl Handler<Word> for Member {
    async fn handle(&mut self, word: Msg<Word>, context: &mut Context<Self>) {
        let Word { sender, number, fuel } = word.decode();
        self.arrived(sender, number);
        self.act(fuel, sender, &[], context).await;
        self.age(context);
    }
}

impl Handler<Essay> for Member {
    async fn handle(&mut self, essay: Msg<Essay>, context: &mut Context<Self>) {
        let Essay { sender, number, fuel, filling } = essay.decode();
        self.arrived(sender, number);
        if filling.iter().any(|byte| *byte != number as u8) {
            let says = format!("message {number} of {sender} was changed");
            self.voice.crowd.occasion.checks.violation("P3", says);
        }
        self.act(fuel, sender, &[], context).await;
        self.age(context);
    }
}

impl Handler<Whisper> for Member {
    async fn handle(&mut self, whisper: Msg<Whisper>, context: &mut Context<Self>) {
        let Whisper { sender, number, fuel } = whisper.decode();
        self.arrived(sender.into(), number.into());
        self.act(fuel.into(), sender.into(), &[], context).await;
        self.age(context);
    }
}

impl Handler<Question> for Member {
    async fn handle(&mut self, question: Msg<Question>, context: &mut Context<Self>) -> Answer {
        let Question { sender, number, fuel, chain } = question.decode();
        self.asked(sender, number, fuel, &chain, context).await
    }
}

impl Handler<Query> for Member {
    async fn handle(&mut self, query: Msg<Query>, context: &mut Context<Self>) -> Answer {
        let Query { sender, number, fuel } = query.decode();
        let (sender, number) = (u64::from(sender), u64::from(number));
        let chain = self.voice.crowd.chains.borrow_mut().remove(&(sender, number));
        self.asked(sender, number, fuel.into(), &chain.unwrap_or_default(), context).await
    }
}
