//! The sessions of a node: pure book-keeping, without input or output.
//!
//! The connections between two lives of two nodes form a *session*: one link for each worker, as many
//! as the node with more workers has. The connections are kept until all of them have come; then all
//! become links at the same time, so that a message never arrives where its answer has no way back.

use std::collections::BTreeMap;

use annulus_codec::{
    address::{MAX_WORKERS, NodeId},
    handshake::{Hello, Refusal},
    hash::fold32,
};

use crate::delivery::Peer;

/// Who dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialer {
    Us,
    Them,
}

/// The connections to one life of one node. `C` is a connection that is kept.
#[derive(Debug)]
pub(super) struct Session<C> {
    pub(super) number: u64,
    pub(super) dialer: Dialer,
    /// What the node said on the first connection.
    pub(super) hello: Hello,
    pub(super) peer: Peer,
    /// How many links there are to be.
    pub(super) links: u32,
    /// What datagrams from the node have to carry.
    pub(super) token: u64,
    /// The connections that have come, until all have.
    kept: BTreeMap<u32, C>,
    up: bool,
    /// Links that the other side has closed in order.
    parted: u32,
}

impl<C> Session<C> {
    pub(super) fn is_up(&self) -> bool {
        self.up
    }
}

/// This node, as far as sessions are concerned.
#[derive(Clone, Debug)]
pub(super) struct Own {
    pub(super) cluster: String,
    pub(super) name: String,
    pub(super) id: NodeId,
    pub(super) incarnation: u64,
    pub(super) workers: u32,
}

/// What came of a connection that was given to its session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept<C> {
    /// The session has ended meanwhile.
    TooLate,
    /// Others are still to come.
    Waiting,
    /// These are all: the session is up.
    Complete(BTreeMap<u32, C>),
}

/// How many links of a session have been closed in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parted {
    First,
    Some,
    All,
}

/// A session that has been opened.
#[derive(Debug)]
pub(super) struct Opened<C> {
    pub(super) number: u64,
    pub(super) links: u32,
    /// The session with an earlier life of the node, which has ended by this.
    pub(super) replaced: Option<Session<C>>,
}

/// See the [module](self).
pub(super) struct Sessions<C> {
    own: Own,
    max: usize,
    sessions: BTreeMap<NodeId, Session<C>>,
    last: u64,
}

impl<C> Sessions<C> {
    pub(super) fn new(own: Own, max: usize) -> Self {
        Sessions { own, max, sessions: BTreeMap::new(), last: 0 }
    }

    pub(super) fn with(&self, id: NodeId) -> Option<&Session<C>> {
        self.sessions.get(&id)
    }

    pub(super) fn by_number(&self, number: u64) -> Option<&Session<C>> {
        self.sessions.values().find(|session| session.number == number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Session<C>> {
        self.sessions.values()
    }

    /// That a hello is from another node of this cluster that may connect. Returns its number.
    pub(super) fn check(&self, hello: &Hello) -> Result<NodeId, Refusal> {
        let id = NodeId::from_name(&hello.node);
        if hello.cluster != self.own.cluster {
            return Err(Refusal::OtherCluster);
        }
        if id == self.own.id {
            let itself = hello.node == self.own.name && hello.incarnation == self.own.incarnation;
            return Err(if itself { Refusal::Itself } else { Refusal::NameTaken });
        }
        let workers = hello.workers as usize;
        if workers == 0 || workers > MAX_WORKERS {
            return Err(Refusal::Unavailable);
        }
        match self.sessions.get(&id) {
            Some(session) if session.hello.node != hello.node => Err(Refusal::NameTaken),
            Some(session) if session.hello.incarnation > hello.incarnation => {
                Err(Refusal::Superseded)
            }
            None if self.sessions.len() >= self.max => Err(Refusal::Unavailable),
            _ => Ok(id),
        }
    }

    /// The refusal of a connection that there is already.
    pub(super) fn duplicate(&self) -> Refusal {
        Refusal::Duplicate { node: self.own.id }
    }

    /// The session that a further connection, which the other node dialled, belongs to.
    pub(super) fn expecting(&self, id: NodeId, hello: &Hello) -> Result<&Session<C>, Refusal> {
        let session = self.sessions.get(&id).filter(|session| {
            session.dialer == Dialer::Them
                && !session.up
                && session.hello.incarnation == hello.incarnation
                && hello.link < session.links
                && !session.kept.contains_key(&hello.link)
        });
        session.ok_or(self.duplicate())
    }

    /// Starts a session. One with an earlier life of the node ends.
    pub(super) fn open(
        &mut self,
        dialer: Dialer,
        id: NodeId,
        hello: &Hello,
        token: u64,
    ) -> Result<Opened<C>, Refusal> {
        if self.sessions.get(&id).is_some_and(|old| old.hello.incarnation >= hello.incarnation) {
            return Err(self.duplicate());
        }
        self.last += 1;
        let (number, links) = (self.last, hello.workers.max(self.own.workers));
        let session = Session {
            number,
            dialer,
            hello: hello.clone(),
            peer: Peer { node: id, incarnation: fold32(hello.incarnation) },
            links,
            token,
            kept: BTreeMap::new(),
            up: false,
            parted: 0,
        };
        let replaced = self.sessions.insert(id, session);
        Ok(Opened { number, links, replaced })
    }

    /// Keeps a connection that has passed its handshake until all of its session have come.
    pub(super) fn keep(&mut self, number: u64, link: u32, connection: C) -> Kept<C> {
        let session = self.sessions.values_mut().find(|session| session.number == number);
        let Some(session) = session.filter(|session| !session.up) else {
            return Kept::TooLate;
        };
        session.kept.insert(link, connection);
        if session.kept.len() < session.links as usize {
            return Kept::Waiting;
        }
        session.up = true;
        Kept::Complete(std::mem::take(&mut session.kept))
    }

    /// The other side has closed a link in order: it says farewell, and closes the others too. What
    /// comes over those is still wanted.
    pub(super) fn part(&mut self, number: u64) -> Parted {
        let session = self.sessions.values_mut().find(|session| session.number == number);
        let Some(session) = session else { return Parted::All };
        session.parted += 1;
        match session.parted {
            parted if parted >= session.links => Parted::All,
            1 => Parted::First,
            _ => Parted::Some,
        }
    }

    /// How many connections of a session have come.
    pub(super) fn progress(&self, number: u64) -> Option<usize> {
        let session = self.by_number(number)?;
        Some(if session.up { session.links as usize } else { session.kept.len() })
    }

    /// Ends a session.
    pub(super) fn end(&mut self, number: u64) -> Option<Session<C>> {
        let id = self.by_number(number)?.peer.node;
        self.sessions.remove(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Own {
        let id = NodeId::from_name("ann");
        Own { cluster: "test".into(), name: "ann".into(), id, incarnation: 10, workers: 2 }
    }

    fn hello(node: &str, incarnation: u64, workers: u32) -> Hello {
        Hello {
            cluster: "test".into(),
            node: node.into(),
            incarnation,
            workers,
            link: 0,
            endpoints: Vec::new(),
            datagrams: Vec::new(),
            datagram_token: 0,
            max_payload: 1024,
        }
    }

    fn sessions() -> Sessions<char> {
        Sessions::new(own(), 2)
    }

    fn open(sessions: &mut Sessions<char>, hello: &Hello) -> Result<Opened<char>, Refusal> {
        let id = sessions.check(hello)?;
        sessions.open(Dialer::Them, id, hello, 7)
    }

    #[test]
    fn a_session_is_up_when_all_its_connections_have_come_in_any_order() {
        let mut sessions = sessions();
        let Opened { number, links, replaced } = open(&mut sessions, &hello("bob", 1, 3)).unwrap();
        assert_eq!((links, replaced.is_none()), (3, true));
        assert_eq!(sessions.keep(number, 0, 'a'), Kept::Waiting);
        assert_eq!(sessions.keep(number, 2, 'c'), Kept::Waiting);
        assert!(!sessions.by_number(number).unwrap().is_up());
        let all = BTreeMap::from([(0, 'a'), (1, 'b'), (2, 'c')]);
        assert_eq!(sessions.keep(number, 1, 'b'), Kept::Complete(all));
        assert!(sessions.by_number(number).unwrap().is_up());
        assert_eq!(sessions.keep(number, 1, 'x'), Kept::TooLate);
    }

    #[test]
    fn a_session_parts_when_its_last_link_does() {
        let mut sessions = sessions();
        let number = open(&mut sessions, &hello("bob", 1, 3)).unwrap().number;
        let parted = [0; 3].map(|_| sessions.part(number));
        assert_eq!(parted, [Parted::First, Parted::Some, Parted::All]);
        sessions.end(number);
        assert_eq!(sessions.part(number), Parted::All);
    }

    #[test]
    fn a_later_life_replaces_an_earlier_one_and_never_the_other_way_round() {
        let mut sessions = sessions();
        let first = open(&mut sessions, &hello("bob", 5, 1)).unwrap();
        assert!(matches!(open(&mut sessions, &hello("bob", 4, 1)), Err(Refusal::Superseded)));
        assert!(matches!(open(&mut sessions, &hello("bob", 5, 1)), Err(Refusal::Duplicate { .. })));
        let second = open(&mut sessions, &hello("bob", 6, 1)).unwrap();
        assert_eq!(second.replaced.map(|old| old.number), Some(first.number));
        assert_eq!(sessions.keep(first.number, 0, 'a'), Kept::TooLate);
        assert!(sessions.end(first.number).is_none());
        assert!(sessions.end(second.number).is_some());
    }

    #[test]
    fn strangers_namesakes_and_the_node_itself_are_refused() {
        let mut sessions = sessions();
        let refused = |hello: Hello| sessions.check(&hello).unwrap_err();
        assert_eq!(refused(hello("ann", 10, 1)), Refusal::Itself);
        assert_eq!(refused(hello("ann", 11, 1)), Refusal::NameTaken);
        assert_eq!(refused(hello("bob", 1, 0)), Refusal::Unavailable);
        assert_eq!(refused(hello("bob", 1, 257)), Refusal::Unavailable);
        let other = Hello { cluster: "prod".into(), ..hello("bob", 1, 1) };
        assert_eq!(refused(other), Refusal::OtherCluster);
        open(&mut sessions, &hello("bob", 1, 1)).unwrap();
        open(&mut sessions, &hello("cy", 1, 1)).unwrap();
        assert_eq!(sessions.check(&hello("dan", 1, 1)), Err(Refusal::Unavailable));
        assert!(sessions.check(&hello("bob", 2, 1)).is_ok());
    }

    #[test]
    fn a_connection_is_expected_once_by_the_session_that_the_other_node_opened() {
        let mut sessions = sessions();
        let bob = hello("bob", 1, 2);
        let id = sessions.check(&bob).unwrap();
        let link = |link| Hello { link, ..bob.clone() };
        assert_eq!(sessions.expecting(id, &link(1)).unwrap_err(), sessions.duplicate());
        let number = open(&mut sessions, &bob).unwrap().number;
        assert_eq!(sessions.expecting(id, &link(1)).unwrap().number, number);
        assert_eq!(sessions.expecting(id, &link(2)).unwrap_err(), sessions.duplicate());
        let later = Hello { incarnation: 2, ..link(1) };
        assert_eq!(sessions.expecting(id, &later).unwrap_err(), sessions.duplicate());
        sessions.keep(number, 1, 'b');
        assert_eq!(sessions.expecting(id, &link(1)).unwrap_err(), sessions.duplicate());
    }
}
