//! `#[wire]`.

use proc_macro2::TokenStream;
use syn::{DeriveInput, Result};

use crate::{
    archive,
    args::{Args, Attribute},
    item, refuse,
};

pub(crate) fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    item::expand(Attribute::Wire, args, item, write)
}

fn write(args: &Args, item: &DeriveInput) -> Result<TokenStream> {
    refuse::bad_wire(item)?;
    refuse::bad_parts(item)?;
    Ok(archive::write(args, item))
}
