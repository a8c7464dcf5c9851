//! A crate with the strictest lints: what the attributes write is neither unsafe code of the user's, nor
//! undocumented, nor dead.

#![forbid(unsafe_code)]
#![deny(
    missing_docs,
    warnings,
    unused,
    unreachable_pub,
    missing_debug_implementations,
    non_local_definitions
)]

/// What is public.
pub mod api {
    use annulus_macros::{message, wire};

    /// Stands for annulus.
    pub mod shim {
        pub use annulus_codec as codec;
    }

    /// A message.
    #[message(reply = Said, crate = shim)]
    #[derive(Debug)]
    pub struct Say {
        /// A field.
        pub text: String,
        /// A nested part.
        pub tone: Tone<u8>,
        hidden: u64,
    }

    /// Its answer.
    #[message(name = "echo.Said", crate = self::shim)]
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
    pub struct Said(
        /// A field.
        pub u64,
    );

    /// A part with a parameter.
    #[wire(crate = shim)]
    #[derive(Debug)]
    pub enum Tone<T> {
        /// A variant.
        Plain,
        /// A variant with a field.
        Loud(T),
        /// A variant with a named field.
        Other {
            /// A field.
            name: String,
        },
    }

    /// A message that never leaves the process.
    #[message(local, crate = shim)]
    #[derive(Debug)]
    pub struct Stay {
        /// A field.
        pub shared: std::sync::Arc<str>,
    }

    impl Say {
        /// Makes one.
        pub fn new() -> Self {
            Say { text: String::new(), tone: Tone::Plain, hidden: 0 }
        }

        /// Reads the hidden field.
        pub fn hidden(&self) -> u64 {
            self.hidden
        }
    }
}

mod private {
    use annulus_macros::message;

    use crate::api::shim;

    #[message(name = "private.Order", crate = shim)]
    #[derive(Debug)]
    pub(crate) enum Order {
        Go { fast: bool },
        Stop,
    }

    #[message(crate = shim)]
    pub(crate) struct Count(pub(crate) u8);
}

#[derive(Debug)]
#[annulus_macros::message(crate = api::shim)]
#[cfg(any())]
struct NotHere {
    nothing: TypeThatDoesNotExist,
}

fn main() {
    #[annulus_macros::message(crate = api::shim)]
    struct InAFunction {
        count: private::Count,
    }

    #[annulus_macros::message(crate = api::shim)]
    enum EnumInAFunction {
        Named { count: u8 },
    }

    let EnumInAFunction::Named { count } = EnumInAFunction::Named { count: 2 };
    assert_eq!(count, 2);
    let message = InAFunction { count: private::Count(1) };
    assert_eq!(message.count.0, 1);
    assert!(matches!(private::Order::Go { fast: true }, private::Order::Go { fast: true }));
    assert!(!matches!(private::Order::Stop, private::Order::Go { .. }));
    assert_eq!(api::Say::new().hidden(), 0);
}
