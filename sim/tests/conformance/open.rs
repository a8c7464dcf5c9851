//! How streams come to be: listening, connecting, accepting.

use std::path::{Path, PathBuf};

use annulus::transport::{
    driver::{Descriptor, Operation},
    endpoint::Endpoint,
};

use crate::bench::{Bench, KINDS, Kind, LATE, SOON, called, cause};

scripts![
    connecting_to_nobody_is_refused,
    connecting_to_a_path_that_is_not_there,
    connecting_to_a_listener,
    connections_are_accepted_in_order,
    connections_wait_until_they_are_accepted,
    a_socket_connects_once,
    a_refused_socket_may_try_again,
    a_backlog_has_an_end,
    a_connection_waits_for_room_in_the_backlog,
    a_port_in_use,
    a_port_that_was_closed_is_free,
    a_port_with_connections_can_be_listened_on_again,
    port_zero_is_a_free_one,
    addresses_of_other_hosts_cannot_be_bound,
    a_path_in_use,
    a_path_stays_until_it_is_removed,
    a_path_is_removed_once,
    abstract_names_go_with_their_socket,
    paths_have_a_longest_length,
    peers_have_addresses,
    peers_have_addresses_over_ipv6,
    nobody_has_no_address,
    there_are_no_streams_over_udp,
];

fn failed<T>(result: Result<T, annulus::transport::driver::OperationError>) -> String {
    result.map_or_else(|error| cause(error.cause), |_| "Ok".into())
}

async fn connecting_to_nobody_is_refused(bench: &Bench) {
    let (listener, at) = bench.listener(Kind::Tcp);
    drop(listener);
    bench.note("connect", failed(bench.connect(&at, LATE).await));
    // A path outlives its socket.
    let (listener, at) = bench.listener(Kind::Unix);
    drop(listener);
    bench.note("connect", failed(bench.connect(&at, LATE).await));
    let zero = "tcp://127.0.0.1:0".parse().unwrap();
    bench.note("connect to port zero", failed(bench.connect(&zero, LATE).await));
}

async fn connecting_to_a_path_that_is_not_there(bench: &Bench) {
    let at = Endpoint::Unix(bench.path("nothing"));
    bench.note("never there", failed(bench.connect(&at, LATE).await));
    let (listener, at) = bench.listener(Kind::Unix);
    let Endpoint::Unix(path) = &at else { unreachable!() };
    bench.note("remove", called(&bench.io.remove_socket(path)));
    bench.note("removed", failed(bench.connect(&at, LATE).await));
    drop(listener);
}

async fn connecting_to_a_listener(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        bench.note("send", bench.send(&client, "hello").await);
        bench.note("receive", bench.receive_text(&server, 5).await);
    }
}

async fn connections_are_accepted_in_order(bench: &Bench) {
    for kind in KINDS {
        let (listener, at) = bench.listener(kind);
        let mut clients = Vec::new();
        for name in ["one", "two", "three"] {
            let client = bench.connect(&at, LATE).await.unwrap();
            bench.send(&client, name).await;
            bench.shut(&client).await;
            clients.push(client);
        }
        let mut accepting = bench.io.accept(&listener);
        for _ in &clients {
            let server = accepting.next().await.unwrap();
            bench.note("accepted", bench.receive_rest(&server).await);
        }
    }
}

async fn connections_wait_until_they_are_accepted(bench: &Bench) {
    for kind in KINDS {
        let (listener, at) = bench.listener(kind);
        let client = bench.connect(&at, LATE).await.unwrap();
        bench.note("send", bench.send(&client, "early").await);
        let server = bench.io.accept(&listener).next().await.unwrap();
        bench.note("receive", bench.receive_text(&server, 5).await);
    }
}

async fn a_socket_connects_once(bench: &Bench) {
    for kind in KINDS {
        let (_listener, at) = bench.listener(kind);
        let socket = bench.connect(&at, LATE).await.unwrap();
        let again = Operation::Connect { socket, to: at };
        bench.show("again", again).await;
    }
}

async fn a_refused_socket_may_try_again(bench: &Bench) {
    for kind in KINDS {
        let (listener, at) = bench.listener(kind);
        drop(listener);
        let socket = bench.socket(&at);
        let connect = || Operation::Connect { socket: socket.clone(), to: at.clone() };
        bench.show("nobody", connect()).await;
        bench.show("nobody still", connect()).await;
        if let Endpoint::Unix(path) = &at {
            bench.note("remove", called(&bench.io.remove_socket(path)));
        }
        let _listener = bench.io.listen(&at, 1).unwrap();
        bench.show("somebody", connect()).await;
    }
}

/// Connects until one connection finds no room. Says how that ends, and how many did.
async fn fill(bench: &Bench, at: &Endpoint) -> (Vec<Descriptor>, String) {
    let mut clients = Vec::new();
    loop {
        assert!(clients.len() < 20, "the backlog has no end");
        match bench.connect(at, SOON).await {
            Ok(client) => clients.push(client),
            Err(error) => {
                let text = format!("{} connected, then {}", clients.len(), cause(error.cause));
                return (clients, text);
            }
        }
    }
}

async fn a_backlog_has_an_end(bench: &Bench) {
    for kind in KINDS {
        for backlog in [0, 1, 3] {
            let (_listener, at) = bench.io.listen(&bench.place(kind), backlog).unwrap();
            let (_clients, text) = fill(bench, &at).await;
            bench.note("backlog", text);
        }
    }
}

async fn a_connection_waits_for_room_in_the_backlog(bench: &Bench) {
    for kind in KINDS {
        let (listener, at) = bench.io.listen(&bench.place(kind), 1).unwrap();
        let (clients, _) = fill(bench, &at).await;
        let mut accepting = bench.io.accept(&listener);
        let (late, accepted) = crate::drivers::join(bench.connect(&at, LATE), async {
            let mut accepted = Vec::new();
            for _ in &clients {
                accepted.push(accepting.next().await.unwrap());
            }
            accepted
        })
        .await;
        bench.note("late", failed(late));
        bench.note("accepted", accepted.len().to_string());
    }
}

async fn a_port_in_use(bench: &Bench) {
    let (listener, at) = bench.listener(Kind::Tcp);
    bench.note("listen", called(&bench.io.listen(&at, 1)));
    bench.note("listen", called(&bench.other().listen(&at, 1)));
    // The first one is as it was.
    let client = bench.connect(&at, LATE).await.unwrap();
    bench.send(&client, "x").await;
    let server = bench.io.accept(&listener).next().await.unwrap();
    bench.note("receive", bench.receive_text(&server, 1).await);
}

async fn a_port_that_was_closed_is_free(bench: &Bench) {
    let (listener, at) = bench.listener(Kind::Tcp);
    drop(listener);
    let again = bench.io.listen(&at, 1);
    bench.note("listen", called(&again));
    bench.note("at the same place", (again.unwrap().1 == at).to_string());
}

async fn a_port_with_connections_can_be_listened_on_again(bench: &Bench) {
    let (listener, at) = bench.listener(Kind::Tcp);
    let client = bench.connect(&at, LATE).await.unwrap();
    let server = bench.io.accept(&listener).next().await.unwrap();
    // The accept lets go of its listener when it has been cancelled.
    drop(listener);
    let mut again = bench.io.listen(&at, 1);
    bench
        .until(|| {
            if again.is_err() {
                again = bench.io.listen(&at, 1);
            }
            again.is_ok()
        })
        .await;
    let second = bench.connect(&at, LATE).await.unwrap();
    let (listener, _) = again.unwrap();
    let accepted = bench.io.accept(&listener).next().await.unwrap();
    bench.send(&client, "first").await;
    bench.send(&second, "second").await;
    bench.note("old", bench.receive_text(&server, 5).await);
    bench.note("new", bench.receive_text(&accepted, 6).await);
}

async fn port_zero_is_a_free_one(bench: &Bench) {
    let (_one, first) = bench.listener(Kind::Tcp);
    let (_other, second) = bench.listener(Kind::Tcp);
    let (Endpoint::Tcp(first), Endpoint::Tcp(second)) = (first, second) else { unreachable!() };
    bench.note("same address", (first.ip() == second.ip()).to_string());
    bench.note("same port", (first.port() == second.port()).to_string());
    bench.note("zero", (first.port() == 0 || second.port() == 0).to_string());
}

async fn addresses_of_other_hosts_cannot_be_bound(bench: &Bench) {
    // An address for documentation: nobody has it.
    let at = "tcp://192.0.2.7:0".parse().unwrap();
    bench.note("listen", called(&bench.io.listen(&at, 1)));
    let bound = bench.io.datagram_socket("192.0.2.7:0".parse().unwrap(), 4096);
    bench.note("bind", called(&bound));
    let everywhere = "tcp://0.0.0.0:0".parse().unwrap();
    bench.note("listen everywhere", called(&bench.io.listen(&everywhere, 1)));
}

async fn a_path_in_use(bench: &Bench) {
    let (_listener, at) = bench.listener(Kind::Unix);
    let kind = |result: std::io::Result<_>| format!("{:?}", result.unwrap_err().kind());
    bench.note("listen", kind(bench.io.listen(&at, 1)));
    bench.note("listen", kind(bench.other().listen(&at, 1)));
}

async fn a_path_stays_until_it_is_removed(bench: &Bench) {
    let (listener, at) = bench.listener(Kind::Unix);
    let Endpoint::Unix(path) = &at else { unreachable!() };
    drop(listener);
    let kind = |result: std::io::Result<_>| format!("{:?}", result.map_err(|error| error.kind()));
    bench.note("closed", kind(bench.io.listen(&at, 1).map(|_| ())));
    bench.note("remove", called(&bench.io.remove_socket(path)));
    bench.note("removed", kind(bench.io.listen(&at, 1).map(|_| ())));
}

async fn a_path_is_removed_once(bench: &Bench) {
    let (_listener, at) = bench.listener(Kind::Unix);
    let Endpoint::Unix(path) = &at else { unreachable!() };
    let kind = |result: std::io::Result<()>| format!("{:?}", result.map_err(|error| error.kind()));
    bench.note("by another", kind(bench.other().remove_socket(path)));
    bench.note("remove", kind(bench.io.remove_socket(path)));
    bench.note("again", kind(bench.io.remove_socket(path)));
    bench.note("nothing", kind(bench.io.remove_socket(Path::new("nothing"))));
}

async fn abstract_names_go_with_their_socket(bench: &Bench) {
    let name = format!("\0{}", bench.path("name").display());
    let at = Endpoint::Unix(PathBuf::from(name));
    let (listener, _) = bench.io.listen(&at, 1).unwrap();
    bench.note("in use", called(&bench.io.listen(&at, 1)));
    let client = bench.connect(&at, LATE).await.unwrap();
    let server = bench.io.accept(&listener).next().await.unwrap();
    bench.send(&server, "hello").await;
    bench.note("receive", bench.receive_text(&client, 5).await);
    let Endpoint::Unix(path) = &at else { unreachable!() };
    let removed = bench.io.remove_socket(path).map_err(|error| error.kind());
    bench.note("remove", format!("{removed:?}"));
    drop(listener);
    let mut gone = bench.connect(&at, LATE).await;
    while gone.is_ok() {
        // The accept has not been cancelled yet.
        gone = bench.connect(&at, LATE).await;
    }
    bench.note("connect", failed(gone));
    bench.note("listen", called(&bench.io.listen(&at, 1)));
}

async fn paths_have_a_longest_length(bench: &Bench) {
    for path in ["x".repeat(108), String::new(), "a\0b".into()] {
        let at = Endpoint::Unix(path.into());
        bench.note("listen", called(&bench.io.listen(&at, 1)));
        bench.note("connect", failed(bench.connect(&at, LATE).await));
    }
}

async fn peers_have_addresses(bench: &Bench) {
    let (listener, at) = bench.listener(Kind::Tcp);
    let Endpoint::Tcp(address) = at else { unreachable!() };
    let one = bench.connect(&at, LATE).await.unwrap();
    let other = bench.connect(&at, LATE).await.unwrap();
    let mut accepting = bench.io.accept(&listener);
    let first = accepting.next().await.unwrap();
    let second = accepting.next().await.unwrap();
    let of = |socket| bench.io.peer_address(socket).unwrap();
    bench.note("of the server", (of(&one) == address && of(&other) == address).to_string());
    bench.note("of a client", of(&first).ip().to_string());
    bench.note("clients' ports are equal", (of(&first).port() == of(&second).port()).to_string());
    // 0.0.0.0 leads here too.
    let everywhere = Endpoint::Tcp(([0, 0, 0, 0], address.port()).into());
    let third = bench.connect(&everywhere, LATE).await.unwrap();
    bench.note("by no address", (of(&third) == address).to_string());
}

async fn peers_have_addresses_over_ipv6(bench: &Bench) {
    let (listener, at) = bench.io.listen(&"tcp://[::1]:0".parse().unwrap(), 16).unwrap();
    let client = bench.connect(&at, LATE).await.unwrap();
    let server = bench.io.accept(&listener).next().await.unwrap();
    let of = |socket| bench.io.peer_address(socket).unwrap();
    bench.note("of the server", (Endpoint::Tcp(of(&client)) == at).to_string());
    bench.note("of the client", of(&server).ip().to_string());
}

async fn nobody_has_no_address(bench: &Bench) {
    for kind in KINDS {
        let (listener, at) = bench.listener(kind);
        bench.note("of a listener", called(&bench.io.peer_address(&listener)));
        bench.note("of a new socket", called(&bench.io.peer_address(&bench.socket(&at))));
    }
    let (client, server) = bench.pair(Kind::Unix).await;
    bench.note("of a Unix client", called(&bench.io.peer_address(&client)));
    bench.note("of a Unix server", called(&bench.io.peer_address(&server)));
    let (datagrams, _) = bench.io.datagram_socket("127.0.0.1:0".parse().unwrap(), 4096).unwrap();
    bench.note("of datagrams", called(&bench.io.peer_address(&datagrams)));
    let file = bench.file("file").await;
    bench.note("of a file", called(&bench.io.peer_address(&file)));
}

async fn there_are_no_streams_over_udp(bench: &Bench) {
    let udp: Endpoint = "udp://127.0.0.1:9".parse().unwrap();
    bench.note("socket", called(&bench.io.stream_socket(&udp)));
    bench.note("listen", called(&bench.io.listen(&udp, 1)));
    let socket = bench.socket(&"tcp://127.0.0.1:9".parse().unwrap());
    bench.show("connect", Operation::Connect { socket, to: udp }).await;
}
