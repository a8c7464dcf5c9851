//! Operations on what they are not made for. They fail, and say why.

use annulus::transport::driver::{Data, Descriptor, Fill, Operation};

use crate::bench::{Bench, KINDS, cause, text};

scripts![
    sockets_that_are_not_connected,
    listeners_move_no_bytes,
    only_listeners_accept,
    datagram_sockets_are_no_streams,
    streams_are_no_datagram_sockets,
    files_are_no_sockets,
    sockets_are_no_files,
    sockets_connect_within_their_family,
];

fn receive(socket: &Descriptor) -> Operation {
    Operation::Receive { socket: socket.clone(), into: Fill::Bytes(Vec::with_capacity(8)) }
}

fn send(socket: &Descriptor) -> Operation {
    Operation::Send { socket: socket.clone(), data: Data::Bytes(b"x".to_vec()) }
}

fn receive_from(socket: &Descriptor) -> Operation {
    Operation::ReceiveFrom { socket: socket.clone(), into: Fill::Bytes(Vec::with_capacity(8)) }
}

fn send_to(socket: &Descriptor) -> Operation {
    let to = "127.0.0.1:9".parse().unwrap();
    Operation::SendTo { socket: socket.clone(), to, data: Data::Bytes(b"x".to_vec()) }
}

async fn accept(bench: &Bench, socket: &Descriptor) {
    let error = bench.io.accept(socket).next().await.unwrap_err();
    bench.note("accept", cause(error.cause));
}

async fn sockets_that_are_not_connected(bench: &Bench) {
    for kind in KINDS {
        let socket = bench.socket(&bench.place(kind));
        bench.show("receive", receive(&socket)).await;
        bench.show("send", send(&socket)).await;
    }
}

async fn listeners_move_no_bytes(bench: &Bench) {
    for kind in KINDS {
        let (listener, at) = bench.listener(kind);
        bench.show("receive", receive(&listener)).await;
        bench.show("send", send(&listener)).await;
        bench.show("connect", Operation::Connect { socket: listener, to: at }).await;
    }
}

async fn only_listeners_accept(bench: &Bench) {
    for kind in KINDS {
        accept(bench, &bench.socket(&bench.place(kind))).await;
        let (client, _server) = bench.pair(kind).await;
        accept(bench, &client).await;
    }
    let (datagrams, _) = bench.io.datagram_socket("127.0.0.1:0".parse().unwrap(), 4096).unwrap();
    accept(bench, &datagrams).await;
    accept(bench, &bench.file("file").await).await;
}

async fn datagram_sockets_are_no_streams(bench: &Bench) {
    let (socket, _) = bench.io.datagram_socket("127.0.0.1:0".parse().unwrap(), 4096).unwrap();
    bench.show("send", send(&socket)).await;
    bench.show("shutdown", Operation::Shutdown { socket }).await;
}

async fn streams_are_no_datagram_sockets(bench: &Bench) {
    for kind in KINDS {
        let socket = bench.socket(&bench.place(kind));
        bench.show("receive from", receive_from(&socket)).await;
    }
    // Over TCP the address is passed over.
    let (client, server) = bench.pair(KINDS[1]).await;
    bench.show("send to", send_to(&client)).await;
    drop(server);
}

async fn files_are_no_sockets(bench: &Bench) {
    let file = bench.file("file").await;
    bench.show("receive", receive(&file)).await;
    bench.show("send", send(&file)).await;
    bench.show("receive from", receive_from(&file)).await;
    bench.show("send to", send_to(&file)).await;
    bench.show("shutdown", Operation::Shutdown { socket: file.clone() }).await;
    let to = "tcp://127.0.0.1:9".parse().unwrap();
    bench.show("connect", Operation::Connect { socket: file, to }).await;
}

async fn sockets_are_no_files(bench: &Bench) {
    for kind in KINDS {
        let (client, _server) = bench.pair(kind).await;
        let sync = Operation::Sync { file: client.clone(), data_only: false };
        bench.show("sync", sync).await;
        bench.note("length", bench.length(&client).await);
    }
}

async fn sockets_connect_within_their_family(bench: &Bench) {
    let [tcp, unix] = KINDS.map(|kind| bench.listener(kind));
    let socket = bench.socket(&tcp.1);
    let connect = Operation::Connect { socket, to: unix.1.clone() };
    bench.note("TCP to a path", text(&bench.run(connect).await));
    let socket = bench.socket(&unix.1);
    let connect = Operation::Connect { socket, to: tcp.1 };
    bench.note("Unix to a port", text(&bench.run(connect).await));
}
