//! Several receives wait at one socket of the bare world.
#![allow(missing_docs, reason = "tests are named after what they show")]

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use annulus::transport::{
    driver::{Data, Descriptor, Fill, Operation, OperationError, Output},
    io::{Io, Pending},
};
use annulus_sim::{Faults, Random, bare::BareWorld};

type Receive = Pin<Box<Pending>>;

fn receive(io: &Io, socket: &Descriptor) -> Receive {
    let into = Fill::Bytes(Vec::with_capacity(64));
    Box::pin(io.run(Operation::ReceiveFrom { socket: socket.clone(), into }, None))
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn poll_all(receives: &mut [Receive]) -> Option<Result<Output, OperationError>> {
    receives.iter_mut().find_map(|receive| match poll(receive.as_mut()) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    })
}

/// Whenever receives are given up, a datagram that none of them has taken goes to the one that is left.
#[test]
fn a_datagram_reaches_whoever_still_waits_for_it() {
    let step = Duration::from_micros(1);
    let mut taken_early = 0;
    for seed in 0..500 {
        let mut world = BareWorld::new(seed, Faults::default());
        let [io] = world.host(1).try_into().expect("one worker");
        let at: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let (socket, at) = io.datagram_socket(at, 1 << 16).expect("a socket");
        let mut left = vec![receive(&io, &socket)];
        let mut given_up: Vec<_> = (0..7).map(|_| receive(&io, &socket)).collect();
        assert!(poll_all(&mut given_up).is_none() && poll_all(&mut left).is_none());
        let data = Data::Bytes(b"for anyone".to_vec());
        let mut send = Box::pin(io.run(Operation::SendTo { socket, to: at, data }, None));
        assert!(poll(send.as_mut()).is_pending());
        // It is under way for up to 40 microseconds.
        let end = Duration::from_micros(Random::new(seed).between(1, 60));
        while world.now() < end {
            world.step((world.now() + step).min(end));
        }
        if poll_all(&mut given_up).is_some() {
            taken_early += 1;
            continue;
        }
        drop(given_up);
        while world.step(Duration::from_secs(1)) {}
        let outcome = poll_all(&mut left).expect("the one that is left takes it");
        assert!(matches!(outcome, Ok(Output::ReceivedFrom { bytes: 10, .. })), "seed {seed}");
    }
    assert!(
        (50..450).contains(&taken_early),
        "receives are given up early and late: {taken_early}"
    );
}
