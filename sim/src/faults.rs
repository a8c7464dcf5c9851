//! What can go wrong in a world, and how often.

use std::time::Duration;

use crate::random::Random;

/// How often things go wrong, and how long they take. Rates are probabilities, from 0 to 1. The default
/// is a world in which nothing goes wrong, but nothing is exact either.
#[derive(Clone, Debug)]
pub struct Faults {
    /// How long bytes are under way between two hosts.
    pub latency: (Duration, Duration),
    /// How long a worker is busy with a turn.
    pub turn: (Duration, Duration),
    /// Turns that take up to a hundred times as long.
    pub slow_turn: f64,
    /// How long an operation takes in the kernel.
    pub operation: (Duration, Duration),
    /// Segments of a stream that are lost, and sent again after a while; datagrams that are lost.
    pub loss: f64,
    /// Datagrams that arrive twice.
    pub duplicate: f64,
    /// Datagrams that are overtaken by later ones.
    pub reorder: f64,
    /// Segments of a stream, and datagrams, of which one bit or a run of bytes is changed on the way from
    /// one host to another, and no checksum sees it.
    pub corrupt: f64,
    /// Segments after which the connection is reset.
    pub reset: f64,
    /// Receives and sends that take less than they could.
    pub short: f64,
    /// Bytes of a stream that may be under way or unread before its sender waits.
    pub window: usize,
    /// Bytes of datagrams that wait at a socket before more are dropped.
    pub datagram_room: usize,
    /// Connections that cannot be accepted, for want of descriptors.
    pub accept_error: f64,
    /// Attempts to connect that are refused though somebody listens.
    pub connect_error: f64,
    /// Operations that fail for want of memory.
    pub no_memory: f64,
    /// Dropped receives that take bytes with them.
    pub lost_receive: f64,
    /// Doorbells that ring late, by up to a millisecond.
    pub late_bell: f64,
    /// How far a host's clock may run fast or slow, in parts per million.
    pub drift: u64,
    /// What goes wrong with disks.
    pub disk: DiskFaults,
}

/// How often disks go wrong.
#[derive(Clone, Debug)]
pub struct DiskFaults {
    /// How long a read, write or sync takes.
    pub latency: (Duration, Duration),
    /// Operations that take a thousand times as long.
    pub stall: f64,
    /// Reads that fail with EIO.
    pub read_error: f64,
    /// Writes that fail with EIO.
    pub write_error: f64,
    /// Writes that write less than they were given.
    pub short_write: f64,
    /// Syncs that fail. What was to be made durable is lost, and later syncs say nothing of it.
    pub sync_error: f64,
    /// Syncs that say that they have made durable what they have not.
    pub lying_sync: f64,
    /// Writes that go to another place of the same file.
    pub misdirected: f64,
    /// Reads of which one bit has rotted, for good.
    pub rot: f64,
    /// Bytes on a disk.
    pub capacity: u64,
}

const fn micros(least: u64, most: u64) -> (Duration, Duration) {
    (Duration::from_micros(least), Duration::from_micros(most))
}

impl Default for Faults {
    fn default() -> Self {
        Faults {
            latency: micros(50, 500),
            turn: micros(1, 20),
            slow_turn: 0.0,
            operation: micros(1, 10),
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            corrupt: 0.0,
            reset: 0.0,
            short: 0.05,
            window: 256 << 10,
            datagram_room: 1 << 20,
            accept_error: 0.0,
            connect_error: 0.0,
            no_memory: 0.0,
            lost_receive: 0.5,
            late_bell: 0.01,
            drift: 0,
            disk: DiskFaults::default(),
        }
    }
}

impl Default for DiskFaults {
    fn default() -> Self {
        DiskFaults {
            latency: micros(20, 200),
            stall: 0.0,
            read_error: 0.0,
            write_error: 0.0,
            short_write: 0.0,
            sync_error: 0.0,
            lying_sync: 0.0,
            misdirected: 0.0,
            rot: 0.0,
            capacity: 1 << 30,
        }
    }
}

impl Faults {
    /// A world whose faults are drawn: some kinds do not happen at all, others often, so that over many
    /// seeds all mixtures come up. Disks stay honest: syncs that fail or lie, misdirected writes and rot
    /// lose what has been promised to be durable, so a test turns on those that it means. Nor are bytes
    /// corrupted: no promise about content holds then.
    pub fn swarm(random: &mut Random) -> Self {
        let mut rate = |most: f64| {
            // A kind of fault that is always there hides what happens without it.
            if random.happens(0.5) { 0.0 } else { most * random.between(1, 1000) as f64 / 1000.0 }
        };
        let mut faults = Faults {
            slow_turn: rate(0.01),
            loss: rate(0.05),
            duplicate: rate(0.1),
            reorder: rate(0.3),
            reset: rate(0.002),
            short: rate(0.5),
            accept_error: rate(0.2),
            connect_error: rate(0.2),
            no_memory: rate(0.0005),
            late_bell: rate(0.2),
            ..Faults::default()
        };
        let slowest = random.between(100, 50_000);
        faults.latency = micros(20, slowest);
        faults.turn = micros(1, random.between(2, 100));
        faults.operation = micros(1, random.between(2, 100));
        faults.window = 1 << random.between(9, 20);
        faults.datagram_room = 1 << random.between(9, 20);
        faults.drift = [0, 100, 10_000][random.index(3)];
        let mut rate = |most: f64| if random.happens(0.5) { 0.0 } else { most };
        faults.disk.stall = rate(0.01);
        faults.disk.short_write = rate(0.2);
        faults.disk.write_error = rate(0.001);
        faults.disk.read_error = rate(0.02);
        faults
    }

    /// A world in which nothing goes wrong any more, with clocks that run as they did.
    pub fn healed(&self) -> Self {
        Faults { drift: self.drift, ..Faults::default() }
    }
}
