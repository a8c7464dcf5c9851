//! Streams over TCP and Unix sockets.

mod common;

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    net::TcpStream,
    os::unix::net::{UnixDatagram, UnixListener, UnixStream},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use annulus_transport::{
    driver::{Cause, Detached},
    endpoint::Endpoint,
    io::Io,
    stream::{Listener, Stream},
};
use common::*;

fn listener(io: &Io, at: &str) -> Listener {
    Listener::bind(io, &at.parse().unwrap()).unwrap()
}

/// A connected pair, through a listener.
async fn connected(io: &Io, listener: &mut Listener) -> (Stream, Stream) {
    let to = listener.endpoint().clone();
    let connect = Stream::connect(io, &to, Some(PATIENCE));
    let (client, server) = join(connect, listener.accept()).await;
    (client.unwrap(), server.unwrap())
}

async fn read_to_end(stream: &Stream) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let (bytes, count) = stream.read_some(Vec::with_capacity(1 << 16)).await.unwrap();
        if count == 0 {
            return all;
        }
        all.extend_from_slice(&bytes);
    }
}

async fn echo_once(client: &Stream, server: &Stream) {
    client.send_bytes(b"ping".to_vec()).await.unwrap();
    let (ping, _) = server.read_some(Vec::with_capacity(16)).await.unwrap();
    assert_eq!(ping, b"ping");
    server.send_bytes(b"pong".to_vec()).await.unwrap();
    let (pong, _) = client.read_some(Vec::with_capacity(16)).await.unwrap();
    assert_eq!(pong, b"pong");
}

fn tcp(stream: Stream) -> TcpStream {
    match stream.detach().unwrap() {
        Detached::Os(fd) => fd.into(),
        Detached::Simulated(_) => panic!("nothing is simulated here"),
    }
}

#[test]
fn r25_multishot_accept() {
    let io = io();
    let mut listener = listener(&io, "tcp://127.0.0.1:0");
    let to = listener.endpoint().clone();
    let accept = async {
        let mut accepted = Vec::new();
        for _ in 0..512 {
            accepted.push(listener.accept().await.unwrap());
        }
        accepted
    };
    let connect = join_all((0..512).map(|_| Stream::connect(&io, &to, Some(PATIENCE))));
    let before = io.counters().operations;
    let (accepted, connected) = block_on(&io, join(accept, connect));
    // One operation accepted all of them.
    assert_eq!(io.counters().operations - before, 1 + 512);
    let connected: Vec<_> = connected.into_iter().map(Result::unwrap).map(tcp).collect();
    let accepted: Vec<_> = accepted.into_iter().map(tcp).collect();
    let mut ours: Vec<_> = connected.iter().map(|end| end.local_addr().unwrap()).collect();
    let mut theirs: Vec<_> = accepted.iter().map(|end| end.peer_addr().unwrap()).collect();
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);
}

#[test]
fn r31_both_ends_of_a_tcp_stream_send_without_delay() {
    let io = io();
    let mut listener = listener(&io, "tcp://127.0.0.1:0");
    let (client, server) = block_on(&io, connected(&io, &mut listener));
    assert!(tcp(client).nodelay().unwrap());
    assert!(tcp(server).nodelay().unwrap());
}

#[test]
fn r25_a_listener_that_nobody_serves_does_not_take_everything() {
    let io = io();
    let mut listener = listener(&io, "tcp://127.0.0.1:0");
    let (client, server) = block_on(&io, connected(&io, &mut listener));
    let to = listener.endpoint().clone();
    // Far more connections than the driver queues; and then all of them are there.
    let connect = join_all((0..700).map(|_| Stream::connect(&io, &to, Some(PATIENCE))));
    let clients = block_on(&io, connect);
    assert!(clients.iter().all(Result::is_ok));
    block_on(&io, async {
        for _ in 0..700 {
            listener.accept().await.unwrap();
        }
    });
    block_on(&io, echo_once(&client, &server));
}

#[test]
fn r32_ipv6_streams() {
    let io = io();
    let mut listener = listener(&io, "tcp://[::1]:0");
    block_on(&io, async {
        let (client, server) = connected(&io, &mut listener).await;
        echo_once(&client, &server).await;
    });
}

#[test]
fn a_port_in_use_is_the_plain_error() {
    let io = io();
    let first = listener(&io, "tcp://127.0.0.1:0");
    let error = Listener::bind(&io, first.endpoint()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

#[test]
fn r26_connections_that_fail_say_why() {
    let io = io();
    let gone = listener(&io, "tcp://127.0.0.1:0").endpoint().clone();
    let refused = block_on(&io, Stream::connect(&io, &gone, Some(PATIENCE)));
    assert_eq!(refused.unwrap_err().cause, Cause::Os(libc::ECONNREFUSED));
    let udp = "udp://127.0.0.1:9".parse().unwrap();
    let wrong = block_on(&io, Stream::connect(&io, &udp, None));
    assert_eq!(wrong.unwrap_err().cause, Cause::Os(libc::EPROTOTYPE));
}

#[test]
fn r26_connect_times_out() {
    let io = io();
    // Nobody accepts, and there is room for very few that wait.
    let at = "tcp://127.0.0.1:0".parse().unwrap();
    let (_socket, to) = io.listen(&at, 0).unwrap();
    let timeout = Some(Duration::from_millis(100));
    let mut waiting = Vec::new();
    let error = loop {
        assert!(waiting.len() < 20, "the backlog has no end");
        match block_on(&io, Stream::connect(&io, &to, timeout)) {
            Ok(stream) => waiting.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!(error.cause, Cause::TimedOut);
    assert_eq!(io.in_flight(), 0);
}

#[test]
fn r27_unix_stream() {
    let dir = Dir::new("r27");
    let io = io();
    let path = dir.path("socket");
    let mut listener = Listener::bind(&io, &Endpoint::Unix(path.clone())).unwrap();
    block_on(&io, async {
        let (client, server) = connected(&io, &mut listener).await;
        echo_once(&client, &server).await;
    });
    drop(listener);
    assert!(!path.exists(), "the binder removes its path");
}

#[test]
fn r27_abstract_names() {
    let io = io();
    let name = format!("\0annulus-r27-{}", std::process::id());
    let at = Endpoint::Unix(PathBuf::from(name));
    let mut listener = Listener::bind(&io, &at).unwrap();
    block_on(&io, async {
        let (client, server) = connected(&io, &mut listener).await;
        echo_once(&client, &server).await;
    });
}

#[test]
fn r27_a_stale_socket_is_replaced_and_nothing_else() {
    let dir = Dir::new("r27-stale");
    let io = io();
    let bind = |path: &PathBuf| Listener::bind(&io, &Endpoint::Unix(path.clone()));

    let stale = dir.path("stale");
    drop(UnixListener::bind(&stale).unwrap());
    assert!(stale.exists());
    bind(&stale).unwrap();

    let served = dir.path("served");
    let _serving = UnixListener::bind(&served).unwrap();
    let in_use = |path: &PathBuf| bind(path).unwrap_err().kind() == ErrorKind::AddrInUse;
    assert!(in_use(&served) && served.exists());

    let datagrams = dir.path("datagrams");
    let _receiving = UnixDatagram::bind(&datagrams).unwrap();
    assert!(in_use(&datagrams) && datagrams.exists());

    let file = dir.path("file");
    std::fs::File::create(&file).unwrap();
    assert!(in_use(&file) && file.exists());
    assert!(io.remove_socket(&file).is_err() && file.exists());
}

#[test]
fn r27_a_live_listener_is_never_displaced() {
    let dir = Dir::new("r27-live");
    let path = dir.path("socket");
    let at = Endpoint::Unix(path.clone());
    let io = io();
    let living = Listener::bind(&io, &at).unwrap();
    let error = Listener::bind(&io, &at).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains("socket.lock"), "{error}");
    // Not even if the path is gone for a moment, as it is while a stale one is replaced.
    std::fs::remove_file(&path).unwrap();
    let error = Listener::bind(&io, &at).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    drop(living);
    Listener::bind(&io, &at).unwrap();
    assert_eq!(std::fs::read_dir(dir.path("")).unwrap().count(), 0, "nothing stays");
}

#[test]
fn r27_of_listeners_that_race_for_a_stale_path_one_gets_it() {
    let dir = Dir::new("r27-race");
    let path = dir.path("socket");
    let at = Endpoint::Unix(path.clone());
    let living = AtomicUsize::new(0);
    let got = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let io = io();
                for _ in 0..500 {
                    let Ok(listener) = Listener::bind(&io, &at) else {
                        thread::yield_now();
                        continue;
                    };
                    assert_eq!(living.fetch_add(1, Ordering::SeqCst), 0, "two at a time");
                    got.fetch_add(1, Ordering::SeqCst);
                    UnixStream::connect(&path).expect("the path leads to the listener");
                    living.fetch_sub(1, Ordering::SeqCst);
                    drop(listener);
                    // What a process leaves that is killed. Another one may be faster.
                    let _ = UnixListener::bind(&path);
                }
            });
        }
    });
    assert!(got.into_inner() > 4);
}

#[test]
#[ignore = "the other process of the test below"]
fn r27_holds_a_path_until_it_is_killed() {
    let mut path = String::new();
    std::io::stdin().read_line(&mut path).unwrap();
    if path.is_empty() {
        return;
    }
    let io = io();
    let mut listener = Listener::bind(&io, &Endpoint::Unix(path.trim().into())).unwrap();
    println!("\nbound");
    block_on(&io, listener.accept()).unwrap();
    panic!("nobody should connect");
}

#[test]
fn r27_the_path_of_a_process_that_was_killed_is_the_next_ones() {
    let dir = Dir::new("r27-killed");
    let path = dir.path("socket");
    let at = Endpoint::Unix(path.clone());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "r27_holds_a_path_until_it_is_killed"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{}", path.display()).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "bound"));
    let io = io();
    for _ in 0..10 {
        let error = Listener::bind(&io, &at).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(path.exists() && dir.path("socket.lock").exists(), "it had no time to clean up");
    // The kernel closes the sockets of a ring a little later than the process ends.
    let mut bound = None;
    turn_until(&io, || {
        bound = Listener::bind(&io, &at).ok();
        bound.is_some()
    });
    UnixStream::connect(&path).unwrap();
    drop(bound);
    assert_eq!(std::fs::read_dir(dir.path("")).unwrap().count(), 0, "nothing stays");
}

#[test]
fn r27_a_path_that_is_somebody_elses_by_now_is_not_removed() {
    let dir = Dir::new("r27-other");
    let path = dir.path("socket");
    let io = io();
    let listener = Listener::bind(&io, &Endpoint::Unix(path.clone())).unwrap();
    std::fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(listener);
    UnixStream::connect(&path).expect("the other listens on");
}

#[test]
fn r27_a_path_that_cannot_be_locked_says_why() {
    let dir = Dir::new("r27-lock");
    let io = io();
    std::fs::create_dir(dir.path("socket.lock")).unwrap();
    let error = Listener::bind(&io, &Endpoint::Unix(dir.path("socket"))).unwrap_err();
    assert!(error.to_string().contains("socket.lock"), "{error}");
    assert!(!dir.path("socket").exists());
}

#[test]
fn r28_the_end_of_a_stream_is_zero_bytes() {
    let io = io();
    let pool = pool();
    let mut listener = listener(&io, "tcp://127.0.0.1:0");
    block_on(&io, async {
        let (client, server) = connected(&io, &mut listener).await;
        client.send_bytes(b"last".to_vec()).await.unwrap();
        client.shutdown().await.unwrap();
        let (mut chunk, bytes) = server.receive(pool.acquire().unwrap()).await.unwrap();
        assert_eq!((bytes, &chunk.take_committed()[..]), (4, &b"last"[..]));
        let (_, bytes) = server.receive(chunk).await.unwrap();
        assert_eq!(bytes, 0);
        // The other direction is still open.
        server.send_bytes(b"still".to_vec()).await.unwrap();
        drop(server);
        assert_eq!(read_to_end(&client).await, b"still");
    });
    assert_eq!(pool.bytes_lent(), 0);
}

#[test]
fn r29_sends_are_whole_however_slow_the_reader() {
    let io = io();
    let pool = pool();
    for at in ["tcp://127.0.0.1:0", "unix"] {
        let (client, server) = if at == "unix" {
            pair(&io)
        } else {
            let mut listener = listener(&io, at);
            block_on(&io, connected(&io, &mut listener))
        };
        // More leases than one entry takes, and far more bytes than a socket does.
        let mut expected = Vec::new();
        let mut leases = Vec::new();
        for number in 0..100u32 {
            let mut chunk = pool.acquire().unwrap();
            let word = number.to_le_bytes();
            while chunk.append(&word) {
                expected.extend_from_slice(&word);
            }
            leases.push(chunk.take_committed());
        }
        let total = expected.len();
        let send = async {
            assert_eq!(client.send(leases).await.unwrap(), total);
            assert_eq!(client.send_bytes(Vec::new()).await.unwrap(), 0);
            assert_eq!(client.send(Vec::new()).await.unwrap(), 0);
            client.shutdown().await.unwrap();
        };
        let ((), received) = block_on(&io, join(send, read_to_end(&server)));
        assert!(received == expected, "{at}: {} bytes", received.len());
        assert_eq!(pool.bytes_lent(), 0);
    }
}

#[test]
fn r29_a_send_to_nobody_is_closed() {
    let io = io();
    let (stream, other) = pair(&io);
    drop(other);
    let outcome = block_on(&io, stream.send_bytes(vec![1]));
    assert_eq!(outcome.unwrap_err().cause, Cause::Closed);
}

#[test]
fn r36_a_stream_in_use_closes_after_its_last_completion() {
    let io = io();
    let (stream, other) = pair(&io);
    let mut receive = Box::pin(stream.read_some(Vec::with_capacity(8)));
    assert!(poll_once(receive.as_mut()).is_pending());
    drop(receive);
    let stream = stream.detach().expect_err("the operation still holds it");
    // The other end sees the close only when the kernel has let go of the receive.
    drop(stream);
    assert_eq!(block_on(&io, read_to_end(&other)), b"");
    assert_eq!(io.in_flight(), 0);
}

#[test]
fn r34_a_stream_moves_to_another_worker() {
    let here = io();
    let (stream, other) = pair(&here);
    block_on(&here, stream.send_bytes(b"before".to_vec())).unwrap();
    let (give, take) = mpsc::channel();
    give.send(stream.detach().unwrap()).unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            let there = io();
            let stream = Stream::attach(&there, take.recv().unwrap());
            block_on(&there, stream.send_bytes(b" and after".to_vec())).unwrap();
        });
    });
    assert_eq!(block_on(&here, read_to_end(&other)), b"before and after");
}

#[test]
fn reading_and_writing_sides_work_from_two_tasks() {
    let io = io();
    let (stream, other) = pair(&io);
    let (reader, writer) = (stream.clone(), stream);
    let echo = async {
        let all = read_to_end(&other).await;
        other.send_bytes(all).await.unwrap();
        other.shutdown().await.unwrap();
    };
    let write = async {
        for round in 0..100u32 {
            writer.send_bytes(round.to_le_bytes().to_vec()).await.unwrap();
        }
        writer.shutdown().await.unwrap();
    };
    // The reading side waits first, while nothing has been written.
    let (all, _) = block_on(&io, join(read_to_end(&reader), join(write, echo)));
    let expected: Vec<u8> = (0..100u32).flat_map(u32::to_le_bytes).collect();
    assert_eq!(all, expected);
}
