//! Both sides of a handshake against a stranger: bytes of any kind, in pieces of any length, and a real
//! conversation with changed bytes. Only the unchanged one may end well.
#![no_main]

use annulus_codec::handshake::{Handshake, HandshakeError, Hello, Refusal, Step};
use annulus_fuzz::pieces;
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
enum Input {
    Garbage {
        dialer: bool,
        greeted: bool,
        lengths: Vec<u8>,
        bytes: Vec<u8>,
    },
    Changed {
        to_dialer: Vec<(u16, u8)>,
        to_acceptor: Vec<(u16, u8)>,
        lengths: Vec<u8>,
        knows_secret: bool,
        refuse: Option<u64>,
        hello: (String, Vec<String>),
    },
    /// What comes with a good proof may still be nonsense.
    Insider {
        hello: Vec<u8>,
        kind: u8,
        code: u64,
    },
}

fuzz_target!(|input: Input| match input {
    Input::Garbage { dialer, greeted, lengths, bytes } =>
        garbage(dialer, greeted, &lengths, &bytes),
    Input::Changed { to_dialer, to_acceptor, lengths, knows_secret, refuse, hello } => {
        let secret: &[u8] = if knows_secret { b"secret" } else { b"guess" };
        converse(&to_dialer, &to_acceptor, &lengths, secret, refuse, hello);
    }
    Input::Insider { hello, kind, code } => insider(&hello, kind, code),
});

fn hello(node: String, endpoints: Vec<String>) -> Hello {
    Hello {
        cluster: "test".into(),
        node,
        incarnation: 7,
        workers: 2,
        link: 1,
        endpoints,
        datagrams: vec!["127.0.0.1:9".into()],
        datagram_token: 3,
        max_payload: 1 << 20,
    }
}

fn garbage(dialer: bool, greeted: bool, lengths: &[u8], bytes: &[u8]) {
    let mut side = if dialer {
        Handshake::dial(b"secret", [1; 32], hello("a".into(), vec![]))
    } else {
        Handshake::accept(b"secret", [2; 32])
    };
    if greeted {
        let other = Handshake::accept(b"secret", [3; 32]);
        assert!(matches!(side.input(&other.greeting()), Ok(Step::Send(_))));
    }
    let mut fed = 0;
    for piece in pieces(bytes, lengths) {
        fed += piece.len();
        match side.input(piece) {
            Ok(Step::Receive | Step::Send(_)) => {}
            Ok(Step::Decide(_) | Step::Done(_)) => panic!("a stranger got in"),
            Err(error) => {
                assert_eq!(side.input(piece).map(drop), Err(error), "it is over");
                assert!(side.into_rest().is_empty());
                return;
            }
        }
    }
    assert!(side.into_rest().len() <= fed);
}

/// Flips bits of what one side says. Returns whether that changed anything.
fn change(bytes: &mut [u8], at: usize, changes: &[(u16, u8)]) -> bool {
    let before = bytes.to_vec();
    for (place, flip) in changes {
        let place = usize::from(*place);
        if place >= at && place - at < bytes.len() {
            bytes[place - at] ^= flip;
        }
    }
    before != bytes
}

/// What travels in one direction.
struct Way<'a> {
    changes: &'a [(u16, u8)],
    sent: usize,
    changed: bool,
    bytes: Vec<u8>,
}

impl Way<'_> {
    fn say(&mut self, mut bytes: Vec<u8>) {
        self.changed |= change(&mut bytes, self.sent, self.changes);
        self.sent += bytes.len();
        self.bytes.extend(bytes);
    }

    fn arriving(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.bytes.len());
        self.bytes.drain(..count).collect()
    }
}

fn converse(
    to_dialer: &[(u16, u8)],
    to_acceptor: &[(u16, u8)],
    lengths: &[u8],
    secret: &[u8],
    refuse: Option<u64>,
    (name, endpoints): (String, Vec<String>),
) {
    let said = hello(name, endpoints);
    let answer = hello("acceptor".into(), vec![]);
    let mut dialer = Handshake::dial(secret, [1; 32], said.clone());
    let mut acceptor = Handshake::accept(b"secret", [2; 32]);
    let way = |changes| Way { changes, sent: 0, changed: false, bytes: Vec::new() };
    let (mut up, mut down) = (way(to_acceptor), way(to_dialer));
    up.say(dialer.greeting().to_vec());
    let mut lengths = lengths.iter().map(|len| usize::from(*len).max(1));
    for _ in 0..10_000 {
        let bytes = up.arriving(lengths.next().unwrap_or(usize::MAX));
        match acceptor.input(&bytes) {
            Ok(Step::Send(bytes)) => down.say(bytes),
            Ok(Step::Decide(hello)) => {
                assert!(!up.changed, "a changed introduction has no proof");
                assert!(secret == b"secret" && hello == said);
                match refuse {
                    Some(code) => down.say(acceptor.refuse(Refusal::Other(code))),
                    None => down.say(acceptor.admit(&answer)),
                }
            }
            Ok(Step::Receive) => {}
            Ok(Step::Done(_)) => panic!("only dialers are done"),
            Err(error) => return judge(error, secret, &up, &down),
        }
        let bytes = down.arriving(lengths.next().unwrap_or(usize::MAX));
        match dialer.input(&bytes) {
            Ok(Step::Send(bytes)) => up.say(bytes),
            Ok(Step::Done(hello)) => {
                assert!(!up.changed && !down.changed && refuse.is_none() && hello == answer);
                return;
            }
            Ok(Step::Receive) => {}
            Ok(Step::Decide(_)) => panic!("only acceptors decide"),
            Err(HandshakeError::Refused(_)) => {
                assert!(refuse.is_some() && !up.changed && !down.changed);
                return;
            }
            Err(error) => return judge(error, secret, &up, &down),
        }
        let idle = up.bytes.is_empty() && down.bytes.is_empty() && bytes.is_empty();
        if idle {
            // A changed length makes a side wait for bytes that never come: its deadline ends that.
            assert!(up.changed || down.changed, "an honest handshake does not stop half way");
            return;
        }
    }
}

fn judge(error: HandshakeError, secret: &[u8], up: &Way<'_>, down: &Way<'_>) {
    let too_long = matches!(error, HandshakeError::OwnHelloTooLong(_));
    assert!(
        up.changed || down.changed || secret != b"secret" || too_long,
        "an honest handshake failed: {error}"
    );
}

/// Somebody who knows the secret says something odd. The proof is made with the crate's own code: an
/// acceptor introduces itself with whatever hello it is given, so the only odd things that can be said
/// with it are odd refusals and odd strings.
fn insider(bytes: &[u8], kind: u8, code: u64) {
    let mut dialer = Handshake::dial(b"secret", [1; 32], hello("a".into(), vec![]));
    let mut acceptor = Handshake::accept(b"secret", [2; 32]);
    let Ok(Step::Send(greeting)) = acceptor.input(&dialer.greeting()) else {
        panic!("the greeting is in order")
    };
    let Ok(Step::Send(introduction)) = dialer.input(&greeting) else {
        panic!("the greeting is in order")
    };
    assert!(matches!(acceptor.input(&introduction), Ok(Step::Decide(_))));
    let node: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let own = hello(node.clone(), vec![node.clone(); usize::from(kind)]);
    let refused = kind.is_multiple_of(2);
    let mut said =
        if refused { acceptor.refuse(Refusal::Other(code)) } else { acceptor.admit(&own) };
    said.extend_from_slice(bytes);
    match dialer.input(&said) {
        Ok(Step::Done(hello)) => {
            assert_eq!(hello, own);
            assert_eq!(dialer.into_rest(), bytes);
        }
        Err(HandshakeError::Refused(_)) => assert!(refused || own.check().is_err()),
        other => panic!("{other:?}"),
    }
}
