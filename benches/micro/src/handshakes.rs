//! Handshakes: both sides, with nothing between them.

use std::hint::black_box;

use annulus::codec::handshake::{Handshake, Hello, Step};

use crate::{LAP, Work};

/// One connection gets opened after the other.
pub struct Shake {
    dialer: Hello,
    acceptor: Hello,
}

impl Work for Shake {
    fn prepare() -> Self {
        Shake { dialer: hello("ann"), acceptor: hello("bob") }
    }

    fn lap(&mut self) {
        (0..LAP).for_each(|_| self.shake());
    }
}

impl Shake {
    fn shake(&self) {
        let mut dialer = Handshake::dial(SECRET, [1; 32], self.dialer.clone());
        let mut acceptor = Handshake::accept(SECRET, [2; 32]);
        let greeting = send(acceptor.input(&dialer.greeting()).expect("it is a greeting"));
        let introduction = send(dialer.input(&greeting).expect("it is a greeting"));
        let Ok(Step::Decide(hello)) = acceptor.input(&introduction) else {
            unreachable!("the dialer has introduced itself")
        };
        black_box(hello);
        let admission = acceptor.admit(&self.acceptor);
        let Ok(Step::Done(hello)) = dialer.input(&admission) else {
            unreachable!("the dialer is admitted")
        };
        black_box(hello);
    }
}

const SECRET: &[u8] = b"known to both";

fn send(step: Step) -> Vec<u8> {
    let Step::Send(bytes) = step else { unreachable!("there is something to send") };
    bytes
}

fn hello(node: &str) -> Hello {
    Hello {
        cluster: "annulus".to_owned(),
        node: node.to_owned(),
        incarnation: 1,
        workers: 2,
        link: 0,
        endpoints: vec!["tcp://10.0.0.1:7000".to_owned()],
        datagrams: vec!["10.0.0.1:7001".to_owned(), "10.0.0.1:7002".to_owned()],
        datagram_token: 7,
        max_payload: 16 << 20,
    }
}
