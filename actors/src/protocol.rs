//! Protocols: which messages an actor takes, as a tuple type.

use std::future::Future;

use annulus_codec::message::{Message, MessageId};

use crate::{
    actor::{Actor, Respond},
    context::Context,
    error::Failure,
};

/// A list of messages. Implemented for tuples of up to 16 message types.
pub trait Protocol: 'static {
    /// The identities of the messages, in order.
    const MESSAGES: &'static [MessageId];
}

/// That a protocol has the message `M`, at the position `I`, which the compiler finds.
#[diagnostic::on_unimplemented(
    message = "`{M}` is not in the protocol `{Self}`",
    label = "this actor does not take `{M}`",
    note = "list it in the actor's `type Protocol = (..)` and implement `Handler<{M}>` for it"
)]
pub trait Accepts<M: Message, I>: Protocol {}

/// A position in a protocol.
pub struct At<const N: usize>;

/// A protocol whose every message the actor `A` handles: the dispatch table.
#[diagnostic::on_unimplemented(
    message = "`{A}` does not handle every message of its protocol `{Self}`",
    note = "a protocol is a tuple of message types, such as `(Say,)`",
    note = "implement `Handler<M>` for each message `M` in it"
)]
pub trait Serve<A: Actor>: Protocol {
    /// Hands the message that the context has to its handler.
    #[doc(hidden)]
    fn serve(actor: &mut A, found: MessageId, context: &mut Context<A>)
    -> impl Future<Output = ()>;
}

#[cold]
fn refuse<A: Actor>(found: MessageId, context: &mut Context<A>, messages: &[MessageId]) {
    let failure = if messages.iter().any(|known| known.same_name(found)) {
        Failure::Incompatible
    } else {
        Failure::Unknown
    };
    context.core().dead_letters.unhandled(context.address(), found, failure);
    context.refuse_message(failure);
}

/// Whether two of the messages have the same half of the identity that comes from the name.
const fn names_clash(messages: &[MessageId]) -> bool {
    let mut left = 0;
    while left < messages.len() {
        let mut right = left + 1;
        while right < messages.len() {
            if messages[left].name_hash() == messages[right].name_hash() {
                return true;
            }
            right += 1;
        }
        left += 1;
    }
    false
}

macro_rules! protocol {
    ($($message:ident)+) => {
        impl<$($message: Message),+> Protocol for ($($message,)+) {
            const MESSAGES: &'static [MessageId] = {
                let messages = &[$($message::ID),+];
                assert!(
                    !names_clash(messages),
                    "two messages of one protocol have the same name: give one of them another with \
                     #[message(name = \"..\")]"
                );
                messages
            };
        }

        impl<Act: Actor $(+ Respond<$message>)+, $($message: Message),+> Serve<Act>
            for ($($message,)+)
        {
            #[inline]
            async fn serve(actor: &mut Act, found: MessageId, context: &mut Context<Act>) {
                $(
                    if found == $message::ID {
                        return <Act as Respond<$message>>::serve(actor, context).await;
                    }
                )+
                refuse(found, context, Self::MESSAGES);
            }
        }
    };
}

macro_rules! accepts {
    ($position:literal: $($before:ident)* [$it:ident] $($after:ident)*) => {
        impl<$($before: Message,)* $it: Message, $($after: Message,)*> Accepts<$it, At<$position>>
            for ($($before,)* $it, $($after,)*) {}
    };
}

/// For one tuple: that it accepts each of its messages at its position.
macro_rules! positions {
    ([$($before:ident)*] [$($number:literal)*]) => {};
    ([$($before:ident)*] [$number:literal $($numbers:literal)*] $it:ident $($after:ident)*) => {
        accepts!($number: $($before)* [$it] $($after)*);
        positions!([$($before)* $it] [$($numbers)*] $($after)*);
    };
}

macro_rules! protocols {
    ($($message:ident)+) => {
        protocol!($($message)+);
        positions!([] [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15] $($message)+);
    };
}

protocols!(A);
protocols!(A B);
protocols!(A B C);
protocols!(A B C D);
protocols!(A B C D E);
protocols!(A B C D E F);
protocols!(A B C D E F G);
protocols!(A B C D E F G H);
protocols!(A B C D E F G H I);
protocols!(A B C D E F G H I J);
protocols!(A B C D E F G H I J K);
protocols!(A B C D E F G H I J K L);
protocols!(A B C D E F G H I J K L M);
protocols!(A B C D E F G H I J K L M N);
protocols!(A B C D E F G H I J K L M N O);
protocols!(A B C D E F G H I J K L M N O P);
