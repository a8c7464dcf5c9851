//! Datagrams over UDP.

mod common;

use annulus_transport::{
    datagram::DatagramSocket,
    driver::{Cause, Data, MAX_PIECES},
    io::Io,
};
use common::*;

fn bind(io: &Io, at: &str) -> DatagramSocket {
    DatagramSocket::bind(io, at.parse().unwrap(), 256 * 1024).unwrap()
}

#[test]
fn r37_udp() {
    let io = io();
    let pool = pool();
    for at in ["127.0.0.1:0", "[::1]:0"] {
        let (one, other) = (bind(&io, at), bind(&io, at));
        let mut chunk = pool.acquire().unwrap();
        let leases = ["to ", "the ", "other"].map(|text| {
            chunk.append(text.as_bytes());
            chunk.take_committed()
        });
        block_on(&io, async {
            let data = Data::Leases(leases.to_vec());
            one.send_to(other.address(), data).await.unwrap();
            let mut got = other.receive(pool.acquire().unwrap()).await.unwrap();
            assert_eq!(&got.chunk.take_committed()[..], b"to the other");
            assert_eq!(got.bytes, 12);
            assert_eq!(got.from, one.address());
            assert!(!got.truncated);

            let data = Data::Bytes(b"and back".to_vec());
            other.send_to(got.from, data).await.unwrap();
            let mut got = one.receive(got.chunk).await.unwrap();
            assert_eq!(&got.chunk.take_committed()[..], b"and back");
            assert_eq!(got.from, other.address());
        });
    }
}

#[test]
fn r37_datagrams_of_all_sizes_arrive_whole() {
    let io = io();
    let pool = pool();
    let (one, other) = (bind(&io, "127.0.0.1:0"), bind(&io, "127.0.0.1:0"));
    block_on(&io, async {
        for size in [0, 1, 1472, 1473, 9000, 65507] {
            let data: Vec<u8> = (0..size).map(|byte| byte as u8).collect();
            one.send_to(other.address(), Data::Bytes(data.clone())).await.unwrap();
            let mut got = other.receive(pool.acquire().unwrap()).await.unwrap();
            assert_eq!(got.bytes, data.len());
            assert_eq!(&got.chunk.take_committed()[..], &data[..]);
        }
    });
}

#[test]
fn r38_a_datagram_longer_than_the_room_is_truncated_and_says_so() {
    let io = io();
    let small = annulus_codec::chunk::ChunkPool::new(64, 1, 1024);
    let (one, other) = (bind(&io, "127.0.0.1:0"), bind(&io, "127.0.0.1:0"));
    block_on(&io, async {
        one.send_to(other.address(), Data::Bytes(vec![7; 65])).await.unwrap();
        one.send_to(other.address(), Data::Bytes(vec![8; 64])).await.unwrap();
        let got = other.receive(small.acquire().unwrap()).await.unwrap();
        assert_eq!((got.bytes, got.truncated), (64, true));
        assert_eq!(got.from, one.address());
        let got = other.receive(small.acquire().unwrap()).await.unwrap();
        assert_eq!((got.bytes, got.truncated), (64, false));
    });
}

#[test]
fn r37_a_datagram_goes_whole_or_not_at_all() {
    let io = io();
    let pool = pool();
    let socket = bind(&io, "127.0.0.1:0");
    let mut chunk = pool.acquire().unwrap();
    chunk.append(b"x");
    let lease = chunk.take_committed();
    let pieces = vec![lease; MAX_PIECES + 1];
    for data in [Data::Leases(pieces), Data::Bytes(vec![0; 65508])] {
        let outcome = block_on(&io, socket.send_to(socket.address(), data));
        assert_eq!(outcome.unwrap_err().cause, Cause::Os(libc::EMSGSIZE));
    }
}

#[test]
fn r37_an_address_in_use_is_the_plain_error() {
    let io = io();
    let first = bind(&io, "127.0.0.1:0");
    let error = DatagramSocket::bind(&io, first.address(), 4096).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}
