//! P10: however much more is sent than is handled, memory is bounded. `src/bin/flat.rs` does the same for a
//! billion messages.
#![allow(missing_docs, reason = "tests are named after what they show")]

use annulus::{Limits, MailboxLimits};
use annulus_tests::flat::Load;

/// Without bounds, half of the messages of one way would take more than twice what is allowed.
const MESSAGES: u64 = 8 * 2_000_000;

/// Bytes of a message with its header.
const EACH: u64 = 64;

#[test]
fn p10_memory_is_bounded_in_each_way_to_meet_a_full_mailbox() {
    let limits = Limits::default();
    let lane = limits.lane_chunks * limits.chunk_size;
    let mailbox = MailboxLimits::DEFAULT.messages as u64 * EACH;
    let messages_max = (limits.queue_bytes + lane) as u64 + mailbox;
    for load in Load::all(MESSAGES) {
        let report = load.run(|_| ());
        let grown = report.peak.resident - report.start.resident;
        let held = report.peak.message_memory;
        println!("{load:?}: {held} bytes of messages at most, {grown} bytes more than before");
        assert!(held <= messages_max, "{load:?}: {held} > {messages_max}");
        assert!(grown <= 2 * messages_max, "{load:?}: {grown} > {}", 2 * messages_max);
    }
}
