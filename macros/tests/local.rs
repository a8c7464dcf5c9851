//! Local messages: moved by value, with anything in them that is `Send`.

use std::{
    any::TypeId,
    cell::Cell,
    sync::{Arc, mpsc},
};

use annulus_codec::{
    message::{Message, MessageId},
    passing::{ByArchive, ByValue, Passing},
};
use annulus_macros::message;

mod shim {
    pub(crate) use annulus_codec as codec;
}

#[message(local, reply = Accepted, crate = shim)]
struct Accept {
    results: mpsc::Sender<u8>,
    shared: Arc<usize>,
    seen: Cell<u8>,
}

#[message(name = "local.Accepted", crate = shim)]
struct Accepted;

#[message(local, reply = Accept, name = "local.Other", crate = shim)]
enum Other {
    Run(Box<dyn FnOnce() + Send>),
    #[cfg(any())]
    Nowhere(TypeThatDoesNotExist),
}

fn passing<M: Message>() -> (TypeId, bool)
where
    M::Passing: 'static,
{
    (TypeId::of::<M::Passing>(), <M::Passing as Passing<M>>::CROSSES_NODES)
}

#[test]
fn local_messages_pass_by_value_and_others_by_archive() {
    assert_eq!(passing::<Accept>(), (TypeId::of::<ByValue>(), false));
    assert_eq!(passing::<Other>(), (TypeId::of::<ByValue>(), false));
    assert_eq!(passing::<Accepted>(), (TypeId::of::<ByArchive>(), true));
}

#[test]
fn a_local_message_may_be_answered_with_any_other() {
    fn reply<M: Message>() -> MessageId {
        M::Reply::ID
    }
    assert_eq!(reply::<Accept>(), Accepted::ID);
    assert_eq!(reply::<Other>(), Accept::ID);
}

#[test]
fn local_messages_differ_by_name_alone() {
    assert_eq!(Accept::NAME, "local::Accept");
    assert_eq!(Accept::ID.layout_hash(), Other::ID.layout_hash());
    assert_ne!(Accept::ID, Other::ID);
}

#[test]
fn the_fields_of_a_local_message_are_as_they_were_written() {
    let (results, received) = mpsc::channel();
    let accept = Accept { results, shared: Arc::new(3), seen: Cell::new(1) };
    accept.results.send(accept.seen.get()).unwrap();
    assert_eq!((received.recv(), *accept.shared), (Ok(1), 3));
    let Other::Run(run) = Other::Run(Box::new(|| ()));
    run();
}
