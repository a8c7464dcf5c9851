//! Names: how actors of one node are found from another.

use std::{collections::BTreeMap, fmt, marker::PhantomData, time::Duration};

use annulus_codec::{
    address::{Address, NodeId, Slot},
    message::MessageId,
};
use annulus_macros::message;
use annulus_transport::driver::Mono;

use crate::{
    actor::{Actor, Handler, Respond},
    cluster::{self, WaitForPeer},
    context::Context,
    core::Core,
    error::AskError,
    message::{Msg, Reply, Responder},
    protocol::Protocol,
    reference::ActorRef,
    steward::{self, Lives},
    timers::{sleep, timeout},
};

/// The index and generation of the actor for names on worker 0: it is the third actor there.
const INDEX: usize = 2;
const GENERATION: u32 = 3;

/// The longest name of an actor, in bytes.
const MAX_NAME: usize = 255;

/// How long after it was too busy a worker is asked again for an actor's end.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// How long after the loss of a node it is looked for again.
const NODE_LOST_PAUSE: Duration = Duration::from_millis(20);

type NamesProtocol = (Lookup, Register);

fn of(node: NodeId, tag: u32) -> ActorRef<NamesProtocol> {
    ActorRef::new(Address::new(node, tag, Slot::new(0, INDEX), GENERATION))
}

fn here(core: &Core) -> ActorRef<NamesProtocol> {
    of(core.shared.id, core.shared.incarnation_tag)
}

/// A name for actors with the protocol `P`. Make it a constant that both sides use.
///
/// ```ignore
/// const ECHO: Name<(Say,)> = Name::new("echo");
/// ```
pub struct Name<P> {
    text: std::borrow::Cow<'static, str>,
    protocol: PhantomData<fn() -> P>,
}

impl<P: Protocol> Name<P> {
    /// A fixed name.
    pub const fn new(text: &'static str) -> Self {
        Name { text: std::borrow::Cow::Borrowed(text), protocol: PhantomData }
    }

    /// A name made at run time.
    pub fn from_string(text: String) -> Self {
        Name { text: std::borrow::Cow::Owned(text), protocol: PhantomData }
    }

    /// The text of the name.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Gives the name to an actor of this node. It is free again when the actor has ended.
    ///
    /// # Errors
    /// If another actor has it, or the node has too many names.
    pub async fn register(&self, actor: ActorRef<P>) -> Result<(), RegisterError> {
        let core = Core::current().ok_or(RegisterError::Ask(AskError::NoWorker))?;
        if self.text.len() > MAX_NAME {
            return Err(RegisterError::TooLong(MAX_NAME));
        }
        let register = Register {
            name: self.text.to_string(),
            address: actor.address(),
            messages: P::MESSAGES.iter().map(|id| id.bits()).collect(),
        };
        let registered = here(&core).ask(register).await.map_err(RegisterError::Ask)?;
        registered.into_inner().0
    }

    /// Finds the actor that has this name on a node. If the node is not connected yet, this waits
    /// for it, and for the name, for at most `patience`.
    ///
    /// # Errors
    /// If there is no such node or name in time, or the actor has another protocol.
    pub async fn find_on(
        &self,
        node: &str,
        patience: Duration,
    ) -> Result<ActorRef<P>, LookupError> {
        let core = Core::current().ok_or(LookupError::Ask(AskError::NoWorker))?;
        let mut last = LookupError::NoSuchNode(node.into());
        let find = async {
            loop {
                let looked = self.look_once(&core, node, patience, &mut last).await;
                match looked {
                    Err(LookupError::Ask(error)) if may_pass(error) => sleep(NODE_LOST_PAUSE).await,
                    found => return found,
                }
            }
        };
        match timeout(patience, find).await {
            Ok(found) => found,
            Err(_) => Err(last),
        }
    }

    /// Waits for the node and for the name there. What is waited for is in `waits_for`.
    async fn look_once(
        &self,
        core: &Core,
        node: &str,
        patience: Duration,
        waits_for: &mut LookupError,
    ) -> Result<ActorRef<P>, LookupError> {
        let id = NodeId::from_name(node);
        *waits_for = LookupError::NoSuchNode(node.into());
        let tag = if core.is_here(id) {
            core.shared.incarnation_tag
        } else {
            let wait = WaitForPeer { name: node.into(), patience };
            let connected = cluster::here(core).ask(wait).within(patience).await;
            connected.map_err(LookupError::Ask)?.into_inner().0
        };
        let name = self.text.to_string();
        let lookup = Lookup { name: name.clone() };
        *waits_for = LookupError::NoSuchName { name, node: node.into() };
        let found = of(id, tag).ask(lookup).within(patience).await;
        let found = found.map_err(LookupError::Ask)?;
        let address = &found.address;
        let offers =
            |id: &MessageId| found.messages.iter().any(|known| known.to_native() == id.bits());
        match P::MESSAGES.iter().find(|id| !offers(id)) {
            None => Ok(ActorRef::from_address(address.to_address())),
            Some(missing) => Err(LookupError::OtherProtocol { missing: *missing }),
        }
    }
}

/// Whether a look-up that failed for this may go well another time.
fn may_pass(error: AskError) -> bool {
    use AskError::{Dead, NoReply, NodeDown, Overloaded, Timeout, Unreachable};
    matches!(error, Dead | NoReply | NodeDown | Overloaded | Timeout | Unreachable)
}

impl<P> Clone for Name<P> {
    fn clone(&self) -> Self {
        Name { text: self.text.clone(), protocol: PhantomData }
    }
}

impl<P> fmt::Debug for Name<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({})", self.text)
    }
}

/// Why a name was not given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// Another actor of the node has it.
    Taken(String),
    /// The node has as many names as it may have.
    TooManyNames(usize),
    /// The name is longer than this many bytes.
    TooLong(usize),
    /// The actor lives on another node, or has ended.
    NotHere,
    /// The node did not answer.
    Ask(AskError),
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegisterError::Taken(name) => write!(f, "another actor has the name `{name}`"),
            RegisterError::TooManyNames(max) => write!(f, "the node has {max} names already"),
            RegisterError::TooLong(max) => write!(f, "a name has {max} bytes at most"),
            RegisterError::NotHere => {
                write!(f, "the actor has ended, or lives on another node")
            }
            RegisterError::Ask(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RegisterError {}

/// Why an actor was not found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LookupError {
    /// No node of this name was connected in time.
    NoSuchNode(String),
    /// The node has no actor of this name.
    NoSuchName {
        /// The name that was looked for.
        name: String,
        /// The node that was asked.
        node: String,
    },
    /// The actor does not take all the messages of the protocol, or takes another version of one.
    OtherProtocol {
        /// The first message that it does not take.
        missing: MessageId,
    },
    /// The node did not answer.
    Ask(AskError),
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LookupError::NoSuchNode(node) => write!(f, "no node `{node}` is connected"),
            LookupError::NoSuchName { name, node } => {
                write!(f, "node `{node}` has no actor named `{name}`")
            }
            LookupError::OtherProtocol { missing } => {
                write!(f, "the actor does not take message {missing:?}")
            }
            LookupError::Ask(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LookupError {}

/// Which actor has this name? If none has, the answer comes when one is given it.
#[message(reply = Found, name = "annulus.Lookup", crate = crate)]
pub(crate) struct Lookup {
    name: String,
}

/// This one, and these are the messages it takes.
#[message(name = "annulus.Found", crate = crate)]
pub(crate) struct Found {
    address: Address,
    messages: Vec<u64>,
}

/// Give an actor a name. It passes by value: no other node can send it.
#[message(local, reply = Registered, crate = crate)]
pub(crate) struct Register {
    name: String,
    address: Address,
    messages: Vec<u64>,
}

/// Whether the name was given.
#[message(local, crate = crate)]
pub(crate) struct Registered(Result<(), RegisterError>);

struct Entry {
    address: Address,
    messages: Vec<u64>,
}

impl Entry {
    fn found(&self) -> Found {
        Found { address: self.address, messages: self.messages.clone() }
    }
}

/// Somebody who waits for a name to be given.
struct Waiting {
    name: String,
    until: Mono,
    responder: Responder<Found>,
}

#[derive(Default)]
pub(crate) struct Names {
    names: BTreeMap<String, Entry>,
    waiting: Vec<Waiting>,
}

impl Actor for Names {
    type Protocol = NamesProtocol;
}

impl Respond<Lookup> for Names {
    async fn respond(&mut self, lookup: Msg<Lookup>, context: &mut Context<Self>) -> Reply<Found> {
        if let Some(entry) = self.names.get(lookup.name.as_str()) {
            return entry.found().into();
        }
        let (later, responder) = context.defer(&lookup);
        let now = context.now();
        let limits = *context.core().limits();
        // Those who have given up hear no answer.
        self.waiting.retain(|waiting| waiting.until > now);
        if self.waiting.len() < limits.names && lookup.name.len() <= MAX_NAME {
            // Whoever waits for longer asks again. What another node says of its patience may be
            // endless, and nobody hears of its end.
            let patience = context.time_left().unwrap_or(limits.ask_timeout);
            let until = now.after(patience.min(limits.ask_timeout));
            self.waiting.push(Waiting { name: lookup.name.as_str().into(), until, responder });
        }
        later.into()
    }
}

impl Handler<Register> for Names {
    async fn handle(&mut self, register: Msg<Register>, context: &mut Context<Self>) -> Registered {
        let Register { name, address, messages } = register.into_inner();
        let max = context.core().limits().names;
        let here = context.core().is_here(address.node());
        if !here || !lives(address).await.unwrap_or(false) {
            return Registered(Err(RegisterError::NotHere));
        }
        // Others may have seen the holder's end before the news of it has come here.
        if let Some(holder) = self.names.get(&name).map(|entry| entry.address) {
            if lives(holder).await.unwrap_or(true) {
                return Registered(Err(RegisterError::Taken(name)));
            }
            self.forget(&name, holder);
        }
        if self.names.len() >= max {
            return Registered(Err(RegisterError::TooManyNames(max)));
        }
        let entry = Entry { address, messages };
        for waiting in self.waiting.extract_if(.., |waiting| waiting.name == name) {
            waiting.responder.reply(entry.found());
        }
        self.names.insert(name.clone(), entry);
        context.task(|names| async move {
            loop {
                match ActorRef::<()>::new(address).join().await {
                    Ok(_) | Err(AskError::Dead) => break,
                    // Its worker is behind, or short of memory: the actor may well live.
                    Err(_) => sleep(BUSY_PAUSE).await,
                }
            }
            let _ = names.with(move |names, _| names.forget(&name, address)).await;
        });
        Registered(Ok(()))
    }
}

/// Whether an actor of this node lives.
async fn lives(actor: Address) -> Result<bool, AskError> {
    let living = steward::of(actor).ask(Lives { target: actor }).await?;
    Ok(living.0)
}

impl Names {
    fn forget(&mut self, name: &str, address: Address) {
        if self.names.get(name).is_some_and(|entry| entry.address == address) {
            self.names.remove(name);
        }
    }
}
