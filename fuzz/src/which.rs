//! Choices among messages of all kinds that differ in how they are written, walked and opened.

use arbitrary::Arbitrary;

use crate::{Bit, Eleven, Flat, Niched, Odd, Plain, Tail, Text, Tiny, Wide, Words};

/// The type of a message.
#[derive(Debug, Clone, Copy)]
pub enum Which {
    /// Numbers without gaps.
    Flat,
    /// One byte, any.
    Tiny,
    /// One byte, zero or one.
    Bit,
    /// Two words.
    Words,
    /// A number of 16-byte alignment.
    Wide,
    /// A word and a part of one.
    Eleven,
    /// Several blocks and a part of one.
    Odd,
    /// A string.
    Text,
    /// Numbers with gaps.
    Plain,
    /// Numbers with a gap at the end.
    Tail,
    /// A word whose archive is longer.
    Niched,
    /// No bytes.
    Unit,
    /// No bytes either.
    Nothing,
}

impl Which {
    /// All of them.
    pub const ALL: [Which; 13] = [
        Which::Flat,
        Which::Tiny,
        Which::Bit,
        Which::Words,
        Which::Wide,
        Which::Eleven,
        Which::Odd,
        Which::Text,
        Which::Plain,
        Which::Tail,
        Which::Niched,
        Which::Unit,
        Which::Nothing,
    ];
}

/// Does something with the type that a [`Which`](which::Which) stands for.
#[macro_export]
macro_rules! with_type {
    ($which:expr, $type:ident => $body:expr) => {
        $crate::with_type!(@ $which, $type, $body, {
            Flat: $crate::Flat, Tiny: $crate::Tiny, Bit: $crate::Bit, Words: $crate::Words,
            Wide: $crate::Wide, Eleven: $crate::Eleven, Odd: $crate::Odd, Text: $crate::Text,
            Plain: $crate::Plain, Tail: $crate::Tail, Niched: $crate::Niched, Unit: (), Nothing: $crate::Nothing,
        })
    };
    (@ $which:expr, $type:ident, $body:expr, { $($name:ident: $is:ty,)* }) => {
        match $which {
            $($crate::which::Which::$name => {
                type $type = $is;
                $body
            })*
        }
    };
}

/// A message.
#[derive(Debug, Arbitrary)]
pub enum Content {
    /// Numbers without gaps.
    Flat(Flat),
    /// One byte, any.
    Tiny(Tiny),
    /// One byte, zero or one.
    Bit(Bit),
    /// Two words.
    Words(Words),
    /// A number of 16-byte alignment.
    Wide(Wide),
    /// A word and a part of one.
    Eleven(Eleven),
    /// Several blocks and a part of one.
    Odd(Odd),
    /// A string.
    Text(Text),
    /// Numbers with gaps.
    Plain(Plain),
    /// Numbers with a gap at the end.
    Tail(Tail),
    /// A word whose archive is longer.
    Niched(Niched),
    /// No bytes.
    Unit,
    /// No bytes either.
    Nothing,
}

/// Does something with a reference to the message of a [`Content`](which::Content).
#[macro_export]
macro_rules! with_message {
    ($content:expr, $message:ident => $body:expr) => {
        match $content {
            $crate::which::Content::Flat($message) => $body,
            $crate::which::Content::Tiny($message) => $body,
            $crate::which::Content::Bit($message) => $body,
            $crate::which::Content::Words($message) => $body,
            $crate::which::Content::Wide($message) => $body,
            $crate::which::Content::Eleven($message) => $body,
            $crate::which::Content::Odd($message) => $body,
            $crate::which::Content::Text($message) => $body,
            $crate::which::Content::Plain($message) => $body,
            $crate::which::Content::Tail($message) => $body,
            $crate::which::Content::Niched($message) => $body,
            $crate::which::Content::Unit => {
                let $message = &();
                $body
            }
            $crate::which::Content::Nothing => {
                let $message = &$crate::Nothing;
                $body
            }
        }
    };
}
