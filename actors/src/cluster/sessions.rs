//! The sessions of a node: pure book-keeping, without input or output.
//!
//! The connections between two lives of two nodes form a *session*: one link for each worker, as many
//! as the node with more workers has. The connections are kept until all of them have come; then all
//! become links at the same time, so that a message never arrives where its answer has no way back.
//!
//! A session that has had links is over when all workers have handled what came in it. Until then there
//! is none with that node that could overtake it.

use std::collections::BTreeMap;

use annulus_codec::{
    address::{MAX_WORKERS, NodeId},
    handshake::{Hello, Refusal},
    hash::{fold32, join64},
};

use crate::{
    delivery::Peer,
    planted::{Bug, planted},
    session::Binding,
};

/// How many nodes are remembered with which there have been sessions.
const MET_MAX: usize = 1 << 16;

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
    pub(super) binding: Binding,
    /// How many links there are to be.
    pub(super) links: u32,
    /// What datagrams from the node have to carry.
    pub(super) token: u64,
    /// The connections that have come, until all have.
    kept: BTreeMap<u32, C>,
    stage: Stage,
    /// Links that the other side has closed in order.
    parted: u32,
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Connections are still to come.
    Gathering,
    /// All have come, and so many are still to become links.
    Attaching(u32),
    Up,
}

impl<C> Session<C> {
    pub(super) fn peer(&self) -> Peer {
        self.binding.peer
    }

    pub(super) fn is_up(&self) -> bool {
        self.stage == Stage::Up
    }

    /// Whether workers may have links of it.
    pub(super) fn has_links(&self) -> bool {
        self.stage != Stage::Gathering
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
    /// These are all: they are to become links.
    Complete(BTreeMap<u32, C>),
}

/// How many links of a session have been closed in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parted {
    First,
    Some,
    All,
}

/// A session that has ended and is not over.
#[derive(Debug)]
struct Ending {
    node: NodeId,
    /// Workers that still have something of it to handle.
    workers: u32,
}

/// The last life of a node that there have been sessions with.
#[derive(Debug)]
struct Met {
    incarnation: u64,
    /// How many have had links.
    sessions: u64,
}

/// See the [module](self).
pub(super) struct Sessions<C> {
    own: Own,
    max: usize,
    sessions: BTreeMap<NodeId, Session<C>>,
    /// By number.
    ending: BTreeMap<u64, Ending>,
    met: BTreeMap<NodeId, Met>,
    last: u64,
}

impl<C> Sessions<C> {
    pub(super) fn new(own: Own, max: usize) -> Self {
        Sessions {
            own,
            max,
            sessions: BTreeMap::new(),
            ending: BTreeMap::new(),
            met: BTreeMap::new(),
            last: 0,
        }
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
                && !session.has_links()
                && session.hello.incarnation == hello.incarnation
                && hello.link < session.links
                && !session.kept.contains_key(&hello.link)
        });
        session.ok_or(self.duplicate())
    }

    /// The session with an earlier life of a node, if it has to end before there can be another one.
    pub(super) fn outlived(&self, id: NodeId, hello: &Hello) -> Option<u64> {
        let old = self.sessions.get(&id).filter(|old| old.has_links())?;
        (old.hello.incarnation < hello.incarnation).then_some(old.number)
    }

    /// Whether a session with a node has ended and is not over.
    pub(super) fn is_ending(&self, id: NodeId) -> bool {
        self.ending.values().any(|ending| ending.node == id)
    }

    /// Starts a session. One with an earlier life of the node that has no links yet makes room for it.
    /// Returns its number, and how many links it has.
    pub(super) fn open(
        &mut self,
        dialer: Dialer,
        id: NodeId,
        hello: &Hello,
        token: u64,
    ) -> Result<(u64, u32), Refusal> {
        let replaces =
            |old: &Session<C>| !old.has_links() && old.hello.incarnation < hello.incarnation;
        if self.sessions.get(&id).is_some_and(|old| !replaces(old)) || self.is_ending(id) {
            return Err(self.duplicate());
        }
        self.last += 1;
        let (number, links) = (self.last, hello.workers.max(self.own.workers));
        let before = self.sessions_with(id, hello.incarnation);
        let session = Session {
            number,
            dialer,
            hello: hello.clone(),
            binding: Binding {
                peer: Peer::new(id, fold32(join64(hello.incarnation, before))),
                life: fold32(hello.incarnation),
                first: before == 0,
            },
            links,
            token,
            kept: BTreeMap::new(),
            stage: Stage::Gathering,
            parted: 0,
        };
        self.sessions.insert(id, session);
        Ok((number, links))
    }

    /// How many sessions with this life of a node have had links.
    fn sessions_with(&self, id: NodeId, incarnation: u64) -> u64 {
        let met = self.met.get(&id).filter(|met| met.incarnation == incarnation);
        met.map_or(0, |met| if planted(Bug::OldReferences) { 0 } else { met.sessions })
    }

    /// A session with a node gets links.
    fn meet(&mut self, id: NodeId, incarnation: u64) {
        if self.met.len() >= MET_MAX && !self.met.contains_key(&id) {
            let sessions = &self.sessions;
            let absent = self.met.keys().find(|met| !sessions.contains_key(met)).copied();
            absent.and_then(|absent| self.met.remove(&absent));
        }
        let met = self.met.entry(id).or_insert(Met { incarnation, sessions: 0 });
        if met.incarnation != incarnation {
            *met = Met { incarnation, sessions: 0 };
        }
        met.sessions += 1;
    }

    /// Keeps a connection that has passed its handshake until all of its session have come.
    pub(super) fn keep(&mut self, number: u64, link: u32, connection: C) -> Kept<C> {
        let session = self.sessions.values_mut().find(|session| session.number == number);
        let Some(session) = session.filter(|session| !session.has_links()) else {
            return Kept::TooLate;
        };
        session.kept.insert(link, connection);
        if session.kept.len() < session.links as usize {
            return Kept::Waiting;
        }
        session.stage = Stage::Attaching(session.links);
        let (kept, id) = (std::mem::take(&mut session.kept), session.peer().node());
        let incarnation = session.hello.incarnation;
        self.meet(id, incarnation);
        Kept::Complete(kept)
    }

    /// One of the connections has become a link. Returns whether the session is up by that.
    pub(super) fn attached(&mut self, number: u64) -> bool {
        let session = self.sessions.values_mut().find(|session| session.number == number);
        let Some(session) = session else { return false };
        session.stage = match session.stage {
            Stage::Attaching(missing) if missing > 1 => Stage::Attaching(missing - 1),
            _ => Stage::Up,
        };
        session.is_up()
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
        Some(if session.has_links() { session.links as usize } else { session.kept.len() })
    }

    /// Ends a session. If it has links, it is over when all workers have [said so](Self::emptied).
    pub(super) fn end(&mut self, number: u64) -> Option<Session<C>> {
        let node = self.by_number(number)?.peer().node();
        let session = self.sessions.remove(&node)?;
        if session.has_links() {
            self.ending.insert(number, Ending { node, workers: self.own.workers });
        }
        Some(session)
    }

    /// A worker has handled all of a session that has ended. Returns whether it is over by that.
    pub(super) fn emptied(&mut self, number: u64) -> bool {
        let Some(ending) = self.ending.get_mut(&number) else { return false };
        ending.workers -= 1;
        let over = ending.workers == 0;
        if over {
            self.ending.remove(&number);
        }
        over
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

    fn open(sessions: &mut Sessions<char>, hello: &Hello) -> Result<(u64, u32), Refusal> {
        let id = sessions.check(hello)?;
        sessions.open(Dialer::Them, id, hello, 7)
    }

    #[test]
    fn a_session_is_up_when_all_its_connections_have_come_in_any_order() {
        let mut sessions = sessions();
        let (number, links) = open(&mut sessions, &hello("bob", 1, 3)).unwrap();
        assert_eq!(links, 3);
        assert_eq!(sessions.keep(number, 0, 'a'), Kept::Waiting);
        assert_eq!(sessions.keep(number, 2, 'c'), Kept::Waiting);
        assert!(!sessions.by_number(number).unwrap().is_up());
        let all = BTreeMap::from([(0, 'a'), (1, 'b'), (2, 'c')]);
        assert_eq!(sessions.keep(number, 1, 'b'), Kept::Complete(all));
        assert!(!sessions.by_number(number).unwrap().is_up());
        assert_eq!([0; 3].map(|_| sessions.attached(number)), [false, false, true]);
        assert!(sessions.by_number(number).unwrap().is_up());
        assert_eq!(sessions.keep(number, 1, 'x'), Kept::TooLate);
    }

    #[test]
    fn a_session_parts_when_its_last_link_does() {
        let mut sessions = sessions();
        let number = open(&mut sessions, &hello("bob", 1, 3)).unwrap().0;
        let parted = [0; 3].map(|_| sessions.part(number));
        assert_eq!(parted, [Parted::First, Parted::Some, Parted::All]);
        sessions.end(number);
        assert_eq!(sessions.part(number), Parted::All);
    }

    #[test]
    fn a_later_life_replaces_an_earlier_one_and_never_the_other_way_round() {
        let mut sessions = sessions();
        let (first, _) = open(&mut sessions, &hello("bob", 5, 1)).unwrap();
        assert!(matches!(open(&mut sessions, &hello("bob", 4, 1)), Err(Refusal::Superseded)));
        assert!(matches!(open(&mut sessions, &hello("bob", 5, 1)), Err(Refusal::Duplicate { .. })));
        let (second, _) = open(&mut sessions, &hello("bob", 6, 1)).unwrap();
        assert_eq!(sessions.keep(first, 0, 'a'), Kept::TooLate);
        assert!(sessions.end(first).is_none());
        assert!(sessions.end(second).is_some());
    }

    #[test]
    fn a_session_that_had_links_is_over_before_the_next_one_begins() {
        let mut sessions = sessions();
        let (bob, later) = (hello("bob", 5, 1), hello("bob", 6, 1));
        let id = sessions.check(&bob).unwrap();
        let (first, _) = open(&mut sessions, &bob).unwrap();
        sessions.keep(first, 0, 'a');
        assert_eq!(sessions.outlived(id, &later), None, "it has no links");
        sessions.keep(first, 1, 'b');
        assert_eq!(sessions.outlived(id, &bob), None);
        assert_eq!(sessions.outlived(id, &later), Some(first));
        assert_eq!(open(&mut sessions, &later), Err(sessions.duplicate()));
        sessions.end(first);
        assert!(sessions.is_ending(id));
        assert_eq!(open(&mut sessions, &later), Err(sessions.duplicate()));
        assert!(!sessions.emptied(first), "ann has two workers");
        assert!(sessions.emptied(first));
        assert!(!sessions.is_ending(id));
        assert!(open(&mut sessions, &later).is_ok());
    }

    #[test]
    fn each_session_with_a_life_of_a_node_that_had_links_has_a_tag_of_its_own() {
        let mut sessions = sessions();
        let mut tag = |incarnation, complete| {
            let (number, links) = open(&mut sessions, &hello("bob", incarnation, 2)).unwrap();
            let session = sessions.by_number(number).unwrap();
            let tag = (session.peer().tag(), session.binding.first);
            for link in 0..if complete { links } else { 1 } {
                sessions.keep(number, link, 'x');
            }
            sessions.end(number);
            sessions.emptied(number);
            sessions.emptied(number);
            tag
        };
        let tried = tag(5, false);
        let tags = [tag(5, true), tag(5, true), tag(5, true), tag(6, true)];
        assert_eq!(tried, tags[0], "it never had links");
        assert_eq!(tags.map(|(_, first)| first), [true, false, false, true]);
        let differ: std::collections::BTreeSet<u32> = tags.iter().map(|(tag, _)| *tag).collect();
        assert!(differ.len() == 4 && !differ.contains(&fold32(5)));
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
        let (number, _) = open(&mut sessions, &bob).unwrap();
        assert_eq!(sessions.expecting(id, &link(1)).unwrap().number, number);
        assert_eq!(sessions.expecting(id, &link(2)).unwrap_err(), sessions.duplicate());
        let later = Hello { incarnation: 2, ..link(1) };
        assert_eq!(sessions.expecting(id, &later).unwrap_err(), sessions.duplicate());
        sessions.keep(number, 1, 'b');
        assert_eq!(sessions.expecting(id, &link(1)).unwrap_err(), sessions.duplicate());
    }
}
