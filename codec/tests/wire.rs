//! What goes over the wire: the same bytes for ever, and nothing but what was written.

mod common;

use std::time::Duration;

use annulus_codec::{
    address::{Address, NodeId, Slot},
    archive::Archived,
    chunk::ChunkPool,
    extension::{ExtensionError, Extensions},
    frame::{FrameError, FrameReader, HEADER_LEN, Header, Kind, Prefix, scan},
    message::{Message, MessageId},
};
use common::*;
use proptest::prelude::*;

const KINDS: [Kind; 5] = [Kind::Tell, Kind::Ask, Kind::Reply, Kind::Failure, Kind::System];

fn all_extensions() -> Extensions {
    let address = |n| Address::new(NodeId::from_bits(n), 7, Slot::new(1, 2), 3);
    Extensions {
        remaining: Some(Duration::from_millis(50)),
        chain: [address(0x0a0b_0c0d), address(0x0102_0304)].into_iter().collect(),
        origin: Some((NodeId::from_bits(5), 6)),
    }
}

#[test]
fn p20_a_header_never_changes_silently() {
    let mut header = Header::new(
        Kind::Reply,
        Slot::new(0xab, 0x00cd_ef01),
        0x1122_3344,
        MessageId::from_bits(0x0102_0304_0506_0708),
        0xa1a2_a3a4_a5a6_a7a8,
    );
    header.payload_len = 0x0001_0203;
    header.extension_len = 0x0450;
    assert_eq!(
        hex(&header.to_wire()),
        "0302010003005004\
         01efcdab44332211\
         0807060504030201\
         a8a7a6a5a4a3a2a1"
    );
}

#[test]
fn p20_the_numbers_of_the_kinds_never_change() {
    let byte =
        |kind| Header::new(kind, Slot::new(0, 0), 0, MessageId::from_bits(0), 0).to_wire()[4];
    assert_eq!(KINDS.map(byte), [1, 2, 3, 4, 5]);
}

#[test]
fn p20_message_identities_never_change_silently() {
    assert_eq!(<() as Message>::ID.bits(), 0x3573_22a9_40c8_a072);
    assert_eq!(Text::ID.bits(), 0x3b6b_1feb_3b6b_1feb);
}

#[test]
fn p20_a_whole_frame_never_changes_silently() {
    let text = Text("a string that lies out of line".into());
    assert_eq!(
        hex(&wire_of(&text, &all_extensions())),
        "28000000020050000200000103000000eb1f6b3beb1f6b3b0900000000000000\
         010010000000000080f0fa020000000002003000000000000000000000000000\
         0d0c0b0a07000000020000010300000004030201070000000200000103000000\
         030010000000000005000000060000006120737472696e672074686174206c69\
         6573206f7574206f66206c696e6500009e000000e0ffffff0000000000000000"
    );
    assert_eq!(
        hex(&wire_of(&gaps(5), &Extensions::default())),
        "e00100000200000002000001030000000b617e840b617e840900000000000000\
         0200000000000000000000000000000005000000000000000000000000000000\
         0000000000000000000000000000000000000000000000000000000000000000\
         0000000000000000000000000000000000000000000000000000000000000000\
         01000000e4000000000000000000000000000000000000000000000000000000\
         0000000000000000000000000000000002000000000000000000000000000000\
         0800000000000000000000000000000001000000787878787878787800000000\
         0000000000000000000000000000000000000000000000000000000000000000\
         0000000000000000000000000000000005000000000000000700000000000000\
         6c6162656c206c6162656c206c6162656c206c6162656c206c6162656c206c61\
         62656c206c6162656c206c6162656c206c6162656c2000000000000001000200\
         03000400ffffffffffffffff6c6162656c20ffff8c000000acffffff92000000\
         b0ffffff98000000baffffff0500000005000000000000000000000000000000\
         00000000000000000500000000000000000000006cfeffff0500000000000000\
         0005000000000000000000000000000040ffffff84ffffff0500000001000000\
         0100000000000000000000000100000005000000000000000000000000000000"
    );
}

proptest! {
    #[test]
    fn every_field_of_a_header_survives_the_round_trip(
        payload_len in 0..=1u32 << 20,
        kind in 0..5usize,
        extension_len in 0..0x1000u16,
        slot: u32,
        generation: u32,
        message: u64,
        correlation: u64,
    ) {
        let kind = KINDS[kind];
        let slot = Slot::from_bits(slot);
        let mut sent = Header::new(kind, slot, generation, MessageId::from_bits(message), correlation);
        sent.payload_len = if kind.carries_message() { payload_len } else { 0 };
        sent.extension_len = extension_len * 16;
        let found = Header::from_wire(&sent.to_wire(), 1 << 20).unwrap();
        prop_assert!(found.is_foreign());
        prop_assert_eq!(found.to_wire(), sent.to_wire());
        prop_assert_eq!(found.payload_len, sent.payload_len);
        prop_assert_eq!(found.kind, kind);
        prop_assert_eq!(found.extension_len, sent.extension_len);
        prop_assert_eq!(found.slot, slot);
        prop_assert_eq!(found.generation, generation);
        prop_assert_eq!(found.message.bits(), message);
        prop_assert_eq!(found.correlation, correlation);
    }

    /// A1: a length is believed only up to the limit, whatever else the header says.
    #[test]
    fn a1_no_header_claims_more_than_the_limit(bytes: [u8; 32], max in 0..100_000usize) {
        if let Ok(header) = Header::from_wire(&bytes, max) {
            prop_assert!(header.payload_len as usize <= max);
            prop_assert!(header.frame_len() <= HEADER_LEN + 0xffff + max + 15);
            prop_assert!(header.frame_len().is_multiple_of(16));
        }
    }

    #[test]
    fn p16_every_truncation_is_seen_and_moves_nothing(seed: u8, cut: prop::sample::Index) {
        let whole = wire_of(&gaps(seed), &all_extensions());
        let cut = cut.index(whole.len());
        let mut reader = read_foreign(&whole[..cut]);
        let before = reader.remaining();
        match reader.next_frame() {
            Ok(None) => prop_assert_eq!(cut, 0),
            Err(FrameError::Truncated { needed, found }) => {
                prop_assert_eq!(found, cut);
                prop_assert!(needed > found && needed <= whole.len());
            }
            other => prop_assert!(false, "{other:?}"),
        }
        prop_assert_eq!(reader.remaining(), before);
        let next_frame = if cut < HEADER_LEN { HEADER_LEN } else { whole.len() };
        prop_assert_eq!(scan(&whole[..cut], 1 << 20), Ok(Prefix { complete: 0, next_frame }));
    }

    #[test]
    fn p16_a_reader_stays_within_its_lease(bytes: Vec<u8>, start: prop::sample::Index, kind in 1..6u8) {
        // Bytes of a neighbour on both sides, which must never be seen.
        let mut bytes = bytes;
        if let Some(byte) = bytes.get_mut(4) {
            *byte = kind;
        }
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        let mut around = vec![0xee; 64];
        around.extend(&bytes);
        around.extend([0xee; 64]);
        let all = lease_of(&around);
        let skipped = start.index(bytes.len() / 16 + 1) * 16;
        let lease = all.slice(64 + skipped, bytes.len() - skipped);
        let range = lease.as_ptr_range();
        let mut reader = FrameReader::foreign(lease, 1 << 20);
        while let Ok(Some(frame)) = reader.next_frame() {
            let payload = frame.payload().as_ptr_range();
            prop_assert!(range.start <= payload.start && payload.end <= range.end);
            prop_assert!(!frame.trusted());
        }
    }

    /// A20: what lay in a chunk before never reaches the wire, in gaps and padding neither.
    #[test]
    fn a20_bytes_do_not_depend_on_what_was_in_memory_before(seed: u8, extended: bool) {
        let extensions = if extended { all_extensions() } else { Extensions::default() };
        let from = |dirt: u8| {
            let pool = ChunkPool::new(64 * 1024, 4, 1 << 20);
            let mut chunk = pool.acquire().unwrap();
            while chunk.append(&[dirt; 64]) {}
            drop(chunk);
            assert_eq!(pool.chunks_free(), 1, "the dirty chunk is the one that is used next");
            wire_from(&pool, &gaps(seed), &extensions)
        };
        let clean = from(0x00);
        prop_assert_eq!(hex(&clean), hex(&from(0xff)));
        prop_assert_eq!(hex(&clean), hex(&from(0xa5)));
    }
}

#[test]
fn p16_padding_has_to_be_zero() {
    let mut bytes = wire_of(&Text("odd".repeat(3)), &Extensions::default());
    *bytes.last_mut().unwrap() = 1;
    assert_eq!(read_foreign(&bytes).next_frame().unwrap_err(), FrameError::DirtyPadding);
}

#[test]
fn p16_flags_kinds_and_lengths_that_nobody_sends_are_refused() {
    let good = wire_of(&Inc(1), &Extensions::default());
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        read_foreign(&bytes).next_frame().unwrap_err()
    };
    assert_eq!(with(4, 0), FrameError::UnknownKind(0));
    assert_eq!(with(4, 6), FrameError::UnknownKind(6), "timers never leave their worker");
    assert_eq!(with(5, 0x80), FrameError::UnknownFlags(0x80));
    assert_eq!(with(6, 8), FrameError::UnalignedExtensions(8));
    assert_eq!(with(4, 4), FrameError::UnexpectedPayload(Kind::Failure));
    assert_eq!(with(3, 0xff), FrameError::TooLarge { payload_len: 0xff00_0008, max: 1 << 20 });
    assert_eq!(with(6, 16), FrameError::Truncated { needed: 64, found: 48 });
}

#[test]
fn p16_extensions_are_checked_before_the_frame_is_out() {
    let mut bytes = wire_of(&Inc(1), &all_extensions());
    bytes[HEADER_LEN + 2] = 0;
    assert_eq!(
        read_foreign(&bytes).next_frame().unwrap_err(),
        FrameError::Extensions(ExtensionError::RecordLength(0))
    );
}

#[test]
fn what_is_written_is_read() {
    for seed in 0..=255 {
        let sent = gaps(seed);
        let bytes = wire_of(&sent, &all_extensions());
        let frame = read_foreign(&bytes).next_frame().unwrap().unwrap();
        assert_eq!(frame.extensions(), Ok(all_extensions()));
        let archived = Archived::<Gaps>::open(frame).unwrap();
        let found: Gaps =
            annulus_codec::rkyv::deserialize::<_, annulus_codec::rkyv::rancor::Error>(&*archived)
                .unwrap();
        assert_eq!(found, sent);
    }
}
