//! When an archive shows its fields in a log, and when it does not.

use std::fmt;

use annulus_codec::{archive::validate, rkyv};
use annulus_macros::{message, wire};

mod shim {
    pub(crate) use annulus_codec as codec;
}

/// Shows nothing of itself.
#[wire(crate = shim)]
struct Password(String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[message(crate = shim)]
#[derive(Debug)]
struct DeriveBelow {
    user: String,
    password: Password,
}

#[derive(Debug)]
#[message(crate = shim)]
struct DeriveAbove {
    user: String,
    password: Password,
}

#[message(crate = shim)]
struct NoDerive {
    user: String,
}

macro_rules! shown_archive {
    ($message:expr, $type:ty) => {{
        let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(&$message).unwrap();
        format!("{:?}", validate::<$type>(&bytes).unwrap())
    }};
}

fn password() -> Password {
    Password("1234".into())
}

#[test]
fn an_archive_shows_its_fields_if_debug_is_derived_below_the_attribute() {
    let message = DeriveBelow { user: "ann".into(), password: password() };
    assert_eq!(
        shown_archive!(message, DeriveBelow),
        r#"ArchivedDeriveBelow { user: "ann", password: ArchivedPassword { .. } }"#
    );
    assert_eq!(format!("{message:?}"), r#"DeriveBelow { user: "ann", password: *** }"#);
}

#[test]
fn a_derive_above_the_attribute_shows_the_message_and_the_archives_name() {
    let message = DeriveAbove { user: "ann".into(), password: password() };
    assert_eq!(shown_archive!(message, DeriveAbove), "ArchivedDeriveAbove { .. }");
    assert_eq!(format!("{message:?}"), r#"DeriveAbove { user: "ann", password: *** }"#);
}

#[test]
fn an_archive_shows_its_name_only_if_the_message_has_no_debug() {
    let message = NoDerive { user: "ann".into() };
    assert_eq!(shown_archive!(message, NoDerive), "ArchivedNoDerive { .. }");
}
