//! The arguments of the attributes.

use proc_macro2::{Span, TokenStream};
use syn::{
    Error, Ident, LitStr, Path, Result, Token, Type,
    ext::IdentExt,
    parse::{Parse, ParseStream, Parser},
    parse_quote,
    token::Paren,
};

/// Which of the two attributes is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attribute {
    Message,
    Wire,
}

impl Attribute {
    /// The attribute as the user writes it.
    pub(crate) fn shown(self) -> &'static str {
        match self {
            Attribute::Message => "`#[message]`",
            Attribute::Wire => "`#[wire]`",
        }
    }

    fn known_arguments(self) -> &'static str {
        match self {
            Attribute::Message => {
                "`reply = Type`, `name = \"some.Name\"`, `local` and `crate = path`"
            }
            Attribute::Wire => "`crate = path`",
        }
    }
}

/// What stands between the parentheses. `#[wire]` has a `crate` only.
pub(crate) struct Args {
    pub(crate) reply: Option<Type>,
    pub(crate) name: Option<LitStr>,
    pub(crate) local: bool,
    /// Where annulus is found. Its codec is in the module `codec` there.
    pub(crate) annulus: Path,
}

impl Args {
    pub(crate) fn parse(attribute: Attribute, tokens: TokenStream) -> Result<Self> {
        let read = |input: ParseStream<'_>| {
            let mut given = Given::default();
            while !input.is_empty() {
                given.read_one(attribute, input)?;
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
            }
            Ok(Args {
                reply: given.reply,
                name: given.name,
                local: given.local.is_some(),
                annulus: given.annulus.unwrap_or_else(|| parse_quote!(::annulus)),
            })
        };
        read.parse2(tokens)
    }
}

#[derive(Default)]
struct Given {
    reply: Option<Type>,
    name: Option<LitStr>,
    local: Option<()>,
    annulus: Option<Path>,
}

impl Given {
    fn read_one(&mut self, attribute: Attribute, input: ParseStream<'_>) -> Result<()> {
        let unknown = |at: Span, found: &str| {
            let (shown, known) = (attribute.shown(), attribute.known_arguments());
            Error::new(at, format!("{found}: {shown} knows {known}"))
        };
        let key = Ident::parse_any(input)
            .map_err(|error| unknown(error.span(), "this is no argument"))?;
        match (attribute, key.to_string().as_str()) {
            (_, "crate") => set(&mut self.annulus, &key, || {
                value(&key, "crate = path", input, Path::parse_mod_style)
            }),
            (Attribute::Message, "reply") => {
                set(&mut self.reply, &key, || value(&key, "reply = Type", input, Type::parse))
            }
            (Attribute::Message, "name") => {
                set(&mut self.name, &key, || value(&key, "name = \"some.Name\"", input, wire_name))
            }
            (Attribute::Message, "local") => {
                set(&mut self.local, &key, || match input.peek(Token![=]) || input.peek(Paren) {
                    true => Err(input.error("`local` takes no value: write it alone")),
                    false => Ok(()),
                })
            }
            (_, other) => Err(unknown(key.span(), &format!("unknown argument `{other}`"))),
        }
    }
}

fn set<T>(slot: &mut Option<T>, key: &Ident, read: impl FnOnce() -> Result<T>) -> Result<()> {
    if slot.is_some() {
        return Err(Error::new(key.span(), format!("`{key}` is given twice: keep one")));
    }
    *slot = Some(read()?);
    Ok(())
}

fn value<T>(
    key: &Ident,
    form: &str,
    input: ParseStream<'_>,
    read: fn(ParseStream<'_>) -> Result<T>,
) -> Result<T> {
    let wanted = |at: Span| Error::new(at, format!("`{key}` needs a value: write `{form}`"));
    if !input.peek(Token![=]) {
        return Err(wanted(key.span()));
    }
    input.parse::<Token![=]>()?;
    if input.is_empty() || input.peek(Token![,]) {
        return Err(wanted(key.span()));
    }
    read(input)
}

fn wire_name(input: ParseStream<'_>) -> Result<LitStr> {
    let name: LitStr = input.parse().map_err(|error| {
        Error::new(error.span(), "a name is a string: write `name = \"some.Name\"`")
    })?;
    if name.value().trim().is_empty() {
        return Err(Error::new(
            name.span(),
            "other nodes know the message by its name: it cannot be empty",
        ));
    }
    Ok(name)
}
