//! Which endpoints a node dials: pure book-keeping, without input or output.
//!
//! A node was told to join some endpoints: those it dials as long as it runs, whenever the node there
//! is not connected. Of others it learns from the nodes that it is connected to; those it forgets when
//! they could not be reached for long.

use std::{collections::BTreeMap, time::Duration};

use annulus_codec::address::NodeId;
use annulus_transport::{driver::Mono, endpoint::Endpoint};

/// How long a node that was learnt of is dialled in vain before it is forgotten.
const FORGET_AFTER: Duration = Duration::from_hours(24);

/// After this time in vain the pauses between two attempts to reach a node that was learnt of grow
/// beyond what is usual.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many times as long they get at most.
const SLOWER: u32 = 30;

/// Something to dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// What this node was told to join.
    Endpoint(Endpoint),
    /// A node that another one spoke of.
    Node(NodeId),
}

#[derive(Debug, Default)]
struct State {
    /// The endpoints of the node, to be tried one after the other.
    endpoints: Vec<Endpoint>,
    /// Attempts so far.
    attempts: usize,
    /// Whether a task is at it.
    dialing: bool,
    /// The endpoint that a connection stands to, with the handshake under way.
    shaking: Option<Endpoint>,
    /// The node that is there.
    node: Option<NodeId>,
    /// Since when it has been dialled in vain.
    failing_since: Option<Mono>,
    /// The pause before the next attempt.
    pause: Option<Duration>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Targets {
    targets: BTreeMap<Target, State>,
    max: usize,
    /// The first and the longest pause between two attempts.
    pauses: (Duration, Duration),
}

impl Targets {
    pub(super) fn new(joins: &[Endpoint], max: usize, pauses: (Duration, Duration)) -> Self {
        let join = |endpoint: &Endpoint| {
            let state = State { endpoints: vec![endpoint.clone()], ..State::default() };
            (Target::Endpoint(endpoint.clone()), state)
        };
        Targets { targets: joins.iter().map(join).collect(), max, pauses }
    }

    /// Another node spoke of this one. What is known of it already is replaced.
    pub(super) fn learn(&mut self, node: NodeId, endpoints: Vec<Endpoint>) {
        if endpoints.is_empty() {
            return;
        }
        let target = Target::Node(node);
        if self.targets.len() >= self.max && !self.targets.contains_key(&target) {
            self.forget_longest_lost();
        }
        if self.targets.len() < self.max || self.targets.contains_key(&target) {
            let state = self.targets.entry(target).or_default();
            state.node = Some(node);
            // What has been said before is no news.
            if state.endpoints != endpoints {
                state.endpoints = endpoints;
                state.failing_since = None;
                state.pause = None;
            }
        }
    }

    /// Makes room by forgetting the node that has been dialled in vain for longest.
    fn forget_longest_lost(&mut self) {
        let lost = self.targets.iter().filter(|(target, state)| {
            matches!(target, Target::Node(_)) && state.failing_since.is_some()
        });
        let longest = lost.min_by_key(|(_, state)| state.failing_since);
        if let Some(target) = longest.map(|(target, _)| target.clone()) {
            self.targets.remove(&target);
        }
    }

    /// Starts with all that are to be dialled now: whose node is not connected, nor dialled already.
    pub(super) fn begin(&mut self, connected: impl Fn(NodeId) -> bool) -> Vec<Target> {
        let mut due = Vec::new();
        for (target, state) in &mut self.targets {
            if !state.dialing && !state.node.is_some_and(&connected) {
                state.dialing = true;
                due.push(target.clone());
            }
        }
        due
    }

    /// The endpoint to try next; `None` if the target has been forgotten.
    pub(super) fn next_endpoint(&mut self, target: &Target) -> Option<Endpoint> {
        let state = self.targets.get_mut(target)?;
        let endpoint = state.endpoints.get(state.attempts % state.endpoints.len().max(1)).cloned();
        state.attempts = state.attempts.wrapping_add(1);
        endpoint
    }

    /// The connection to an endpoint of a target stands.
    pub(super) fn shaking(&mut self, target: &Target, endpoint: &Endpoint) {
        if let Some(state) = self.targets.get_mut(target) {
            state.shaking = Some(endpoint.clone());
        }
    }

    /// It is known which node is at the endpoint that was tried.
    pub(super) fn answered(&mut self, target: &Target, node: NodeId) {
        match target {
            Target::Node(meant) if *meant != node => self.misled(target),
            _ => {
                if let Some(state) = self.targets.get_mut(target) {
                    state.node = Some(node);
                }
            }
        }
    }

    /// Not the node that is meant is at the endpoint that was tried. There it is dialled no more: somebody may
    /// have made it up, and such targets must not take the places of others.
    pub(super) fn misled(&mut self, target: &Target) {
        let Some(state) = self.targets.get_mut(target) else { return };
        if let Some(tried) = state.shaking.take() {
            state.endpoints.retain(|endpoint| *endpoint != tried);
        }
        if state.endpoints.is_empty() {
            self.targets.remove(target);
        }
    }

    /// Whether a handshake is under way with a node, as far as can be said: by its number, or by an
    /// endpoint that it says is its own.
    pub(super) fn is_shaking_with(&self, node: NodeId, endpoints: &[String]) -> bool {
        let theirs: Vec<Endpoint> =
            endpoints.iter().filter_map(|text| Endpoint::parse_numeric(text)).collect();
        self.targets.values().any(|state| {
            let shaking = state.shaking.as_ref();
            shaking.is_some_and(|at| state.node == Some(node) || theirs.contains(at))
        })
    }

    /// An attempt has come to its end. Returns how long to wait before the next one; `None` if there
    /// is to be none, because the node is connected or the target forgotten.
    pub(super) fn ended(
        &mut self,
        target: &Target,
        succeeded: bool,
        now: Mono,
        connected: impl Fn(NodeId) -> bool,
    ) -> Option<Duration> {
        let (first, longest) = self.pauses;
        let state = self.targets.get_mut(target)?;
        state.shaking = None;
        if succeeded || state.node.is_some_and(connected) {
            // Somebody else may have brought the node in meanwhile.
            state.dialing = false;
            state.failing_since = None;
            state.pause = None;
            return None;
        }
        let since = *state.failing_since.get_or_insert(now);
        let in_vain = now.since(since);
        let learnt = matches!(target, Target::Node(_));
        if learnt && in_vain > FORGET_AFTER {
            self.targets.remove(target);
            return None;
        }
        let slower = learnt && in_vain > PATIENCE;
        let most = if slower { longest.saturating_mul(SLOWER) } else { longest };
        let pause = state.pause.map_or(first, |pause| pause.saturating_mul(2)).min(most);
        state.pause = Some(pause);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

    fn endpoint(port: u16) -> Endpoint {
        format!("tcp://127.0.0.1:{port}").parse().unwrap()
    }

    fn node(name: &str) -> NodeId {
        NodeId::from_name(name)
    }

    fn at(seconds: u64) -> Mono {
        Mono(0).after(Duration::from_secs(seconds))
    }

    #[test]
    fn a_join_is_dialled_until_its_node_is_connected_and_again_when_it_is_lost() {
        let mut targets = Targets::new(&[endpoint(1)], 4, PAUSES);
        let join = Target::Endpoint(endpoint(1));
        assert_eq!(targets.begin(|_| false), std::slice::from_ref(&join));
        assert_eq!(targets.begin(|_| false), [], "one task for each target");
        assert_eq!(targets.ended(&join, false, at(0), |_| false), Some(PAUSES.0));
        assert_eq!(targets.ended(&join, false, at(0), |_| false), Some(PAUSES.0 * 2));
        targets.answered(&join, node("bob"));
        assert_eq!(targets.ended(&join, true, at(1), |_| true), None);
        assert_eq!(targets.begin(|id| id == node("bob")), []);
        assert_eq!(targets.begin(|_| false), [join]);
    }

    #[test]
    fn all_endpoints_of_a_node_are_tried_in_turn_and_news_replace_them() {
        let mut targets = Targets::new(&[], 4, PAUSES);
        let bob = Target::Node(node("bob"));
        targets.learn(node("bob"), vec![endpoint(1), endpoint(2)]);
        let tried: Vec<_> = (0..3).filter_map(|_| targets.next_endpoint(&bob)).collect();
        assert_eq!(tried, [endpoint(1), endpoint(2), endpoint(1)]);
        targets.learn(node("bob"), vec![endpoint(3)]);
        assert_eq!(targets.next_endpoint(&bob), Some(endpoint(3)));
    }

    #[test]
    fn what_was_learnt_is_forgotten_after_a_day_in_vain_and_a_join_never() {
        let mut targets = Targets::new(&[endpoint(1)], 4, PAUSES);
        targets.learn(node("bob"), vec![endpoint(2)]);
        let (join, bob) = (Target::Endpoint(endpoint(1)), Target::Node(node("bob")));
        for target in [&join, &bob] {
            assert!(targets.ended(target, false, at(0), |_| false).is_some());
        }
        let day = 24 * 3600 + 1;
        let mut longest = |target, seconds| {
            let pauses =
                (0..20).filter_map(|_| targets.ended(target, false, at(seconds), |_| false));
            pauses.max()
        };
        assert_eq!(longest(&bob, 61), Some(PAUSES.1 * SLOWER));
        assert_eq!(longest(&join, day), Some(PAUSES.1));
        assert_eq!(targets.ended(&bob, false, at(day), |_| false), None);
        assert_eq!(targets.next_endpoint(&bob), None);
    }

    #[test]
    fn when_there_are_too_many_the_longest_lost_one_makes_room() {
        let mut targets = Targets::new(&[endpoint(1)], 3, PAUSES);
        for (name, port) in [("bob", 2), ("cy", 3)] {
            targets.learn(node(name), vec![endpoint(port)]);
        }
        targets.learn(node("dan"), vec![endpoint(4)]);
        assert_eq!(targets.next_endpoint(&Target::Node(node("dan"))), None, "nobody is lost");
        targets.ended(&Target::Node(node("cy")), false, at(1), |_| false);
        targets.ended(&Target::Node(node("bob")), false, at(2), |_| false);
        targets.learn(node("dan"), vec![endpoint(4)]);
        assert!(targets.next_endpoint(&Target::Node(node("dan"))).is_some());
        assert_eq!(targets.next_endpoint(&Target::Node(node("cy"))), None);
    }

    #[test]
    fn where_somebody_else_answers_a_node_is_dialled_no_more() {
        let mut targets = Targets::new(&[endpoint(1)], 3, PAUSES);
        let (join, bob) = (Target::Endpoint(endpoint(1)), Target::Node(node("bob")));
        targets.learn(node("bob"), vec![endpoint(1), endpoint(2)]);
        for target in [&join, &bob] {
            targets.shaking(target, &endpoint(1));
            targets.answered(target, node("ann"));
        }
        assert_eq!(targets.next_endpoint(&join), Some(endpoint(1)), "whoever is there is meant");
        assert_eq!(targets.next_endpoint(&bob), Some(endpoint(2)));
        targets.shaking(&bob, &endpoint(2));
        targets.misled(&bob);
        assert_eq!(targets.next_endpoint(&bob), None);
        assert!(!targets.begin(|_| false).contains(&bob));
    }

    #[test]
    fn what_is_said_again_does_not_hurry_anybody() {
        let mut targets = Targets::new(&[], 3, PAUSES);
        let bob = Target::Node(node("bob"));
        targets.learn(node("bob"), vec![endpoint(1)]);
        let pause = |targets: &mut Targets| targets.ended(&bob, false, at(1), |_| false);
        assert_eq!(pause(&mut targets), Some(PAUSES.0));
        targets.learn(node("bob"), vec![endpoint(1)]);
        assert_eq!(pause(&mut targets), Some(PAUSES.0 * 2));
        targets.learn(node("bob"), vec![endpoint(2)]);
        assert_eq!(pause(&mut targets), Some(PAUSES.0));
    }

    #[test]
    fn a_handshake_with_a_node_is_known_by_its_number_or_its_endpoint() {
        let mut targets = Targets::new(&[endpoint(1)], 3, PAUSES);
        let join = Target::Endpoint(endpoint(1));
        let says = ["tcp://127.0.0.1:1".to_owned()];
        assert!(!targets.is_shaking_with(node("bob"), &says));
        targets.shaking(&join, &endpoint(1));
        assert!(targets.is_shaking_with(node("bob"), &says));
        assert!(!targets.is_shaking_with(node("bob"), &[]));
        targets.answered(&join, node("bob"));
        assert!(targets.is_shaking_with(node("bob"), &[]));
    }
}
