//! Datagrams.

use std::net::SocketAddr;

use annulus::transport::driver::{Data, Descriptor, Fill, MAX_PIECES, Operation, Output};

use crate::{
    bench::{Bench, SOON, called, text},
    drivers::{begin, join},
};

scripts![
    a_datagram_arrives_with_its_sender,
    datagrams_over_ipv6,
    datagrams_arrive_in_order_on_one_host,
    datagrams_keep_their_bounds,
    a_datagram_of_leases,
    a_datagram_is_cut_to_the_room,
    an_empty_datagram_is_one,
    a_datagram_into_no_room,
    a_datagram_into_a_chunk,
    a_datagram_has_a_longest_length,
    a_datagram_has_a_largest_number_of_pieces,
    a_datagram_to_nobody_is_sent,
    a_datagram_to_port_zero,
    a_datagram_to_oneself,
    a_datagram_port_in_use,
    a_datagram_port_that_was_closed_is_free,
    ports_of_streams_and_datagrams_are_apart,
    waiting_for_a_datagram_times_out,
    a_receive_from_that_is_given_up_takes_nothing_that_comes_later,
    each_of_several_receives_takes_a_datagram,
    a_receive_that_has_timed_out_leaves_datagrams_to_others,
];

fn bind(bench: &Bench) -> (Descriptor, SocketAddr) {
    bench.io.datagram_socket("127.0.0.1:0".parse().unwrap(), 1 << 16).unwrap()
}

async fn send(bench: &Bench, from: &Descriptor, to: SocketAddr, bytes: impl Into<Vec<u8>>) {
    let data = Data::Bytes(bytes.into());
    bench.show("send", Operation::SendTo { socket: from.clone(), to, data }).await;
}

fn receive(socket: &Descriptor) -> Operation {
    Operation::ReceiveFrom {
        socket: socket.clone(),
        into: Fill::Bytes(Vec::with_capacity(1 << 16)),
    }
}

async fn a_datagram_arrives_with_its_sender(bench: &Bench) {
    let ((one, here), (other, there)) = (bind(bench), bind(bench));
    send(bench, &one, there, "hello").await;
    let outcome = bench.run(receive(&other)).await;
    bench.note("receive", text(&outcome));
    let Ok(Output::ReceivedFrom { from, .. }) = outcome else { unreachable!() };
    bench.note("from the sender", (from == here).to_string());
    send(bench, &other, from, "back").await;
    bench.show("receive", receive(&one)).await;
}

async fn datagrams_over_ipv6(bench: &Bench) {
    let at = "[::1]:0".parse().unwrap();
    let (one, here) = bench.io.datagram_socket(at, 1 << 16).unwrap();
    let (other, there) = bench.io.datagram_socket(at, 1 << 16).unwrap();
    send(bench, &one, there, "hello").await;
    let outcome = bench.run(receive(&other)).await;
    bench.note("receive", text(&outcome));
    let Ok(Output::ReceivedFrom { from, .. }) = outcome else { unreachable!() };
    bench.note("from the sender", (from == here).to_string());
}

async fn datagrams_arrive_in_order_on_one_host(bench: &Bench) {
    let ((one, _), (other, there)) = (bind(bench), bind(bench));
    for number in 0..20 {
        send(bench, &one, there, format!("{number}")).await;
    }
    for _ in 0..20 {
        bench.show("receive", receive(&other)).await;
    }
}

async fn datagrams_keep_their_bounds(bench: &Bench) {
    let ((one, _), (other, there)) = (bind(bench), bind(bench));
    for size in [1, 1472, 1473, 9000, 30_000] {
        send(bench, &one, there, vec![b'x'; size]).await;
        let outcome = bench.run(receive(&other)).await;
        let Ok(Output::ReceivedFrom { bytes, truncated, .. }) = outcome else { unreachable!() };
        bench.note("receive", format!("{bytes} {truncated}"));
    }
}

async fn a_datagram_of_leases(bench: &Bench) {
    let ((one, _), (other, to)) = (bind(bench), bind(bench));
    let data = Data::Leases(bench.leases(&["one ", "", "datagram"]));
    bench.show("send", Operation::SendTo { socket: one, to, data }).await;
    bench.show("receive", receive(&other)).await;
}

async fn a_datagram_is_cut_to_the_room(bench: &Bench) {
    let ((one, _), (other, to)) = (bind(bench), bind(bench));
    for text in ["longer than that", "next"] {
        send(bench, &one, to, text).await;
    }
    for _ in 0..2 {
        let into = Fill::Bytes(Vec::with_capacity(4));
        bench.show("receive", Operation::ReceiveFrom { socket: other.clone(), into }).await;
    }
}

async fn an_empty_datagram_is_one(bench: &Bench) {
    let ((one, _), (other, to)) = (bind(bench), bind(bench));
    send(bench, &one, to, "").await;
    send(bench, &one, to, "x").await;
    bench.show("receive", receive(&other)).await;
    bench.show("receive", receive(&other)).await;
}

async fn a_datagram_into_no_room(bench: &Bench) {
    let ((one, _), (other, to)) = (bind(bench), bind(bench));
    send(bench, &one, to, "kept").await;
    let into = Fill::Bytes(Vec::new());
    bench.show("no room", Operation::ReceiveFrom { socket: other.clone(), into }).await;
    bench.show("receive", receive(&other)).await;
}

async fn a_datagram_into_a_chunk(bench: &Bench) {
    let ((one, _), (other, to)) = (bind(bench), bind(bench));
    send(bench, &one, to, "behind").await;
    let mut chunk = bench.pool().acquire().unwrap();
    chunk.append(b"before ");
    let into = Fill::Chunk(chunk);
    bench.show("receive", Operation::ReceiveFrom { socket: other, into }).await;
    bench.note("lent", bench.pool().bytes_lent().to_string());
}

async fn a_datagram_has_a_longest_length(bench: &Bench) {
    let (one, to) = bind(bench);
    send(bench, &one, to, vec![0; 65_508]).await;
    let (one, to) = bench.io.datagram_socket("[::1]:0".parse().unwrap(), 1 << 18).unwrap();
    send(bench, &one, to, vec![0; 65_527]).await;
    send(bench, &one, to, vec![0; 65_528]).await;
}

async fn a_datagram_has_a_largest_number_of_pieces(bench: &Bench) {
    let (socket, to) = bind(bench);
    for pieces in [MAX_PIECES, MAX_PIECES + 1] {
        let data = Data::Leases(bench.leases(&vec!["x"; pieces]));
        bench.show("send", Operation::SendTo { socket: socket.clone(), to, data }).await;
    }
}

async fn a_datagram_to_nobody_is_sent(bench: &Bench) {
    let ((one, here), (other, gone)) = (bind(bench), bind(bench));
    drop(other);
    for _ in 0..3 {
        send(bench, &one, gone, "is anybody there").await;
    }
    // And its own socket is as good as before.
    send(bench, &one, here, "x").await;
    bench.show("receive", receive(&one)).await;
}

async fn a_datagram_to_port_zero(bench: &Bench) {
    let (one, mut to) = bind(bench);
    to.set_port(0);
    send(bench, &one, to, "x").await;
}

async fn a_datagram_to_oneself(bench: &Bench) {
    let (one, here) = bind(bench);
    send(bench, &one, here, "me").await;
    bench.show("receive", receive(&one)).await;
}

async fn a_datagram_port_in_use(bench: &Bench) {
    let (_one, at) = bind(bench);
    bench.note("bind", called(&bench.io.datagram_socket(at, 4096)));
    bench.note("bind", called(&bench.other().datagram_socket(at, 4096)));
}

async fn a_datagram_port_that_was_closed_is_free(bench: &Bench) {
    let (one, at) = bind(bench);
    drop(one);
    let again = bench.io.datagram_socket(at, 4096);
    bench.note("bind", called(&again));
    let (again, there) = again.unwrap();
    bench.note("same place", (at == there).to_string());
    send(bench, &again, at, "x").await;
    bench.show("receive", receive(&again)).await;
}

async fn ports_of_streams_and_datagrams_are_apart(bench: &Bench) {
    let (_datagrams, at) = bind(bench);
    let endpoint = annulus::transport::endpoint::Endpoint::Tcp(at);
    bench.note("listen", called(&bench.io.listen(&endpoint, 1)));
}

async fn waiting_for_a_datagram_times_out(bench: &Bench) {
    let (one, at) = bind(bench);
    bench.note("receive", text(&bench.io.run(receive(&one), SOON).await));
    let (received, ()) = join(bench.run(receive(&one)), send(bench, &one, at, "later")).await;
    bench.note("receive", text(&received));
}

async fn a_receive_from_that_is_given_up_takes_nothing_that_comes_later(bench: &Bench) {
    let (one, at) = bind(bench);
    let mut given_up = Box::pin(bench.run(receive(&one)));
    assert!(!begin(given_up.as_mut()));
    drop(given_up);
    bench.until(|| bench.io.in_flight() == 0).await;
    send(bench, &one, at, "later").await;
    bench.show("receive", receive(&one)).await;
}

async fn each_of_several_receives_takes_a_datagram(bench: &Bench) {
    let ((one, _), (other, there)) = (bind(bench), bind(bench));
    let mut receives: Vec<_> =
        (0..3).map(|_| Box::pin(bench.io.run(receive(&other), None))).collect();
    for receive in &mut receives {
        assert!(!begin(receive.as_mut()));
    }
    for _ in 0..3 {
        send(bench, &one, there, "one of three").await;
    }
    for receive in receives {
        bench.note("receive", text(&receive.await));
    }
}

async fn a_receive_that_has_timed_out_leaves_datagrams_to_others(bench: &Bench) {
    let ((one, _), (other, there)) = (bind(bench), bind(bench));
    let (mut short, mut long) = (
        Box::pin(bench.io.run(receive(&other), SOON)),
        Box::pin(bench.io.run(receive(&other), None)),
    );
    assert!(!begin(short.as_mut()) && !begin(long.as_mut()));
    bench.note("receive", text(&short.await));
    send(bench, &one, there, "for the other").await;
    bench.note("receive", text(&long.await));
}
