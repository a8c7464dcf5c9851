//! What the attributes say no to, and what to write instead.
//!
//! Nothing here is needed for safety, except for the check on `#[rkyv(..)]`: a field whose type has no
//! `Layout` never compiles. The checks are here because they can say why, at the right place.

use quote::ToTokens;
use syn::{
    Attribute as SynAttribute, Data, DeriveInput, Error, GenericArgument, GenericParam, Ident,
    Meta, PathArguments, PathSegment, Result, Token, Type, TypePath, punctuated::Punctuated,
    spanned::Spanned,
};

use crate::item;

/// Collects errors, so that the user sees all of them at once.
#[derive(Default)]
struct Refusals(Option<Error>);

impl Refusals {
    fn add(&mut self, at: impl ToTokens, message: impl Into<String>) {
        self.add_error(Error::new_spanned(at, message.into()));
    }

    fn add_error(&mut self, error: Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    fn finish(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

/// Refuses what can be no message, local or not.
pub(crate) fn bad_message(item: &DeriveInput) -> Result<()> {
    let mut refusals = Refusals::default();
    refuse_union(item, &mut refusals);
    refuse_second_attribute(item, &mut refusals);
    for parameter in &item.generics.params {
        refusals.add(
            parameter,
            match parameter {
                GenericParam::Lifetime(_) => {
                    "a message outlives its sender's borrows: own the data, and remove the lifetime"
                }
                GenericParam::Type(_) | GenericParam::Const(_) => {
                    "a message has one name and one layout, so it cannot be generic: write one \
                     message per type (a `#[wire]` type inside of it may be generic)"
                }
            },
        );
    }
    refusals.finish()
}

/// Refuses what can be no part of a message.
pub(crate) fn bad_wire(item: &DeriveInput) -> Result<()> {
    let mut refusals = Refusals::default();
    refuse_union(item, &mut refusals);
    refuse_second_attribute(item, &mut refusals);
    for lifetime in item.generics.lifetimes() {
        refusals.add(
            lifetime,
            "a part of a message outlives its sender's borrows: own the data, and remove the lifetime",
        );
    }
    refusals.finish()
}

/// Refuses what has no place in an archive from a stranger.
pub(crate) fn bad_parts(item: &DeriveInput) -> Result<()> {
    let mut refusals = Refusals::default();
    refuse_hidden_attributes(&item.attrs, &mut refusals);
    if let Data::Enum(data) = &item.data {
        if data.variants.is_empty() {
            refusals.add(
                &item.ident,
                "an enum without variants has no value that could be sent: add a variant",
            );
        }
        for variant in &data.variants {
            refuse_hidden_attributes(&variant.attrs, &mut refusals);
        }
    }
    for field in item::fields(item) {
        refuse_hidden_attributes(&field.attrs, &mut refusals);
        refuse_type(&item.ident, &field.ty, &mut refusals);
    }
    refusals.finish()
}

fn refuse_union(item: &DeriveInput, refusals: &mut Refusals) {
    if let Data::Union(data) = &item.data {
        refusals.add(
            data.union_token,
            "nothing says which field of a union is the valid one: use an enum",
        );
    }
}

fn refuse_second_attribute(item: &DeriveInput, refusals: &mut Refusals) {
    for attr in &item.attrs {
        if attr.path().is_ident("message") || attr.path().is_ident("wire") {
            refusals.add(
                attr,
                "one of `#[message]` and `#[wire]` is enough: a message may be a part of other messages",
            );
        }
    }
}

/// Refuses attributes that change the archive, or that would once they are expanded.
fn refuse_hidden_attributes(attrs: &[SynAttribute], refusals: &mut Refusals) {
    for attr in attrs {
        refuse_hidden_meta(&attr.meta, false, refusals);
    }
}

fn refuse_hidden_meta(meta: &Meta, conditional: bool, refusals: &mut Refusals) {
    if meta.path().is_ident("rkyv") {
        refusals.add(
            meta,
            "`#[rkyv(..)]` changes the archive, and other nodes could not tell: remove it, and send a \
             type that has the shape you want",
        );
    } else if conditional && meta.path().is_ident("cfg") {
        refusals.add(
            meta,
            "a `cfg` inside of a `cfg_attr` cannot be followed here: write `#[cfg(all(..))]`",
        );
    } else if let Meta::List(list) = meta
        && list.path.is_ident("cfg_attr")
    {
        let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
        // What does not parse is for the compiler to complain about.
        for part in parts.into_iter().flatten().skip(1) {
            refuse_hidden_meta(&part, true, refusals);
        }
    }
}

fn refuse_type(own_name: &Ident, ty: &Type, refusals: &mut Refusals) {
    match ty {
        Type::Path(path) if path.qself.is_none() => refuse_path(own_name, path, refusals),
        Type::Reference(reference) => {
            refusals.add(ty, format!("a message owns its data: {}", owned_instead(&reference.elem)))
        }
        Type::Slice(slice) => {
            let element = shown(&slice.elem);
            refusals.add(ty, format!("a slice has no size: use `Vec<{element}>`"));
        }
        Type::Ptr(_) => {
            refusals.add(ty, "a pointer means nothing to its receiver: send the value itself")
        }
        Type::BareFn(_) | Type::TraitObject(_) | Type::ImplTrait(_) => {
            refusals.add(ty, "code cannot be sent: use an enum that says what to do")
        }
        Type::Never(_) => refusals.add(ty, "`!` has no value that could be sent: use `()`"),
        Type::Array(array) => refuse_type(own_name, &array.elem, refusals),
        Type::Group(group) => refuse_type(own_name, &group.elem, refusals),
        Type::Paren(paren) => refuse_type(own_name, &paren.elem, refusals),
        Type::Tuple(tuple) => {
            for part in &tuple.elems {
                refuse_type(own_name, part, refusals);
            }
        }
        _ => {}
    }
}

fn refuse_path(own_name: &Ident, path: &TypePath, refusals: &mut Refusals) {
    let is_own_name = path.path.is_ident(own_name) || path.path.is_ident("Self");
    if is_own_name {
        refusals.add(
            path,
            format!(
                "`{own_name}` contains itself, and could be nested without end: send a flat \
                 `Vec` of nodes that refer to each other by index"
            ),
        );
        return;
    }
    let Some(last) = path.path.segments.last() else {
        return;
    };
    if let Some(instead) = instead_of(last, path.path.segments.len() == 1) {
        refusals.add(path, instead);
        return;
    }
    // Only containers whose archives hold their parameters are looked into. Others may just name
    // them: a message may well have an `ActorRef` to somebody who takes this very message.
    if HOLDERS.iter().any(|holder| last.ident == holder) {
        for part in type_arguments(last) {
            refuse_type(own_name, part, refusals);
        }
    }
}

const HOLDERS: [&str; 6] = ["Option", "Result", "Box", "Vec", "BTreeMap", "BTreeSet"];

/// Why a type of the standard library, or one that is as well known, cannot be sent.
fn instead_of(last: &PathSegment, alone: bool) -> Option<&'static str> {
    let generic = !last.arguments.is_none();
    // A user's type may have any of these names, but hardly with the same parameters.
    Some(match last.ident.to_string().as_str() {
        "usize" if alone => "the size of `usize` differs between machines: use `u64`",
        "isize" if alone => "the size of `isize` differs between machines: use `i64`",
        "str" if alone => "a `str` has no size: use `String`",
        "HashMap" | "IndexMap" if generic => {
            "a hash map from a stranger cannot be checked cheaply: use a BTreeMap or a sorted Vec"
        }
        "HashSet" | "IndexSet" if generic => {
            "a hash set from a stranger cannot be checked cheaply: use a BTreeSet or a sorted Vec"
        }
        "Rc" | "Arc" | "Weak" if generic => {
            "a message shares nothing with its sender: send the value itself, \
             or mark the message `#[message(local)]`"
        }
        "Cow" if generic => "a message owns its data: use `String` or `Vec`",
        "VecDeque" | "LinkedList" | "BinaryHeap" if generic => "use a `Vec`",
        "Cell" | "RefCell" | "Mutex" | "RwLock" if generic => {
            "a message does not change on its way: send the value itself"
        }
        "Instant" => "an `Instant` means nothing to another machine: send a `Duration`",
        "SystemTime" => "send the `Duration` since `UNIX_EPOCH`",
        "PathBuf" | "OsString" => "its form differs between systems: use `String` or `Vec<u8>`",
        _ => return None,
    })
}

fn type_arguments(segment: &PathSegment) -> Vec<&Type> {
    match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => arguments
            .args
            .iter()
            .filter_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// What to own instead of borrowing this.
fn owned_instead(borrowed: &Type) -> String {
    match borrowed {
        Type::Slice(slice) => format!("use `Vec<{}>`", shown(&slice.elem)),
        Type::Path(path) if path.path.is_ident("str") => "use `String`".into(),
        Type::Path(_) | Type::Tuple(_) | Type::Array(_) => format!("use `{}`", shown(borrowed)),
        _ => "send the value itself".into(),
    }
}

/// The type as the user wrote it, if the compiler still knows.
fn shown(ty: &Type) -> String {
    ty.span().source_text().unwrap_or_else(|| ty.to_token_stream().to_string())
}
