//! What messages and their parts have in common: the item itself, its archive, and the archive's layout.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{
    Data, DeriveInput, Fields, GenericParam, Generics, Ident, Type, ext::IdentExt, parse_quote,
    spanned::Spanned,
};

use crate::{args::Args, item, layout};

pub(crate) fn write(args: &Args, item: &DeriveInput) -> TokenStream {
    let annulus = &args.annulus;
    let rkyv = quote!(#annulus::codec::rkyv);
    let layout = layout::write(args, item);
    let archive = match has_named_variant_fields(item) {
        true => derive_apart(&rkyv, item),
        false => derive_in_place(&rkyv, item),
    };
    quote!(#layout #archive)
}

/// The plain way: rkyv's derives on the item.
fn derive_in_place(rkyv: &TokenStream, item: &DeriveInput) -> TokenStream {
    let (debug_derive, debug_impl) = debug(rkyv, item);
    // rkyv's attribute has to come after the derives that know it.
    quote! {
        #[derive(#rkyv::Archive, #rkyv::Serialize, #rkyv::Deserialize)]
        #[rkyv(crate = #rkyv #debug_derive)]
        #item
        #debug_impl
    }
}

/// The way for enums whose variants have named fields.
///
/// rkyv gives such an enum a resolver that is as public as the enum, and does not document its fields:
/// a crate with `deny(missing_docs)` would not compile. So archive and resolver are derived for a twin
/// of the enum where nobody sees them, as rkyv's remote derive for types of other crates does it.
/// Aliases bring them back under the names that rkyv would have given them.
fn derive_apart(rkyv: &TokenStream, item: &DeriveInput) -> TokenStream {
    let (debug_derive, debug_impl) = debug(rkyv, item);
    let conditions = item::conditions(&item.attrs);
    let (vis, ident) = (&item.vis, &item.ident);
    let archived = archived_name(item);
    let resolver = format_ident!("{}Resolver", ident.unraw());
    let twin = twin(item);
    let twin_ident = &twin.ident;
    let types = item::generic_field_types(item);
    let bounded = with_bounds(&item.generics, &types, &quote!(#rkyv::Archive));
    let (impl_generics, generics, bounds) = bounded.split_for_impl();
    let parameters = item.generics.params.iter().map(|parameter| match parameter {
        GenericParam::Type(ty) => ty.ident.to_token_stream(),
        other => other.to_token_stream(),
    });
    let parameters = quote!(<#(#parameters),*>);
    let doc = format!("An archived [`{ident}`]");
    quote! {
        #[derive(#rkyv::Serialize, #rkyv::Deserialize)]
        #[rkyv(crate = #rkyv)]
        #item

        #(#conditions)*
        #[doc = #doc]
        #vis type #archived #parameters = <#ident #generics as #rkyv::Archive>::Archived;

        #(#conditions)*
        type #resolver #parameters = <#ident #generics as #rkyv::Archive>::Resolver;

        #(#conditions)*
        #[allow(dead_code, unreachable_pub)]
        const _: () = {
            #[derive(#rkyv::Archive)]
            #[rkyv(crate = #rkyv, remote = #ident #generics)]
            #[rkyv(archived = #archived, resolver = #resolver #debug_derive)]
            #twin

            #[automatically_derived]
            impl #impl_generics #rkyv::Archive for #ident #generics #bounds {
                type Archived = #archived #generics;
                type Resolver = #resolver #generics;

                fn resolve(&self, resolver: Self::Resolver, out: #rkyv::Place<Self::Archived>) {
                    <#twin_ident #generics as #rkyv::with::ArchiveWith<Self>>::resolve_with(
                        self, resolver, out,
                    )
                }
            }

            #debug_impl
        };
    }
}

fn has_named_variant_fields(item: &DeriveInput) -> bool {
    match &item.data {
        Data::Enum(data) => {
            data.variants.iter().any(|variant| matches!(variant.fields, Fields::Named(_)))
        }
        _ => false,
    }
}

/// The same enum under another name, without what concerns others: documentation, other derives and
/// their attributes.
fn twin(item: &DeriveInput) -> DeriveInput {
    let mut twin = item.clone();
    twin.ident = format_ident!("{}Twin", item.ident.unraw());
    // What the archive has too, and what written discriminants need.
    twin.attrs = vec![parse_quote!(#[repr(u8)])];
    if let Data::Enum(data) = &mut twin.data {
        for variant in &mut data.variants {
            variant.attrs.retain(|attr| attr.path().is_ident("cfg"));
            for field in &mut variant.fields {
                field.attrs.retain(|attr| attr.path().is_ident("cfg"));
            }
        }
    }
    twin
}

/// How the archive gets its `Debug`: by an argument for rkyv's derive, or an impl of our own.
fn debug(rkyv: &TokenStream, item: &DeriveInput) -> (Option<TokenStream>, Option<TokenStream>) {
    // Derived code for an archive with parameters asks for too little and does not compile, so those
    // show their name only.
    if item::derives_debug(item) && item.generics.params.is_empty() {
        (Some(quote!(, derive(::core::fmt::Debug))), None)
    } else {
        (None, Some(opaque_debug(rkyv, item)))
    }
}

/// `Debug` for the archive of a type whose own `Debug` is absent, out of sight, or written by hand to
/// hide something. It is there so that a type that derives `Debug` may contain this one.
fn opaque_debug(rkyv: &TokenStream, item: &DeriveInput) -> TokenStream {
    let conditions = item::conditions(&item.attrs);
    let archived = archived_name(item);
    let shown = archived.to_string();
    let types = item::generic_field_types(item);
    let generics = with_bounds(&item.generics, &types, &quote!(#rkyv::Archive));
    let (impl_generics, type_generics, bounds) = generics.split_for_impl();
    quote! {
        #(#conditions)*
        #[automatically_derived]
        impl #impl_generics ::core::fmt::Debug for #archived #type_generics #bounds {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct(#shown).finish_non_exhaustive()
            }
        }
    }
}

/// The name of the archive that rkyv's derive makes of the item.
fn archived_name(item: &DeriveInput) -> Ident {
    format_ident!("Archived{}", item.ident.unraw())
}

/// The generics of the item, with a bound on each of these types.
pub(crate) fn with_bounds(generics: &Generics, types: &[&Type], bound: &TokenStream) -> Generics {
    let mut generics = generics.clone();
    let mut seen = BTreeSet::new();
    for ty in types {
        if seen.insert(ty.to_token_stream().to_string()) {
            // Shown at the field, which is where the user can do something about it.
            let bound = item::located_at(ty.span(), quote!(: #bound));
            let clause = generics.make_where_clause();
            clause.predicates.push(parse_quote!(#ty #bound));
        }
    }
    generics
}
