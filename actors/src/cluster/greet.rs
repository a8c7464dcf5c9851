//! Connections that are accepted, and what both sides of a handshake share.

use std::{
    cell::Cell,
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use annulus_codec::handshake::{Handshake, HandshakeError, Hello, Refusal, Step};
use annulus_transport::{
    driver::OperationError,
    endpoint::Endpoint,
    stream::{Listener, Stream},
};

use crate::{
    context::Access,
    core::Core,
    planted::{Bug, planted},
    timers::{sleep, timeout},
};

use super::{Cluster, ENDPOINTS_MAX};

/// Handshakes under way with those who have connected.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    count: usize,
    by_address: BTreeMap<IpAddr, usize>,
}

impl Handshakes {
    /// Admits one more, from this address, if there are not too many: `max` in all, and a quarter of
    /// that from one address, so that one host does not keep all others out.
    fn begin(&mut self, from: Option<IpAddr>, max: usize) -> bool {
        if self.count >= max {
            return false;
        }
        if let Some(from) = from {
            let theirs = self.by_address.entry(from).or_default();
            if *theirs >= (max / 4).max(1) {
                return false;
            }
            *theirs += 1;
        }
        self.count += 1;
        true
    }

    fn end(&mut self, from: Option<IpAddr>) {
        self.count -= 1;
        if let Some(from) = from
            && let Some(theirs) = self.by_address.get_mut(&from)
        {
            *theirs -= 1;
            if *theirs == 0 {
                self.by_address.remove(&from);
            }
        }
    }
}

/// How long a connection waits before it is looked again whether the last session with its node is over.
const OVER_PAUSE: Duration = Duration::from_millis(1);

/// Accepts connections as long as the node runs.
pub(super) async fn accept(core: Rc<Core>, cluster: Access<Cluster>, mut listener: Listener) {
    loop {
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                // Out of descriptors, most likely: connections wait in the backlog meanwhile.
                tracing::warn!(target: "annulus", %error, "accepting a connection failed");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let max = core.limits().handshakes;
        let from = stream.peer_address().ok().map(|address| address.ip());
        let admitted = cluster.with(move |cluster, context| {
            if cluster.quiet {
                return;
            }
            if !cluster.handshakes.begin(from, max) {
                tracing::warn!(target: "annulus", "too many handshakes: connection closed");
                return;
            }
            let core = context.core().clone();
            context.task(|cluster| greet(core, cluster, stream, from));
        });
        if admitted.await.is_err() {
            return;
        }
    }
}

/// Takes one accepted connection through its handshake.
async fn greet(core: Rc<Core>, cluster: Access<Cluster>, stream: Stream, from: Option<IpAddr>) {
    let patience = core.limits().handshake;
    let opened = Opened::default();
    let session = match within(patience, welcome(&core, &cluster, stream, &opened)).await {
        Ok(session) => Some(session),
        Err(error) => {
            tracing::warn!(target: "annulus", %error, "a connection was closed in its handshake");
            None
        }
    };
    // The actor is there: it owns this task. The sections that were asked for before have run when
    // this one does, whether they were waited for or not.
    let ended = cluster.with(move |cluster, context| {
        cluster.handshakes.end(from);
        let orphan = opened.get().filter(|_| session.is_none());
        if let Some(orphan) = orphan.filter(|_| !planted(Bug::OrphanSession)) {
            cluster.end_session(context, orphan, "its first connection was lost");
        }
        cluster.sessions.progress(session?)
    });
    let (Some(session), Ok(progress)) = (session, ended.await) else { return };
    // A session whose other connections never come is no session.
    sleep(patience).await;
    let end = move |cluster: &mut Cluster, context: &mut _| {
        let number = cluster.sessions.by_number(session).filter(|session| !session.is_up());
        if number.is_some() && cluster.sessions.progress(session) == progress {
            cluster.end_session(context, session, "not all links came up");
        }
    };
    let _ = cluster.with(end).await;
}

/// The session that a connection has opened, as soon as it has.
type Opened = Rc<Cell<Option<u64>>>;

/// The acceptor's side of a handshake. Returns the session that the connection is part of.
async fn welcome(
    core: &Rc<Core>,
    cluster: &Access<Cluster>,
    stream: Stream,
    opened: &Opened,
) -> Result<u64, GreetError> {
    let mut handshake = Handshake::accept(&core.shared.secret, nonce(core));
    let mut hello = match converse(&mut handshake, &stream).await? {
        Step::Decide(hello) => hello,
        _ => return Err(GreetError::Handshake(HandshakeError::BadHello)),
    };
    fill_in_addresses(&mut hello, &stream);
    let (link, asked) = (hello.link, hello.clone());
    let verdict = loop {
        let (opened, asked) = (opened.clone(), asked.clone());
        let verdict = cluster.with(move |cluster, context| {
            let verdict = cluster.consider(context, &asked);
            if let (Ok(Some((session, _))), 0) = (&verdict, asked.link) {
                opened.set(Some(*session));
            }
            verdict
        });
        match verdict.await.map_err(|_| GreetError::Ending)? {
            Ok(None) => sleep(OVER_PAUSE).await,
            Ok(Some(admitted)) => break Ok(admitted),
            Err(refusal) => break Err(refusal),
        }
    };
    match verdict {
        Ok((session, own)) => {
            let sent = stream.send_bytes(handshake.admit(&own)).await;
            let rest = handshake.into_rest();
            let kept = cluster.with(move |cluster, context| match sent {
                Ok(_) => Ok(cluster.keep(context, session, link, stream, rest)),
                Err(error) => {
                    cluster.end_session(context, session, "a connection was lost");
                    Err(error)
                }
            });
            kept.await.map_err(|_| GreetError::Ending)??;
            Ok(session)
        }
        Err(refusal) => {
            stream.send_bytes(handshake.refuse(refusal)).await?;
            Err(GreetError::Refused(refusal, hello.node))
        }
    }
}

/// A node that listens on all its addresses does not know which one others reach it by: it is the one
/// that its connection comes from.
pub(super) fn fill_in_addresses(hello: &mut Hello, stream: &Stream) {
    let Ok(seen) = stream.peer_address() else { return };
    let ip = seen.ip();
    hello.endpoints.truncate(ENDPOINTS_MAX);
    for endpoint in &mut hello.endpoints {
        if let Some(Endpoint::Tcp(mut at)) = Endpoint::parse_numeric(endpoint)
            && at.ip().is_unspecified()
        {
            at.set_ip(ip);
            *endpoint = Endpoint::Tcp(at).to_string();
        }
    }
    for datagrams in &mut hello.datagrams {
        if let Ok(mut at) = datagrams.parse::<SocketAddr>()
            && at.ip().is_unspecified()
        {
            at.set_ip(ip);
            *datagrams = at.to_string();
        }
    }
}

/// Passes bytes between a handshake and a stream until there is something to decide.
pub(super) async fn converse(
    handshake: &mut Handshake,
    stream: &Stream,
) -> Result<Step, GreetError> {
    let mut step = handshake.input(&[])?;
    loop {
        match step {
            Step::Receive => {
                let (bytes, received) = stream.read_some(Vec::with_capacity(1024)).await?;
                if received == 0 {
                    return Err(GreetError::Closed);
                }
                step = handshake.input(&bytes)?;
            }
            Step::Send(bytes) => {
                stream.send_bytes(bytes).await?;
                step = handshake.input(&[])?;
            }
            Step::Decide(_) | Step::Done(_) => return Ok(step),
        }
    }
}

pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, GreetError>>,
) -> Result<T, GreetError> {
    timeout(limit, work).await.unwrap_or(Err(GreetError::TooSlow))
}

pub(super) fn nonce(core: &Core) -> [u8; 32] {
    let mut nonce = [0; 32];
    core.io.entropy(&mut nonce);
    nonce
}

/// Why a connection did not become a link.
#[derive(Debug)]
pub(super) enum GreetError {
    Handshake(HandshakeError),
    Operation(OperationError),
    /// The other side closed the connection.
    Closed,
    /// The handshake took too long.
    TooSlow,
    /// This node did not want the connection from the node of this name.
    Refused(Refusal, String),
    /// The node was started anew, or the session ended, while its links were made.
    Changed,
    /// This node is ending.
    Ending,
}

impl std::fmt::Display for GreetError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            GreetError::Handshake(error) => error.fmt(f),
            GreetError::Operation(error) => error.fmt(f),
            GreetError::Closed => write!(f, "the other side closed the connection"),
            GreetError::TooSlow => write!(f, "the handshake took too long"),
            GreetError::Refused(refusal, node) => write!(f, "node {node} was refused: {refusal}"),
            GreetError::Changed => write!(f, "the other node changed meanwhile"),
            GreetError::Ending => write!(f, "this node is ending"),
        }
    }
}

impl From<HandshakeError> for GreetError {
    fn from(error: HandshakeError) -> Self {
        GreetError::Handshake(error)
    }
}

impl From<OperationError> for GreetError {
    fn from(error: OperationError) -> Self {
        GreetError::Operation(error)
    }
}
