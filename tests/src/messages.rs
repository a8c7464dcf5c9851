//! Messages and actors that many tests use.

use annulus::{MailboxLimits, prelude::*};

use crate::Shared;

/// A number, which is answered with itself.
#[message(reply = Number)]
#[derive(Debug)]
pub struct Number {
    /// The number.
    pub number: u64,
}

/// Bytes with a number, which are answered in kind.
#[message(reply = Parcel)]
#[derive(Debug)]
pub struct Parcel {
    /// Who sent it.
    pub sender: u64,
    /// Its number among those of the sender.
    pub number: u64,
    /// What makes it large.
    pub filling: Vec<u8>,
}

/// Asks for nothing but an answer.
#[message]
#[derive(Debug)]
pub struct Ping;

/// Makes an actor sleep within its handler, for so many milliseconds.
#[message]
#[derive(Debug)]
pub struct Nap {
    /// Milliseconds.
    pub millis: u64,
}

/// Makes a handler panic.
#[message]
#[derive(Debug)]
pub struct Fail;

/// Takes all the messages above, and notes what it has handled.
#[derive(Debug, Default)]
pub struct Worker {
    /// What it has done, in order.
    pub done: Shared<String>,
}

/// What a [`Worker`] takes.
pub type Work = (Number, Ping, Nap, Fail);

impl Worker {
    /// One that notes what it does there.
    pub fn noting(done: &Shared<String>) -> Self {
        Worker { done: done.clone() }
    }
}

impl Actor for Worker {
    type Protocol = Work;

    async fn stopped(&mut self, _: &mut Context<Self>) {
        self.done.push("stopped".into());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.done.push("dropped".into());
    }
}

impl Handler<Number> for Worker {
    async fn handle(&mut self, number: Msg<Number>, _: &mut Context<Self>) -> Number {
        let number = number.decode();
        self.done.push(format!("number {}", number.number));
        number
    }
}

impl Handler<Ping> for Worker {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {
        self.done.push("ping".into());
    }
}

impl Handler<Nap> for Worker {
    async fn handle(&mut self, nap: Msg<Nap>, context: &mut Context<Self>) {
        self.done.push("nap begins".into());
        context.sleep(Duration::from_millis(nap.millis.to_native())).await;
        self.done.push("nap ends".into());
    }
}

impl Handler<Fail> for Worker {
    async fn handle(&mut self, _: Msg<Fail>, _: &mut Context<Self>) {
        self.done.push("fails".into());
        panic!("as it was told to");
    }
}

/// The same, with room for two messages.
#[derive(Debug, Default)]
pub struct Cramped {
    /// What it has done, in order.
    pub done: Shared<String>,
}

impl Actor for Cramped {
    type Protocol = (Number, Nap);
    const MAILBOX: MailboxLimits = MailboxLimits { messages: 2, bytes: 1 << 20 };
}

impl Handler<Number> for Cramped {
    async fn handle(&mut self, number: Msg<Number>, _: &mut Context<Self>) -> Number {
        let number = number.decode();
        self.done.push(format!("number {}", number.number));
        number
    }
}

impl Handler<Nap> for Cramped {
    async fn handle(&mut self, nap: Msg<Nap>, context: &mut Context<Self>) {
        self.done.push("nap begins".into());
        context.sleep(Duration::from_millis(nap.millis.to_native())).await;
        self.done.push("nap ends".into());
    }
}
