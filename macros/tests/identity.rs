//! What a message's identity depends on, and what it does not.

use annulus_codec::{
    hash::{hash64, join64},
    message::{Layout, Message},
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
