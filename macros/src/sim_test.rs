//! `#[sim_test]`: a test that runs in a simulated cluster, over many seeds.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Ident, ItemFn, LitInt, Result, Token, parse::Parser, parse2};

/// Seeds, if the test does not say how many.
const SEEDS: u64 = 100;

pub(crate) fn expand(args: TokenStream, item: TokenStream) -> TokenStream {
    expand_checked(args, item).unwrap_or_else(Error::into_compile_error)
}

fn expand_checked(args: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let seeds = seeds(args)?;
    let ItemFn { attrs, vis, sig, block } = parse2(item)?;
    if sig.inputs.len() != 1 || sig.asyncness.is_some() || !sig.generics.params.is_empty() {
        let says = "a simulated test is `fn name(sim: &mut Sim)`, without parameters of its own";
        return Err(Error::new_spanned(&sig, says));
    }
    let (name, inputs, output) = (&sig.ident, &sig.inputs, &sig.output);
    Ok(quote! {
        #[test]
        #(#attrs)*
        #vis fn #name() {
            fn test(#inputs) #output #block
            ::annulus_sim::run_seeds(::core::stringify!(#name), #seeds, test);
        }
    })
}

fn seeds(args: TokenStream) -> Result<u64> {
    if args.is_empty() {
        return Ok(SEEDS);
    }
    let read = |input: syn::parse::ParseStream<'_>| {
        let argument: Ident = input.parse()?;
        if argument != "seeds" {
            return Err(Error::new_spanned(&argument, "the only argument is `seeds = 100`"));
        }
        input.parse::<Token![=]>()?;
        input.parse::<LitInt>()?.base10_parse()
    };
    read.parse2(args)
}
