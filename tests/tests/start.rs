//! What keeps a node from starting is one clear message, and nothing of the node is left then.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(clippy::disallowed_methods, reason = "tests look from the outside")]

use std::{
    process::Command,
    sync::{Mutex, MutexGuard},
};

use annulus::{Limits, NodeBuilder, NodeError, Pinning, prelude::*, transport::ring::RingConfig};
use annulus_tests::{children::Process, descriptors};

/// One test at a time: they count the descriptors of the process.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The error that a node does not start with, as one line.
#[track_caller]
fn refused(node: NodeBuilder) -> (NodeError, String) {
    let before = descriptors();
    let Err(error) = node.start() else { panic!("it starts") };
    assert_eq!(descriptors(), before, "nothing of the node is left");
    let text = error.to_string();
    assert!(!text.contains('\n') && text.len() < 300, "{text}");
    (error, text)
}

#[test]
fn a_port_in_use_is_named() {
    let _turn = alone();
    // The first node makes the process open what it keeps.
    let ann = Node::builder("ann").listen("tcp://127.0.0.1:0").start().unwrap();
    let taken = ann.endpoints()[0].clone();
    let (error, text) = refused(Node::builder("bob").workers(3).listen(&taken));
    assert!(matches!(error, NodeError::Bind { .. }));
    assert!(text.contains(&taken) && text.contains("in use"), "{text}");
    drop(ann);
    Node::builder("bob").listen(&taken).start().unwrap();
}

#[test]
fn a_datagram_port_in_use_is_named() {
    let _turn = alone();
    drop(Node::builder("ann").start().unwrap());
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = format!("udp://{}", socket.local_addr().unwrap());
    let (error, text) = refused(Node::builder("bob").datagrams(&taken));
    assert!(matches!(error, NodeError::Bind { .. }));
    assert!(text.contains(&taken) && text.contains("in use"), "{text}");
}

#[test]
fn what_blocks_io_uring_is_named() {
    let _turn = alone();
    drop(Node::builder("ann").start().unwrap());
    for errno in [libc::EPERM, libc::ENOSYS] {
        let ring = RingConfig { fail_setup: Some(errno), ..RingConfig::default() };
        let (error, text) = refused(Node::builder("ann").workers(2).ring(ring));
        assert!(matches!(error, NodeError::Ring(_)));
        assert!(text.contains("io_uring_disabled") || text.contains("seccomp"), "{text}");
    }
    let ring = RingConfig { fail_setup: Some(libc::EINVAL), ..RingConfig::default() };
    let (_, text) = refused(Node::builder("ann").ring(ring));
    assert!(text.contains("6.1"), "{text}");
}

#[test]
fn endpoints_that_cannot_be_read_are_named() {
    let _turn = alone();
    drop(Node::builder("ann").start().unwrap());
    for text in ["", "127.0.0.1:1", "http://127.0.0.1:1", "tcp://127.0.0.1", "tcp://:x", "unix://"]
    {
        for node in [
            Node::builder("ann").listen(text),
            Node::builder("ann").join(text),
            Node::builder("ann").advertise(text),
            Node::builder("ann").datagrams(text),
        ] {
            let (_, error) = refused(node);
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
    let (_, error) = refused(Node::builder("ann").listen("udp://127.0.0.1:0"));
    assert!(error.contains("links need tcp:// or unix://"), "{error}");
    let (_, error) = refused(Node::builder("ann").datagrams("tcp://127.0.0.1:0"));
    assert!(error.contains("datagrams need udp://"), "{error}");
    let (_, error) = refused(Node::builder("ann").listen("unix:///no/such/folder/socket"));
    assert!(error.contains("/no/such/folder"), "{error}");
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let _turn = alone();
    drop(Node::builder("ann").start().unwrap());
    let cores = |cores: &[usize]| Pinning::Cores(cores.to_vec());
    for (node, says) in [
        (Node::builder(""), "name"),
        (Node::builder("a".repeat(256)), "name"),
        (Node::builder("ann").workers(0), "workers"),
        (Node::builder("ann").workers(257), "257"),
        (Node::builder("ann").workers(2).pin(cores(&[0])), "1 cores are named for 2 workers"),
        (Node::builder("ann").pin(cores(&[100_000])), "core 100000"),
        (Node::builder("ann").workers(2).pin(cores(&[0, 1000])), "core 1000"),
    ] {
        let (error, text) = refused(node);
        assert!(matches!(error, NodeError::Setting(_)), "{text}");
        assert!(text.contains(says), "{text}");
    }
    let node = Node::builder("ann").workers(2).pin(cores(&[0, 0]));
    assert!(node.start().is_ok());
}

#[test]
fn limits_that_make_no_sense_are_named() {
    let _turn = alone();
    drop(Node::builder("ann").start().unwrap());
    let limits = Limits::default();
    for (name, limits) in [
        ("chunk_size", Limits { chunk_size: 0, ..limits }),
        ("max_payload", Limits { max_payload: 0, ..limits }),
        ("max_payload", Limits { max_payload: 1 << 40, ..limits }),
        ("message_memory", Limits { message_memory: 0, ..limits }),
        ("actors", Limits { actors: 1, ..limits }),
        ("lane_chunks", Limits { lane_chunks: 0, ..limits }),
        ("max_datagram", Limits { max_datagram: 10, ..limits }),
        ("max_datagram", Limits { max_datagram: 1 << 20, ..limits }),
    ] {
        let node = Node::builder("ann").workers(2).datagrams("udp://127.0.0.1:0");
        let (error, text) = refused(node.limits(limits));
        assert!(matches!(error, NodeError::Setting(_)), "{text}");
        assert!(text.contains(name), "{text}");
    }
}

/// What a node in a process with these settings prints.
fn child(command: &mut Command) -> String {
    let mut child = Process::start(command);
    child.last_lines().join("\n")
}

const PEER: &str = env!("CARGO_BIN_EXE_peer");

#[test]
fn too_few_descriptors_are_named() {
    let _turn = alone();
    for limit in 3..16 {
        let limit = limit.to_string();
        let args = ["descriptors", &limit, "workers", "3", "listen", "tcp://127.0.0.1:0"];
        let text = child(Command::new(PEER).args(args));
        assert!(
            text.contains("ulimit -n")
                || text.contains("Too many open files")
                || text.starts_with("ready"),
            "with {limit} descriptors: {text}"
        );
        if limit == "4" {
            assert!(text.contains(&format!("RLIMIT_NOFILE is {limit}")), "{text}");
        }
    }
}

#[test]
fn too_little_lockable_memory_is_named() {
    let _turn = alone();
    let folder = annulus_tests::Folder::new();
    let own = folder.path().join("peer");
    std::fs::copy(PEER, &own).unwrap();
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&own, readable).unwrap();
    let text = child(
        Command::new("setpriv")
            .args(["--reuid", "65534", "--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock"])
            .arg(&own)
            .args(["locked-memory", "4096"]),
    );
    if text.is_empty() {
        return println!("skipped: this user cannot give up CAP_IPC_LOCK");
    }
    if text.starts_with("ready") {
        return println!("skipped: this kernel does not count the memory of rings");
    }
    assert!(text.contains("RLIMIT_MEMLOCK is 4096"), "{text}");
    assert!(text.contains("ulimit -l"), "{text}");
}
