//! What a message's identity depends on, and what it does not.

use std::{
    any::type_name,
    collections::{BTreeMap, BTreeSet},
};

use annulus_codec::{
    hash::{hash64, join64},
    message::{Layout, Message, MessageId},
    rkyv::Archive,
};
use annulus_macros::{message, wire};

mod shim {
    pub(crate) use annulus_codec as codec;
}

#[message(name = "echo.Say", crate = shim)]
struct Say {
    text: String,
    loud: bool,
}

mod other_versions {
    use super::{message, shim};

    #[message(name = "echo.Say", crate = shim)]
    pub struct TypeRenamed {
        pub text: String,
        pub loud: bool,
    }

    #[message(name = "echo.Say", crate = shim)]
    pub struct FieldRenamed {
        pub words: String,
        pub loud: bool,
    }

    #[message(name = "echo.Say", crate = shim)]
    pub struct FieldRetyped {
        pub text: String,
        pub loud: u8,
    }

    #[message(name = "echo.Say", crate = shim)]
    pub struct FieldAdded {
        pub text: String,
        pub loud: bool,
        pub times: u32,
    }

    #[message(name = "echo.Say", crate = shim)]
    pub struct FieldsSwapped {
        pub loud: bool,
        pub text: String,
    }

    #[message(name = "echo.Say", crate = shim)]
    pub struct FieldsUnnamed(pub String, pub bool);

    #[message(name = "echo.Shout", crate = shim)]
    pub struct MessageRenamed {
        pub text: String,
        pub loud: bool,
    }
}

#[test]
fn the_identity_of_a_named_message_never_changes() {
    assert_eq!(Say::NAME, "echo.Say");
    assert_eq!(Say::LAYOUT, 2_652_756_162_369_762_824);
    assert_eq!(format!("{:?}", Say::ID), "6ce24ad1-99174da4");
}

#[test]
fn layouts_are_joined_as_documented() {
    let field = |name: &str, layout| join64(hash64(name.as_bytes()), layout);
    let text = field("text", String::LAYOUT);
    let loud = field("loud", bool::LAYOUT);
    let say = join64(join64(hash64(b"struct"), text), loud);
    assert_eq!(Say::LAYOUT, say);
}

#[test]
fn a_changed_field_changes_the_layout_half_and_not_the_name_half() {
    use other_versions::*;
    let changed =
        [FieldRenamed::ID, FieldRetyped::ID, FieldAdded::ID, FieldsSwapped::ID, FieldsUnnamed::ID];
    for (index, id) in changed.iter().enumerate() {
        assert_eq!(id.name_hash(), Say::ID.name_hash());
        assert_ne!(id.layout_hash(), Say::ID.layout_hash());
        assert!(!changed[..index].contains(id));
    }
}

#[test]
fn a_changed_name_changes_the_name_half_and_not_the_layout_half() {
    let renamed = other_versions::MessageRenamed::ID;
    assert_ne!(renamed.name_hash(), Say::ID.name_hash());
    assert_eq!(renamed.layout_hash(), Say::ID.layout_hash());
}

#[test]
fn a_given_name_lets_the_type_be_renamed_and_moved() {
    assert_eq!(other_versions::TypeRenamed::ID, Say::ID);
}

#[message(crate = shim)]
struct Unnamed;

#[message(crate = shim)]
struct r#Raw {
    r#type: u8,
}

#[test]
fn the_default_name_is_the_path_in_the_crate() {
    assert_eq!(Unnamed::NAME, "identity::Unnamed");
    assert_eq!(r#Raw::NAME, "identity::Raw");
}

#[test]
fn a_raw_field_name_is_the_name_without_its_prefix() {
    #[wire(crate = shim)]
    struct Raw {
        r#kind: u8,
    }
    #[wire(crate = shim)]
    struct Plain {
        kind: u8,
    }
    assert_eq!(Raw::LAYOUT, Plain::LAYOUT);
}

#[test]
fn parts_of_equal_shape_have_equal_layouts_whatever_their_own_names() {
    #[wire(crate = shim)]
    struct Point {
        x: f64,
        y: f64,
    }
    #[wire(crate = shim)]
    struct Vector {
        x: f64,
        y: f64,
    }
    assert_eq!(Point::LAYOUT, Vector::LAYOUT);
}

#[test]
fn a_change_deep_inside_reaches_the_layout_of_the_whole() {
    mod old {
        use super::{shim, wire};
        #[wire(crate = shim)]
        pub(super) struct Leaf(pub u8);
        #[wire(crate = shim)]
        pub(super) struct Tree(pub Vec<Option<Leaf>>);
    }
    mod new {
        use super::{shim, wire};
        #[wire(crate = shim)]
        pub(super) struct Leaf(pub u16);
        #[wire(crate = shim)]
        pub(super) struct Tree(pub Vec<Option<Leaf>>);
    }
    assert_ne!(old::Leaf::LAYOUT, new::Leaf::LAYOUT);
    assert_ne!(old::Tree::LAYOUT, new::Tree::LAYOUT);
}

#[test]
fn variants_count_by_name_order_fields_and_discriminant() {
    #[wire(crate = shim)]
    enum Plain {
        A,
        B(u8),
    }
    #[wire(crate = shim)]
    enum Renamed {
        A,
        C(u8),
    }
    #[wire(crate = shim)]
    enum Swapped {
        B(u8),
        A,
    }
    #[wire(crate = shim)]
    enum Retyped {
        A,
        B(i8),
    }
    #[wire(crate = shim)]
    #[repr(u8)]
    enum Renumbered {
        A = 3,
        B(u8),
    }
    #[wire(crate = shim)]
    enum Flattened {
        A(u8),
        B,
    }
    let layouts = [
        Plain::LAYOUT,
        Renamed::LAYOUT,
        Swapped::LAYOUT,
        Retyped::LAYOUT,
        Renumbered::LAYOUT,
        Flattened::LAYOUT,
    ];
    for (index, layout) in layouts.iter().enumerate() {
        assert!(!layouts[..index].contains(layout), "variant {index}");
    }
}

#[test]
fn a_field_named_like_a_type_is_not_taken_for_one() {
    #[wire(crate = shim)]
    struct Named {
        u8: u16,
    }
    #[wire(crate = shim)]
    struct Pair(u8, u16);
    assert_ne!(Named::LAYOUT, Pair::LAYOUT);
}

#[test]
fn a_field_that_is_configured_away_is_not_in_the_layout() {
    #[wire(crate = shim)]
    struct Configured {
        here: u8,
        #[cfg(any())]
        nowhere: TypeThatDoesNotExist,
    }
    #[wire(crate = shim)]
    struct Plain {
        here: u8,
    }
    #[wire(crate = shim)]
    enum ConfiguredEnum {
        Here,
        #[cfg(any())]
        Nowhere(TypeThatDoesNotExist),
    }
    #[wire(crate = shim)]
    enum PlainEnum {
        Here,
    }
    assert_eq!(Configured::LAYOUT, Plain::LAYOUT);
    assert_eq!(ConfiguredEnum::LAYOUT, PlainEnum::LAYOUT);
}

#[test]
fn generic_parts_have_the_layout_of_what_they_are_filled_with() {
    #[wire(crate = shim)]
    struct Page<T> {
        items: Vec<T>,
    }
    #[wire(crate = shim)]
    struct PageOfWords {
        items: Vec<String>,
    }
    assert_eq!(<Page<String>>::LAYOUT, PageOfWords::LAYOUT);
    assert_ne!(<Page<u8>>::LAYOUT, PageOfWords::LAYOUT);
}

#[test]
fn a_result_has_the_name_of_the_message_that_it_may_hold() {
    #[message(name = "echo.Hear", crate = shim)]
    struct Hear {
        text: String,
        loud: bool,
    }
    type Nested<T> = Result<Result<T, u8>, u16>;
    assert_eq!(Hear::LAYOUT, Say::LAYOUT, "only the names differ");
    assert_eq!(<Nested<Say>>::NAME, "echo.Say");
    assert!(<Nested<Say>>::ID.same_name(Say::ID));
    assert_ne!(<Nested<Say>>::ID, <Nested<Hear>>::ID);
    assert_ne!(<Nested<Say>>::ID, <Result<Say, u8>>::ID);
    assert_eq!(<Nested<Say>>::ID, MessageId::new("echo.Say", <Nested<Say>>::LAYOUT));
}

/// Takes every type that it is shown.
trait Visit {
    fn visit<T: Layout + Archive>(&mut self) {
        self.visit_last::<T>();
    }

    /// Takes a type that is not to be put into others.
    fn visit_last<T: Layout>(&mut self);
}

/// What has which layout, by both lengths of the hash.
#[derive(Default)]
struct Seen {
    layouts: BTreeMap<u64, &'static str>,
    folded: BTreeMap<MessageId, &'static str>,
}

impl Visit for Seen {
    fn visit_last<T: Layout>(&mut self) {
        let name = type_name::<T>();
        let id = MessageId::new("", T::LAYOUT);
        assert_eq!(*self.layouts.entry(T::LAYOUT).or_insert(name), name);
        assert_eq!(*self.folded.entry(id).or_insert(name), name);
    }
}

/// Shows `V` each type, and every shape with that type in it.
struct Deeper<'a, V>(&'a mut V);

impl<V: Visit> Visit for Deeper<'_, V> {
    fn visit<T: Layout + Archive>(&mut self) {
        self.0.visit::<T>();
        self.around::<T>();
        self.around_two::<T, T>();
        self.around_two::<T, u32>();
        self.around_two::<u32, T>();
    }

    fn visit_last<T: Layout>(&mut self) {
        self.0.visit_last::<T>();
    }
}

#[wire(crate = shim)]
struct Page<T> {
    items: Vec<T>,
}

#[wire(crate = shim)]
struct One<T>(T);

#[wire(crate = shim)]
struct Two<A, B>(A, B);

#[wire(crate = shim)]
enum Either<A, B> {
    A(A),
    B(B),
}

#[wire(crate = shim)]
enum Both<A, B> {
    A(A, B),
    B,
}

impl<V: Visit> Deeper<'_, V> {
    fn around<T: Layout + Archive>(&mut self) {
        self.0.visit::<Option<T>>();
        self.0.visit::<Box<T>>();
        self.0.visit::<Vec<T>>();
        self.0.visit_last::<BTreeSet<T>>();
        self.0.visit::<[T; 2]>();
        self.0.visit::<[T; 3]>();
        self.0.visit::<(T,)>();
        self.0.visit::<One<T>>();
        self.0.visit::<Page<T>>();
    }

    fn around_two<A: Layout + Archive, B: Layout + Archive>(&mut self) {
        self.0.visit::<(A, B)>();
        self.0.visit::<Result<A, B>>();
        self.0.visit_last::<BTreeMap<A, B>>();
        self.0.visit::<Two<A, B>>();
        self.0.visit::<Either<A, B>>();
        self.0.visit::<Both<A, B>>();
    }
}

#[test]
fn no_two_shapes_of_parts_in_parts_have_the_same_layout() {
    let mut seen = Seen::default();
    let mut twice = Deeper(&mut seen);
    let mut twice = Deeper(&mut twice);
    twice.visit::<u8>();
    twice.visit::<String>();
    assert_eq!(seen.layouts.len(), 2 * (1 + 27 + 23 * 27));
}

#[wire(crate = shim)]
enum Mood {
    Quiet,
    Loud(u8, Option<u64>),
    #[cfg(any())]
    Quoted(String),
}

#[wire(crate = shim)]
enum Quote {
    Nothing,
    Number { of: u8 },
    Words { of: (u8, String) },
}

#[wire(crate = shim)]
struct Pair<T>(T, #[cfg(any())] String, u8);

#[wire(crate = shim)]
struct Nothing;

#[test]
fn a_type_is_flat_if_all_of_its_parts_are() {
    assert_eq!([<Mood as Layout>::FLAT, Pair::<Mood>::FLAT], [true; 2]);
    assert_eq!([Nothing::FLAT, Pair::<u64>::FLAT], [true; 2]);
    assert_eq!([<Quote as Layout>::FLAT, Pair::<Quote>::FLAT], [false; 2]);
    assert_eq!([Say::FLAT, Pair::<String>::FLAT], [false; 2]);
}
