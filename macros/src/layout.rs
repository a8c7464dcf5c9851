//! The hash of an archive's shape, as an expression that the compiler evaluates.
//!
//! A struct is `"struct"` joined by its fields, an enum is `"enum"` joined by its variants, each of which
//! is its name joined by its fields. A field is its name joined by the layout of its type. All of them
//! in the order in which they are written, which is the order in the archive.
//!
//! The type's own name is not a part of its layout. For a message it is in the other half of the
//! identity. For a part of a message nothing else names it, so two parts of the same shape have the
//! same layout. That is on purpose: their archives are the same bytes, and a type that was renamed, or
//! replaced by an equal one, still speaks to older nodes.
//!
//! Besides, whether the archive is flat: it is if all of its fields are.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Field, Fields, Ident, Variant, ext::IdentExt};

use crate::{archive::with_bounds, args::Args, item};

/// Stands for the name of a tuple's field, and is no name that a field can have. The field's index
/// would say no more than its place in the order does.
const UNNAMED: &str = "_";

pub(crate) fn write(args: &Args, item: &DeriveInput) -> TokenStream {
    let annulus = &args.annulus;
    let layout = quote!(#annulus::codec::message::Layout);
    let conditions = item::conditions(&item.attrs);
    let ident = &item.ident;
    let (shape, flat) = match &item.data {
        Data::Struct(data) => {
            let fields = join_fields(&layout, &data.fields);
            (quote!(let layout = hash64(b"struct"); #fields), flat(&layout, &data.fields))
        }
        Data::Enum(data) => {
            let variants = data.variants.iter().map(|v| join_variant(&layout, v));
            let parts = data.variants.iter().map(|v| flat_variant(&layout, v));
            (quote!(let layout = hash64(b"enum"); #(#variants)*), quote!(#(#parts)*))
        }
        Data::Union(_) => unreachable!("unions were refused"),
    };
    // The bounds on types without parameters are not needed, but the compiler checks them before what
    // rkyv derives: the first error about a field then is the one that says what to do.
    let mut types = item::unconditional_field_types(item);
    types.extend(item::generic_field_types(item));
    let generics = with_bounds(&item.generics, &types, &layout);
    let (impl_generics, type_generics, bounds) = generics.split_for_impl();
    // Layouts are evaluated where they are used. Using this one here puts errors that come out of the
    // evaluation at the type itself, even if nobody sends it yet.
    let evaluated = item.generics.params.is_empty().then(|| {
        quote! {
            #(#conditions)*
            const _: u64 = <#ident as #layout>::LAYOUT;
        }
    });
    quote! {
        #(#conditions)*
        #[automatically_derived]
        unsafe impl #impl_generics #layout for #ident #type_generics #bounds {
            const LAYOUT: u64 = {
                #[allow(unused_imports)]
                use #annulus::codec::hash::{hash64, join64};
                #shape
                layout
            };
            const FLAT: bool = {
                let flat = true;
                #flat
                flat
            };
        }
        #evaluated
    }
}

fn join_fields(layout: &TokenStream, fields: &Fields) -> TokenStream {
    let join = |field: &Field| {
        let conditions = item::conditions(&field.attrs);
        let name = field.ident.as_ref().map_or(UNNAMED.into(), name_of);
        let ty = &field.ty;
        quote! {
            #(#conditions)*
            let layout = join64(layout, join64(hash64(#name.as_bytes()), <#ty as #layout>::LAYOUT));
        }
    };
    fields.iter().map(join).collect()
}

fn join_variant(layout: &TokenStream, variant: &Variant) -> TokenStream {
    let conditions = item::conditions(&variant.attrs);
    let name = name_of(&variant.ident);
    // The archive's tag is the discriminant. It follows from the order, except where it is written.
    let discriminant = variant.discriminant.as_ref().map(
        |(_, value)| quote!(let layout = join64(layout, join64(hash64(b"="), (#value) as u64));),
    );
    let fields = join_fields(layout, &variant.fields);
    quote! {
        #(#conditions)*
        let layout = join64(layout, {
            let layout = hash64(#name.as_bytes());
            #discriminant
            #fields
            layout
        });
    }
}

/// Fields lie in the archive themselves, so it has no pointers but theirs.
fn flat(layout: &TokenStream, fields: &Fields) -> TokenStream {
    let is_flat = |field: &Field| {
        let conditions = item::conditions(&field.attrs);
        let ty = &field.ty;
        quote! {
            #(#conditions)*
            let flat = flat && <#ty as #layout>::FLAT;
        }
    };
    fields.iter().map(is_flat).collect()
}

fn flat_variant(layout: &TokenStream, variant: &Variant) -> TokenStream {
    let conditions = item::conditions(&variant.attrs);
    let fields = flat(layout, &variant.fields);
    quote! {
        #(#conditions)*
        let flat = flat && {
            let flat = true;
            #fields
            flat
        };
    }
}

fn name_of(ident: &Ident) -> String {
    ident.unraw().to_string()
}
