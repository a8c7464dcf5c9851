//! What a message is: its identity, the shape of its archive, and how it passes to its receiver.
//!
//! # What is trusted
//!
//! A frame that this process wrote is read as the type that its id names, without a look at its payload. So
//! within one process two types with equal ids must have archives of the same shape. This is what that
//! rests on:
//!
//! - Two types of the same name *and* shape have one id. That is sound: each reads the archives of the
//!   other. So a type may be renamed, written down twice, or come from two copies of one crate.
//! - Two types of the same name and different shapes, as from two versions of a crate in one program,
//!   differ in the lower half only. One pair in 2^32 is confused.
//! - Two types of different names and shapes differ in both halves. One pair in 2^64 is confused: of
//!   programs with 1,000 messages, one in 3.7 * 10^13.
//!
//! A release build reads a confused message as what it is not, which is undefined behaviour. A build with
//! debug assertions validates every payload, its own too.
//!
//! The hashes are not made to withstand an attack: who writes the source code of a program can look for two
//! types that collide. They are trusted as they are with `unsafe`. Another node cannot make use of a
//! collision: what comes from outside is foreign whatever its id says, and is validated as the type that it
//! is read as. Nor is there any trust in messages that pass by value, which are downcast by their `TypeId`.
//!
//! There is no check at run time that an id stands for one shape. A type is nowhere registered: its id is a
//! constant where messages are written and where they are read, and a table of ids would have to be asked
//! there, for every message. What the compiler can see it checks: no two messages of one protocol have the
//! same upper half.

use std::fmt;

use crate::{
    archive::Plain,
    hash::{fold32, hash64, join64},
    passing::{Answers, ByArchive, Passing},
};

/// The 64-bit identity of a message type.
///
/// The upper half is a hash of the message's name, the lower half a hash of the shape of its archive.
/// Two nodes mean the same message exactly if the two halves agree. If only the names agree, they were
/// built from different versions of the type, and the receiver answers `Incompatible`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(u64);

impl MessageId {
    /// The identity of a message with this name and this [`Layout::LAYOUT`].
    pub const fn new(name: &str, layout: u64) -> Self {
        MessageId((fold32(hash64(name.as_bytes())) as u64) << 32 | fold32(layout) as u64)
    }

    /// The identity as it stands in a frame.
    pub const fn from_bits(bits: u64) -> Self {
        MessageId(bits)
    }

    /// The bits that go into a frame.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The half that comes from the name.
    pub const fn name_hash(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The half that comes from the archive's shape.
    pub const fn layout_hash(self) -> u32 {
        self.0 as u32
    }

    /// Whether both are versions of the message of one name.
    pub const fn same_name(self, other: Self) -> bool {
        self.name_hash() == other.name_hash()
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:08x}", self.name_hash(), self.layout_hash())
    }
}

/// A type that may be sent: `#[message]` implements this.
///
/// # Safety
/// - `ID` is what [`MessageId::new`] makes of `NAME` and the type's [`Layout::LAYOUT`] (of `NAME` and
///   any constant for messages that pass by value). Frames that this process wrote are read as the
///   type that their id names, without a check.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no message",
    label = "this type cannot be sent",
    note = "mark it with `#[message]`"
)]
pub unsafe trait Message: Sized + 'static {
    /// The name that the identity comes from: by default the path of the type in its crate.
    const NAME: &'static str;
    /// The identity in frames.
    const ID: MessageId;
    /// What an ask with this message is answered with. If the message goes as an archive, so does this.
    type Reply: Message + Answers<Self::Passing>;
    /// How the message gets to its receiver: as an archive, or by value within the process.
    type Passing: Passing<Self>;
}

// SAFETY: the identity is made as the contract says.
unsafe impl Message for () {
    const NAME: &'static str = "()";
    const ID: MessageId = MessageId::new(Self::NAME, <() as Layout>::LAYOUT);
    type Reply = ();
    type Passing = ByArchive;
}

// A result has the name of the message that it may hold, however many results lie in between.
// SAFETY: the identity is made as the contract says.
unsafe impl<T: Message + Layout, E: Layout + 'static> Message for Result<T, E>
where
    Self: Plain,
{
    const NAME: &'static str = T::NAME;
    const ID: MessageId = MessageId::new(Self::NAME, Self::LAYOUT);
    type Reply = ();
    type Passing = ByArchive;
}

/// A type that may be a part of a message that goes over the wire: `#[message]` and `#[wire]`
/// implement this for structs and enums whose fields have it too.
///
/// What has no fixed shape, or cannot be checked cheaply and safely when it comes from a stranger, has
/// no implementation: shared pointers, hash maps, `usize`, sequences of zero-sized elements.
///
/// # Safety
/// - Two types with the same `LAYOUT` have archives that are valid for exactly the same bytes and mean
///   the same thing, and the same `FLAT`.
/// - What `Serialize` and `Archive` of the type write, as rkyv's derives have it, is a valid archive of it,
///   with no part that is aligned to more than [`FRAME_ALIGN`](crate::frame::FRAME_ALIGN) bytes.
/// - If `Archive::COPY_OPTIMIZATION` is enabled, and a value is as long as its archive, its bytes are such an archive too.
/// - If `FLAT`, such an archive is one `Archived` and no more, valid at any address that is aligned for it, and
///   `Serialize` writes nothing besides and asks for no memory.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a part of a message",
    label = "this type has no fixed layout on the wire",
    note = "mark your own structs and enums with `#[wire]`",
    note = "use a BTreeMap or a sorted Vec for a HashMap, u64 for usize, and a plain value for Rc or Arc"
)]
pub unsafe trait Layout {
    /// A hash of the shape of the archive: the kinds, names and order of its parts.
    const LAYOUT: u64;
    /// Whether the archive has no pointers to other bytes of it, and so nothing besides its root. Flat messages are
    /// quicker than others.
    const FLAT: bool = false;
}

macro_rules! flat_layout {
    ($($type:ty => $tag:literal),* $(,)?) => {
        // SAFETY: each type has a tag of its own, and an archive of a fixed size without pointers.
        $(unsafe impl Layout for $type {
            const LAYOUT: u64 = hash64($tag.as_bytes());
            const FLAT: bool = true;
        })*
    };
}

flat_layout! {
    () => "unit", bool => "bool", char => "char",
    u8 => "u8", u16 => "u16", u32 => "u32", u64 => "u64", u128 => "u128",
    i8 => "i8", i16 => "i16", i32 => "i32", i64 => "i64", i128 => "i128",
    f32 => "f32", f64 => "f64",
    std::time::Duration => "duration",
    std::net::Ipv4Addr => "ipv4", std::net::Ipv6Addr => "ipv6", std::net::IpAddr => "ip",
    std::net::SocketAddrV4 => "socket-v4", std::net::SocketAddrV6 => "socket-v6",
    std::net::SocketAddr => "socket",
}

// SAFETY: no other type has this tag.
unsafe impl Layout for String {
    const LAYOUT: u64 = hash64(b"string");
}

/// Refuses elements that take no room: an archive of a few bytes could claim billions of them.
const fn sequence<T: rkyv::Archive + Layout>(tag: &str) -> u64 {
    assert!(
        size_of::<T::Archived>() != 0,
        "a sequence of zero-sized elements cannot be a part of a message: send their count instead"
    );
    join64(hash64(tag.as_bytes()), T::LAYOUT)
}

// SAFETY (all of the below): the tag names the container, and the parts' layouts are joined to it in
// order, so equal hashes mean equal containers of equal parts. What holds its parts in itself has no pointers if they
// have none.

// SAFETY: see above.
unsafe impl<T: Layout + rkyv::Archive> Layout for Vec<T> {
    const LAYOUT: u64 = sequence::<T>("vec");
}

// SAFETY: see above.
unsafe impl<T: Layout + rkyv::Archive> Layout for std::collections::BTreeSet<T> {
    const LAYOUT: u64 = sequence::<T>("btree-set");
}

// SAFETY: see above.
unsafe impl<K: Layout + rkyv::Archive, V: Layout> Layout for std::collections::BTreeMap<K, V> {
    const LAYOUT: u64 = join64(sequence::<K>("btree-map"), V::LAYOUT);
}

// SAFETY: see above.
unsafe impl<T: Layout, const N: usize> Layout for [T; N] {
    const LAYOUT: u64 = join64(join64(hash64(b"array"), N as u64), T::LAYOUT);
    const FLAT: bool = T::FLAT;
}

// SAFETY: see above.
unsafe impl<T: Layout> Layout for Box<T> {
    const LAYOUT: u64 = join64(hash64(b"box"), T::LAYOUT);
}

// SAFETY: see above.
unsafe impl<T: Layout> Layout for Option<T> {
    const LAYOUT: u64 = join64(hash64(b"option"), T::LAYOUT);
    const FLAT: bool = T::FLAT;
}

// SAFETY: see above.
unsafe impl<T: Layout, E: Layout> Layout for Result<T, E> {
    const LAYOUT: u64 = join64(join64(hash64(b"result"), T::LAYOUT), E::LAYOUT);
    const FLAT: bool = T::FLAT && E::FLAT;
}

// SAFETY: see above.
unsafe impl<T: ?Sized> Layout for std::marker::PhantomData<T> {
    const LAYOUT: u64 = hash64(b"phantom");
    const FLAT: bool = true;
}

/// Gives a type that is archived exactly as another one the layout of that one.
///
/// The `unsafe` is a promise of who writes it: that `Archive::resolve` and `Serialize::serialize` of the type do what
/// those of the model do.
#[doc(hidden)]
#[macro_export]
macro_rules! layout_of {
    (unsafe impl<$parameter:ident> for $type:ty as $model:ty) => {
        // SAFETY: the type's archive is the model's archive, as the user of this macro promises; the
        // compiler checks that the two archived types are one.
        unsafe impl<$parameter> $crate::message::Layout for $type
        where
            $type: $crate::rkyv::Archive<Archived = $crate::rkyv::Archived<$model>>,
        {
            const LAYOUT: u64 = <$model as $crate::message::Layout>::LAYOUT;
            const FLAT: bool = <$model as $crate::message::Layout>::FLAT;
        }
    };
}

macro_rules! tuple_layout {
    ($($part:ident)+) => {
        // SAFETY: see above.
        unsafe impl<$($part: Layout),+> Layout for ($($part,)+) {
            const LAYOUT: u64 = {
                let mut layout = hash64(b"tuple");
                $(layout = join64(layout, $part::LAYOUT);)+
                layout
            };
            const FLAT: bool = $($part::FLAT)&&+;
        }
    };
}

tuple_layout!(A);
tuple_layout!(A B);
tuple_layout!(A B C);
tuple_layout!(A B C D);
tuple_layout!(A B C D E);
tuple_layout!(A B C D E F);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_has_a_name_half_and_a_layout_half() {
        let one = MessageId::new("echo.Say", 1);
        let two = MessageId::new("echo.Say", 2);
        assert!(one.same_name(two) && one != two);
        assert!(!one.same_name(MessageId::new("echo.Said", 1)));
        assert_eq!(MessageId::from_bits(one.bits()), one);
    }

    #[test]
    fn layouts_tell_shapes_apart() {
        let layouts = [
            u8::LAYOUT,
            bool::LAYOUT,
            <Vec<u8>>::LAYOUT,
            String::LAYOUT,
            <Option<u8>>::LAYOUT,
            <(u8, u16)>::LAYOUT,
            <(u16, u8)>::LAYOUT,
            <[u8; 2]>::LAYOUT,
            <[u8; 3]>::LAYOUT,
            <Box<u8>>::LAYOUT,
            <Result<u8, u16>>::LAYOUT,
            <Result<u16, u8>>::LAYOUT,
        ];
        for (index, one) in layouts.iter().enumerate() {
            assert!(layouts[index + 1..].iter().all(|other| other != one));
        }
    }

    #[test]
    fn what_has_a_pointer_in_it_anywhere_is_not_flat() {
        let flat = [
            <()>::FLAT,
            <(u8, bool, char)>::FLAT,
            <[Option<u64>; 3]>::FLAT,
            <Result<std::net::SocketAddr, std::time::Duration>>::FLAT,
            <std::marker::PhantomData<String>>::FLAT,
        ];
        let pointing = [
            String::FLAT,
            <Vec<u8>>::FLAT,
            <Box<u8>>::FLAT,
            <std::collections::BTreeMap<u8, u8>>::FLAT,
            <std::collections::BTreeSet<u8>>::FLAT,
            <[String; 1]>::FLAT,
            <(u8, String)>::FLAT,
            <Option<String>>::FLAT,
            <Result<u8, String>>::FLAT,
            <Result<String, u8>>::FLAT,
            crate::bytes::Bytes::FLAT,
        ];
        assert_eq!((flat, pointing), ([true; 5], [false; 11]));
    }
}
