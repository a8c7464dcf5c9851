//! Bytes in a message: a vector, or a lease on bytes that are in memory already.

use std::{fmt, ops::Deref};

use rkyv::{
    Archive, Deserialize, Place, Serialize,
    rancor::Fallible,
    ser::{Allocator, Writer},
    vec::{ArchivedVec, VecResolver},
};

use crate::{chunk::Lease, message::Layout};

/// A field of plain bytes. On the wire it is the same as a `Vec<u8>`; on the way there it may also be
/// a lease on a part of a message that came in, which saves a copy.
#[derive(Clone)]
pub struct Bytes(Source);

#[derive(Clone)]
enum Source {
    Owned(Vec<u8>),
    Leased(Lease),
}

// SAFETY: the archive is that of a `Vec<u8>`, and so is the layout.
unsafe impl Layout for Bytes {
    const LAYOUT: u64 = <Vec<u8> as Layout>::LAYOUT;
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes(Source::Owned(bytes))
    }
}

impl From<Lease> for Bytes {
    fn from(lease: Lease) -> Self {
        Bytes(Source::Leased(lease))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Source::Owned(bytes) => bytes,
            Source::Leased(lease) => lease,
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.len())
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Bytes {}

impl Archive for Bytes {
    type Archived = ArchivedVec<u8>;
    type Resolver = VecResolver;

    fn resolve(&self, resolver: VecResolver, out: Place<ArchivedVec<u8>>) {
        ArchivedVec::resolve_from_len(self.len(), resolver, out);
    }
}

impl<S: Fallible + Writer + Allocator + ?Sized> Serialize<S> for Bytes {
    fn serialize(&self, serializer: &mut S) -> Result<VecResolver, S::Error> {
        ArchivedVec::serialize_from_slice(self, serializer)
    }
}

impl<D: Fallible + ?Sized> Deserialize<Bytes, D> for ArchivedVec<u8> {
    fn deserialize(&self, _: &mut D) -> Result<Bytes, D::Error> {
        Ok(Bytes::from(self.as_slice().to_vec()))
    }
}
