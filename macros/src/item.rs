//! The struct or enum below an attribute.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::{
    Attribute as SynAttribute, Data, DeriveInput, Error, Expr, Field, Fields, Ident, Result, Type,
    punctuated::Punctuated, visit::Visit,
};

use crate::args::{Args, Attribute};

/// Reads arguments and item, and writes what `write` makes of them.
///
/// After an error the item stays as the user wrote it, so that the rest of the crate still finds the
/// type, and the user reads one error instead of many.
pub(crate) fn expand(
    attribute: Attribute,
    args: TokenStream,
    item: TokenStream,
    write: fn(&Args, &DeriveInput) -> Result<TokenStream>,
) -> TokenStream {
    let parsed: DeriveInput = match syn::parse2(item.clone()) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Either no type at all, or one that the compiler has something better to say about.
            let error = match syn::parse2::<syn::Item>(item.clone()) {
                Ok(other) => not_a_type(attribute, &other),
                Err(_) => error,
            };
            return [error.into_compile_error(), item].into_iter().collect();
        }
    };
    match Args::parse(attribute, args).and_then(|args| write(&args, &parsed)) {
        Ok(written) => written,
        Err(error) => {
            [error.into_compile_error(), without_our_attributes(parsed).into_token_stream()]
                .into_iter()
                .collect()
        }
    }
}

fn not_a_type(attribute: Attribute, found: &syn::Item) -> Error {
    Error::new_spanned(found, format!("{} goes on a struct or an enum", attribute.shown()))
}

/// Takes out the attributes that would make errors of their own, now that nothing comes to claim them.
fn without_our_attributes(mut item: DeriveInput) -> DeriveInput {
    let is_ours = |attr: &SynAttribute| {
        let path = attr.path();
        let hides_rkyv = || attr.meta.to_token_stream().to_string().contains("rkyv");
        ["rkyv", "message", "wire"].iter().any(|name| path.is_ident(name))
            || path.is_ident("cfg_attr") && hides_rkyv()
    };
    let clean = |attrs: &mut Vec<SynAttribute>| attrs.retain(|attr| !is_ours(attr));
    let clean_fields = |fields: &mut Fields| {
        for field in fields {
            clean(&mut field.attrs);
        }
    };
    clean(&mut item.attrs);
    match &mut item.data {
        Data::Struct(data) => clean_fields(&mut data.fields),
        Data::Enum(data) => {
            for variant in &mut data.variants {
                clean(&mut variant.attrs);
                clean_fields(&mut variant.fields);
            }
        }
        Data::Union(_) => {}
    }
    item
}

/// The fields of the struct, or of all variants of the enum.
pub(crate) fn fields(item: &DeriveInput) -> Vec<&Field> {
    match &item.data {
        Data::Struct(data) => data.fields.iter().collect(),
        Data::Enum(data) => data.variants.iter().flat_map(|v| &v.fields).collect(),
        Data::Union(data) => data.fields.named.iter().collect(),
    }
}

/// The attributes that decide whether a thing is there. The item comes to an attribute with these
/// still to be decided, so whatever speaks of the thing has to repeat them.
pub(crate) fn conditions(attrs: &[SynAttribute]) -> Vec<&SynAttribute> {
    attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect()
}

/// The types of those fields that are always there.
pub(crate) fn unconditional_field_types(item: &DeriveInput) -> Vec<&Type> {
    let always = |field: &&Field| conditions(&field.attrs).is_empty();
    let fields: Vec<&Field> = match &item.data {
        Data::Enum(data) => data
            .variants
            .iter()
            .filter(|variant| conditions(&variant.attrs).is_empty())
            .flat_map(|variant| &variant.fields)
            .collect(),
        _ => fields(item),
    };
    fields.into_iter().filter(always).map(|field| &field.ty).collect()
}

/// The types of those fields that stand or fall with a type parameter.
pub(crate) fn generic_field_types(item: &DeriveInput) -> Vec<&Type> {
    fields(item)
        .into_iter()
        .map(|field| &field.ty)
        .filter(|ty| mentions_parameter(item, ty))
        .collect()
}

fn mentions_parameter(item: &DeriveInput, ty: &Type) -> bool {
    struct Search<'a> {
        parameters: Vec<&'a Ident>,
        found: bool,
    }
    impl<'ast> Visit<'ast> for Search<'_> {
        fn visit_ident(&mut self, ident: &'ast Ident) {
            self.found |= self.parameters.contains(&ident);
        }
        fn visit_expr(&mut self, _: &'ast Expr) {}
    }
    let mut search = Search {
        parameters: item.generics.type_params().map(|p| &p.ident).collect(),
        found: false,
    };
    search.visit_type(ty);
    search.found
}

/// Whether a `#[derive(Debug)]` is still to be expanded. One that stands above the attribute is gone.
pub(crate) fn derives_debug(item: &DeriveInput) -> bool {
    let names_debug = |attr: &SynAttribute| {
        attr.parse_args_with(Punctuated::<syn::Path, syn::Token![,]>::parse_terminated).is_ok_and(
            |paths| {
                paths.iter().any(|path| path.segments.last().is_some_and(|s| s.ident == "Debug"))
            },
        )
    };
    item.attrs.iter().any(|attr| attr.path().is_ident("derive") && names_debug(attr))
}

/// The same tokens, which mean the same, shown at another place.
pub(crate) fn located_at(place: Span, tokens: TokenStream) -> TokenStream {
    let moved = tokens.into_iter().map(|mut token| {
        token.set_span(token.span().located_at(place));
        token
    });
    moved.collect()
}
