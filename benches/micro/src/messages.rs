//! What is sent.

use annulus::{
    codec::{archive::Archivable, message::Message, passing::ByArchive},
    prelude::*,
};

/// Eight bytes, which are their own archive.
#[message]
#[derive(Clone, Copy)]
pub struct Word(pub u64);

/// Sixteen bytes, which are their own archive.
#[message]
#[derive(Clone, Copy)]
pub struct Number {
    /// Just there.
    pub from: u64,
    /// What receivers add up.
    pub value: u64,
}

/// Sixteen bytes without pointers, and gaps between them.
#[message]
#[derive(Clone, Copy)]
pub struct Gaps {
    /// Just there.
    pub from: u16,
    /// Just there.
    pub kind: Option<u8>,
    /// What receivers add up.
    pub value: u64,
}

/// A string of 32 bytes.
#[message]
pub struct Text(pub String);

/// 4 KiB.
#[message]
pub struct Block(pub [u8; 4096]);

/// A message that benches send.
pub trait Sample: Archivable + Message<Reply = (), Passing = ByArchive> {
    /// One of them.
    fn make() -> Self;

    /// What a receiver looks at.
    fn look(archived: &Self::Archived) -> u64;
}

impl Sample for Word {
    fn make() -> Self {
        Word(2)
    }

    fn look(archived: &Self::Archived) -> u64 {
        archived.0.to_native()
    }
}

impl Sample for Number {
    fn make() -> Self {
        Number { from: 1, value: 2 }
    }

    fn look(archived: &Self::Archived) -> u64 {
        archived.value.to_native()
    }
}

impl Sample for Gaps {
    fn make() -> Self {
        Gaps { from: 1, kind: Some(3), value: 2 }
    }

    fn look(archived: &Self::Archived) -> u64 {
        archived.value.to_native()
    }
}

impl Sample for Text {
    fn make() -> Self {
        Text("a message of thirty-two bytes...".to_owned())
    }

    fn look(archived: &Self::Archived) -> u64 {
        u64::from(archived.0.as_bytes()[31])
    }
}

impl Sample for Block {
    fn make() -> Self {
        Block([3; 4096])
    }

    fn look(archived: &Self::Archived) -> u64 {
        u64::from(archived.0[4095])
    }
}
