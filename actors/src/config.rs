//! The bounds of a node, all in one place.

use std::time::Duration;

use annulus_codec::{
    address::MAX_ACTORS,
    chunk::{CHUNK_ALIGN, DEFAULT_CHUNK_SIZE, MAX_CHUNK},
    frame::DEFAULT_MAX_PAYLOAD,
    outbox::OutboxLimits,
};

/// Every bound of a node's queues, memory, tables and times. The defaults suit a server with a few GiB
/// of memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a chunk of message memory.
    pub chunk_size: usize,
    /// Chunks that a worker keeps for later use.
    pub free_chunks: usize,
    /// Bytes of message memory that a worker may hold at the same time.
    pub message_memory: usize,
    /// The largest payload of a message, in bytes.
    pub max_payload: usize,
    /// Bytes that may wait for one destination: the worker itself, another worker, or another node.
    pub queue_bytes: usize,
    /// Bytes that may wait for another node before its link is cut: answers go past `queue_bytes`.
    pub link_bytes: usize,
    /// Actors on one worker.
    pub actors: usize,
    /// Chunks on their way between two workers.
    pub lane_chunks: usize,
    /// How long an ask takes at most if it has no limit of its own.
    pub ask_timeout: Duration,
    /// How long a handler may run without an `.await` that waits before it is reported in the log.
    pub slow_handler: Duration,
    /// How often an idle link shows that it is alive.
    pub heartbeat: Duration,
    /// After how long a silence a link counts as lost.
    pub silence: Duration,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// Handshakes at the same time; connections beyond that are closed at once.
    pub handshakes: usize,
    /// Other nodes.
    pub peers: usize,
    /// Names that a node gives to actors.
    pub names: usize,
    /// Watches that the actors of a worker have open, and watchers that they have.
    pub watches: usize,
    /// The first and the longest pause between two attempts to connect.
    pub reconnect: (Duration, Duration),
    /// The largest datagram that is sent, in bytes, all headers included.
    pub max_datagram: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            chunk_size: DEFAULT_CHUNK_SIZE,
            free_chunks: 64,
            message_memory: 1 << 30,
            max_payload: DEFAULT_MAX_PAYLOAD,
            queue_bytes: 16 << 20,
            link_bytes: 256 << 20,
            actors: MAX_ACTORS,
            lane_chunks: 64,
            ask_timeout: Duration::from_secs(30),
            slow_handler: Duration::from_millis(15),
            heartbeat: Duration::from_secs(1),
            silence: Duration::from_secs(4),
            handshake: Duration::from_secs(5),
            handshakes: 64,
            peers: 255,
            names: 65_536,
            watches: 1 << 20,
            reconnect: (Duration::from_millis(50), Duration::from_secs(1)),
            max_datagram: 65_000,
        }
    }
}

/// Payloads of at least this many bytes are passed on by reference instead of being copied.
const BY_REFERENCE_FROM: usize = 4096;

impl Limits {
    /// Looks for limits that make no sense. The text names the first one.
    pub(crate) fn check(&self) -> Result<(), String> {
        let chunk = self.chunk_size;
        if !(CHUNK_ALIGN..=MAX_CHUNK).contains(&chunk) || !chunk.is_multiple_of(CHUNK_ALIGN) {
            return Err(format!(
                "chunk_size is {chunk}: a multiple of {CHUNK_ALIGN}, {MAX_CHUNK} at most"
            ));
        }
        let bounds: [(&str, usize, usize, usize); 9] = [
            ("message_memory", self.message_memory, chunk, usize::MAX),
            ("max_payload", self.max_payload, 1024, MAX_CHUNK / 4),
            ("queue_bytes", self.queue_bytes, 1, usize::MAX),
            ("link_bytes", self.link_bytes, 1, usize::MAX),
            ("actors", self.actors, 4, MAX_ACTORS),
            ("lane_chunks", self.lane_chunks, 1, 1 << 20),
            ("handshakes", self.handshakes, 1, 1 << 16),
            ("peers", self.peers, 1, 1 << 16),
            ("max_datagram", self.max_datagram, 512, 65_507),
        ];
        match bounds.iter().find(|(_, value, least, most)| !(least..=most).contains(&value)) {
            Some((name, value, least, most)) => {
                Err(format!("{name} is {value}: between {least} and {most}"))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn outbox(&self) -> OutboxLimits {
        OutboxLimits {
            bytes: self.queue_bytes,
            max_payload: self.max_payload,
            by_reference_from: BY_REFERENCE_FROM,
        }
    }

    /// The most message memory that the node can hold, in bytes.
    pub(crate) fn memory_in_all(&self, workers: usize) -> usize {
        self.message_memory.saturating_mul(workers)
    }
}
