//! Messages of every form become bytes, pass validation, and are read where they lie.

use std::{collections::BTreeMap, marker::PhantomData};

use annulus_codec::{
    archive::{AccessError, Archivable, ArchiveSerializer, validate},
    message::Message,
    rkyv::{
        self, api::high::HighSerializer, rancor, ser::allocator::ArenaHandle, util::AlignedVec,
    },
};
use annulus_macros::{message, wire};

mod shim {
    pub(crate) use annulus_codec as codec;
}

type Failure = rancor::Error;

fn bytes_of<M>(message: &M) -> AlignedVec
where
    M: for<'a> rkyv::Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, Failure>>,
{
    rkyv::to_bytes::<Failure>(message).unwrap()
}

#[wire(crate = shim)]
#[derive(Debug, Clone, PartialEq)]
struct Point(i32, i32);

#[wire(crate = shim)]
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Nothing,
    Dot(Point),
    Polygon { corners: Vec<Point>, name: Option<String> },
}

#[message(reply = Drawn, crate = shim)]
#[derive(Debug, Clone, PartialEq)]
struct Draw {
    shapes: Vec<Shape>,
    labels: BTreeMap<u32, String>,
    layer: [u8; Draw::LAYERS],
}

impl Draw {
    const LAYERS: usize = 3;
}

#[message(crate = shim)]
#[derive(Debug, PartialEq)]
struct Drawn(u64, Result<Point, String>);

#[message(crate = shim)]
#[derive(Debug)]
struct Ping;

#[message(crate = shim)]
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(u8)]
enum Light {
    Red = 1,
    Green = 4,
    Blue,
}

fn a_drawing() -> Draw {
    Draw {
        shapes: vec![
            Shape::Nothing,
            Shape::Dot(Point(1, -1)),
            Shape::Polygon {
                corners: vec![Point(0, 0), Point(3, 0), Point(0, 4)],
                name: Some("triangle".into()),
            },
        ],
        labels: BTreeMap::from([(7, "seven".into())]),
        layer: [1, 2, 3],
    }
}

#[test]
fn a_struct_with_nested_parts_is_read_where_it_lies() {
    let bytes = bytes_of(&a_drawing());
    let archived = validate::<Draw>(&bytes).unwrap();
    assert_eq!(archived.shapes.len(), 3);
    assert!(matches!(&archived.shapes[1], ArchivedShape::Dot(at) if at.1 == -1));
    assert_eq!(archived.layer, [1, 2, 3]);
}

#[test]
fn an_archive_can_be_decoded_into_the_message_it_came_from() {
    let bytes = bytes_of(&a_drawing());
    let archived = validate::<Draw>(&bytes).unwrap();
    assert_eq!(rkyv::deserialize::<Draw, Failure>(archived).unwrap(), a_drawing());
}

#[test]
fn tuple_structs_and_unit_structs_are_messages() {
    let bytes = bytes_of(&Drawn(5, Err("no pen".into())));
    let archived = validate::<Drawn>(&bytes).unwrap();
    assert_eq!(archived.0, 5);
    assert_eq!(archived.1.as_ref().unwrap_err(), "no pen");
    assert!(validate::<Ping>(&bytes_of(&Ping)).is_ok());
}

#[test]
fn an_enum_keeps_its_discriminants() {
    for (light, tag) in [(Light::Red, 1), (Light::Green, 4), (Light::Blue, 5)] {
        let bytes = bytes_of(&light);
        assert_eq!(bytes[..], [tag]);
        let archived = validate::<Light>(&bytes).unwrap();
        assert_eq!(rkyv::deserialize::<Light, Failure>(archived).unwrap(), light);
    }
}

/// Variants with named fields, and all that may stand around them.
#[message(crate = shim)]
#[derive(Debug, Default, Clone, PartialEq)]
#[repr(u8)]
enum r#Order {
    #[default]
    None = 2,
    Go {
        r#type: u16,
        #[cfg(any())]
        nothing: TypeThatDoesNotExist,
        to: (String, [u8; 2]),
    } = 7,
    #[cfg(any())]
    Nowhere {
        nothing: TypeThatDoesNotExist,
    },
    Wait(u8, u8),
}

#[test]
fn variants_with_named_fields_are_read_and_decoded_like_others() {
    let go = Order::Go { r#type: 3, to: ("there".into(), [1, 2]) };
    for (order, tag) in [(Order::default(), 2), (go, 7), (Order::Wait(4, 5), 8)] {
        let bytes = bytes_of(&order);
        let archived = validate::<Order>(&bytes).unwrap();
        match archived {
            ArchivedOrder::None => assert_eq!(tag, 2),
            ArchivedOrder::Go { r#type, to } => {
                assert_eq!((tag, *r#type, to.0.as_str()), (7, 3.into(), "there"));
            }
            ArchivedOrder::Wait(a, b) => assert_eq!((tag, *a, *b), (8, 4, 5)),
        }
        assert_eq!(rkyv::deserialize::<Order, Failure>(archived).unwrap(), order);
        let variant = |shown: String| shown.split([' ', '(']).next().map(str::to_owned);
        assert_eq!(variant(format!("{archived:?}")), variant(format!("{order:?}")));
    }
}

#[test]
fn bytes_that_are_no_archive_are_refused() {
    assert_eq!(validate::<Light>(&[2]).unwrap_err(), AccessError::Invalid(Light::ID));
    let mut cut = AlignedVec::<16>::new();
    cut.extend_from_slice(&bytes_of(&a_drawing())[..8]);
    assert!(validate::<Draw>(&cut).is_err());
}

#[test]
fn the_reply_is_nothing_unless_it_is_given() {
    fn reply_name<M: Message>() -> &'static str {
        M::Reply::NAME
    }
    assert_eq!(reply_name::<Draw>(), Drawn::NAME);
    assert_eq!(reply_name::<Ping>(), <()>::NAME);
}

/// The form of a reference to an actor: it names a protocol, and holds nothing of it.
#[wire(crate = shim)]
struct Reference<P> {
    slot: u64,
    protocol: PhantomData<fn() -> P>,
}

#[wire(crate = shim)]
struct Page<T, const N: usize>
where
    T: Clone,
{
    items: Vec<T>,
    checksum: [u8; N],
    next: Next<T>,
}

#[wire(crate = shim)]
enum Next<T> {
    More(T),
    Skip { count: u8, then: T },
    Done,
}

#[message(crate = shim)]
struct Subscribe {
    subscriber: Reference<(Subscribe,)>,
    first: Page<Shape, 4>,
}

#[test]
fn generic_parts_are_filled_with_wire_types() {
    let message = Subscribe {
        subscriber: Reference { slot: 9, protocol: PhantomData },
        first: Page {
            items: vec![Shape::Nothing],
            checksum: [1; 4],
            next: Next::More(Shape::Dot(Point(2, 2))),
        },
    };
    let bytes = bytes_of(&message);
    let archived = validate::<Subscribe>(&bytes).unwrap();
    assert_eq!(archived.subscriber.slot, 9);
    assert_eq!(archived.first.items.len(), 1);
    assert!(matches!(archived.first.next, ArchivedNext::More(_)));
    assert!(!matches!(archived.first.next, ArchivedNext::Done));
}

#[test]
fn what_the_attribute_makes_is_what_the_codec_sends() {
    fn is_archivable<M: Archivable + for<'a> rkyv::Serialize<ArchiveSerializer<'a>>>() {}
    is_archivable::<Draw>();
    is_archivable::<Drawn>();
    is_archivable::<Ping>();
    is_archivable::<Light>();
    is_archivable::<Subscribe>();
}
