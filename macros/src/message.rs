//! `#[message]`.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{DeriveInput, Path, Result, Type, ext::IdentExt, parse_quote};

use crate::{
    archive,
    args::{Args, Attribute},
    item, refuse,
};

pub(crate) fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    item::expand(Attribute::Message, args, item, write)
}

fn write(args: &Args, item: &DeriveInput) -> Result<TokenStream> {
    refuse::bad_message(item)?;
    if args.local {
        return Ok(write_local(args, item));
    }
    refuse::bad_parts(item)?;
    let annulus = &args.annulus;
    let archive = archive::write(args, item);
    let message = message_impl(
        args,
        item,
        quote!(<Self as #annulus::codec::message::Layout>::LAYOUT),
        quote!(#annulus::codec::passing::ByArchive),
    );
    Ok(quote!(#archive #message))
}

/// A local message has no archive. Its identity still has a layout half, a fixed one: in one process
/// there is one version of the type.
fn write_local(args: &Args, item: &DeriveInput) -> TokenStream {
    let annulus = &args.annulus;
    // The compiler complains here if the type is not `Send`, so let this stand at the type's name.
    let by_value = quote!(#annulus::codec::passing::ByValue);
    let by_value = item::located_at(item.ident.span(), by_value);
    let message =
        message_impl(args, item, quote!(#annulus::codec::hash::hash64(b"local")), by_value);
    quote!(#item #message)
}

fn message_impl(
    args: &Args,
    item: &DeriveInput,
    layout: TokenStream,
    passing: TokenStream,
) -> TokenStream {
    let annulus: &Path = &args.annulus;
    let conditions = item::conditions(&item.attrs);
    let ident = &item.ident;
    let name = wire_name(args, item);
    let reply: Type = args.reply.clone().unwrap_or_else(|| parse_quote!(()));
    // The contract of `Message` holds: the identity is made of the name, and of the type's own layout or
    // a constant.
    quote! {
        #(#conditions)*
        #[automatically_derived]
        unsafe impl #annulus::codec::message::Message for #ident {
            const NAME: &'static str = #name;
            const ID: #annulus::codec::message::MessageId =
                #annulus::codec::message::MessageId::new(Self::NAME, #layout);
            type Reply = #reply;
            type Passing = #passing;
        }
    }
}

fn wire_name(args: &Args, item: &DeriveInput) -> TokenStream {
    match &args.name {
        Some(name) => name.to_token_stream(),
        None => {
            let ident = item.ident.unraw().to_string();
            quote!(::core::concat!(::core::module_path!(), "::", #ident))
        }
    }
}
