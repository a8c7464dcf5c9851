//! Connections that this node makes.

use std::{rc::Rc, time::Duration};

use annulus_codec::handshake::{Handshake, HandshakeError, Hello, Refusal, Step};
use annulus_transport::{endpoint::Endpoint, stream::Stream};

use crate::{context::Access, core::Core, timers::sleep};

use super::{
    Cluster,
    greet::{GreetError, converse, fill_in_addresses, nonce, within},
    targets::Target,
};

/// Dials a target until the node there is connected, with growing pauses.
pub(super) async fn dial_until_connected(core: Rc<Core>, cluster: Access<Cluster>, target: Target) {
    let mut said = String::new();
    loop {
        let at = target.clone();
        let next = cluster.with(move |cluster, _| cluster.targets.next_endpoint(&at));
        let Ok(Some(endpoint)) = next.await else { return };
        let dialled = dial_session(&core, &cluster, &target, &endpoint).await;
        if let Err(error) = &dialled {
            let says = error.to_string();
            // Said once, and again when the reason is another one.
            if says == said {
                tracing::debug!(target: "annulus", %endpoint, %error, "not connected");
            } else if error.is_lasting() {
                tracing::warn!(target: "annulus", %endpoint, %error, "not connected");
            } else {
                tracing::info!(target: "annulus", %endpoint, %error, "not connected");
            }
            said = says;
        }
        let at = target.clone();
        let pause = cluster.with(move |cluster, context| {
            cluster.dial_ended(context, &at, dialled.map_err(|error| error.refusal()))
        });
        let Ok(Some(pause)) = pause.await else { return };
        sleep(jittered(&core, pause)).await;
    }
}

/// Makes all connections of a session.
async fn dial_session(
    core: &Rc<Core>,
    cluster: &Access<Cluster>,
    target: &Target,
    endpoint: &Endpoint,
) -> Result<(), GreetError> {
    let mut token = [0; 8];
    core.io.entropy(&mut token);
    let dial = Dial { core, cluster, target, endpoint, token: u64::from_le_bytes(token) };
    let (stream, hello, rest) = dial.connect(0).await?;
    let (first, at, token) = (hello.clone(), target.clone(), dial.token);
    let opened = cluster.with(move |cluster, context| {
        let (number, links) = cluster.open_dialled(context, &at, &first, token)?;
        cluster.keep(context, number, 0, stream, rest);
        Ok((number, links))
    });
    let opened = opened.await.map_err(|_| GreetError::Ending)?;
    let (number, links) =
        opened.map_err(|refusal| GreetError::Refused(refusal, hello.node.clone()))?;
    for link in 1..links {
        if let Err(error) = dial.add_link(number, &hello, link).await {
            let why = error.to_string();
            let ended =
                cluster.with(move |cluster, context| cluster.end_session(context, number, &why));
            ended.await.map_err(|_| GreetError::Ending)?;
            return Err(error);
        }
    }
    Ok(())
}

/// What all connections of a session have in common.
struct Dial<'a> {
    core: &'a Rc<Core>,
    cluster: &'a Access<Cluster>,
    target: &'a Target,
    endpoint: &'a Endpoint,
    token: u64,
}

impl Dial<'_> {
    /// Makes one more connection of a session.
    async fn add_link(&self, number: u64, first: &Hello, link: u32) -> Result<(), GreetError> {
        let (stream, hello, rest) = self.connect(link).await?;
        if hello.node != first.node || hello.incarnation != first.incarnation {
            return Err(GreetError::Changed);
        }
        let kept = self
            .cluster
            .with(move |cluster, context| cluster.keep(context, number, link, stream, rest));
        if kept.await.map_err(|_| GreetError::Ending)? { Ok(()) } else { Err(GreetError::Changed) }
    }

    /// Connects, and takes the connection through its handshake.
    async fn connect(&self, link: u32) -> Result<(Stream, Hello, Vec<u8>), GreetError> {
        let patience = self.core.limits().handshake;
        within(patience, self.shake_hands(link, patience)).await
    }

    async fn shake_hands(
        &self,
        link: u32,
        patience: Duration,
    ) -> Result<(Stream, Hello, Vec<u8>), GreetError> {
        let stream = Stream::connect(&self.core.io, self.endpoint, Some(patience)).await?;
        let (target, endpoint, token) = (self.target.clone(), self.endpoint.clone(), self.token);
        let hello = self.cluster.with(move |cluster, context| {
            cluster.targets.shaking(&target, &endpoint);
            cluster.hello(context.core(), link, token)
        });
        let hello = hello.await.map_err(|_| GreetError::Ending)?;
        let mut handshake = Handshake::dial(&self.core.shared.secret, nonce(self.core), hello);
        stream.send_bytes(handshake.greeting().to_vec()).await?;
        match converse(&mut handshake, &stream).await? {
            Step::Done(mut hello) => {
                fill_in_addresses(&mut hello, &stream);
                Ok((stream, hello, handshake.into_rest()))
            }
            _ => Err(GreetError::Handshake(HandshakeError::BadHello)),
        }
    }
}

impl GreetError {
    /// Whether this will be so until somebody changes a setting.
    fn is_lasting(&self) -> bool {
        use Refusal::{Duplicate, Itself, Unavailable};
        match self {
            GreetError::Handshake(HandshakeError::Refused(why)) | GreetError::Refused(why, _) => {
                !matches!(why, Duplicate { .. } | Itself | Unavailable)
            }
            GreetError::Handshake(_) => true,
            _ => false,
        }
    }

    /// What the other node said, if it did not want the connection.
    fn refusal(&self) -> Option<Refusal> {
        match self {
            GreetError::Handshake(HandshakeError::Refused(refusal)) => Some(*refusal),
            _ => None,
        }
    }
}

/// Between half of `pause` and all of it, so that nodes do not dial in step.
fn jittered(core: &Core, pause: Duration) -> Duration {
    let mut random = [0; 1];
    core.io.entropy(&mut random);
    pause / 2 + pause / 2 * u32::from(random[0]) / 255
}
