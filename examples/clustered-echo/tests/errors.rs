//! R73: what cannot work ends the program with one line that says what and why, and with an exit code
//! that is not zero.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(clippy::disallowed_methods, reason = "tests look from the outside")]

mod common;

use std::{
    fs::File,
    net::{TcpListener, UdpSocket},
    os::unix::net::UnixListener,
    process::{Command, ExitStatus},
};

use common::{PROGRAM, Run, node, program};

/// A run whose log is what a user sees who has set nothing.
fn start(arguments: &[&str]) -> Run {
    Run::start(program(arguments).env_remove("RUST_LOG"))
}

/// Waits for the end of a run that cannot work. Returns how it ended, and what it has said.
#[track_caller]
fn end_of(mut run: Run) -> (ExitStatus, Vec<String>) {
    let (status, _) = run.wait();
    assert_eq!(run.out.whole(), [""; 0], "nothing belongs on standard output");
    let lines = run.log.whole();
    println!("{status}: {lines:?}");
    (status, lines)
}

/// A run ends with one line, in which all of these texts are.
#[track_caller]
fn says(run: Run, texts: &[&str]) {
    let (status, lines) = end_of(run);
    assert_eq!(status.code(), Some(1), "{lines:?}");
    let [line] = &lines[..] else { panic!("not one line: {lines:?}") };
    assert!(line.starts_with("clustered-echo: "), "{line}");
    for text in texts {
        assert!(line.contains(text), "`{text}` is not in: {line}");
    }
}

/// All of these runs end so. They run at the same time, as some wait for a while.
#[track_caller]
fn all_say(cases: &[(&[&str], &[&str])]) {
    let runs: Vec<Run> = cases.iter().map(|(arguments, _)| start(arguments)).collect();
    for (run, (_, texts)) in runs.into_iter().zip(cases) {
        says(run, texts);
    }
}

/// The first line says it all; what follows shows how it is to be.
#[test]
fn r73_bad_arguments_are_named() {
    let cases: [(&[&str], &[&str]); 7] = [
        (&["--no-such"], &["unexpected argument", "--no-such"]),
        (&["frobnicate"], &["unrecognized subcommand", "frobnicate"]),
        (&["--nodes", "1"], &["--nodes", "1 is not in 2..=16"]),
        (&["--seconds", "soon"], &["--seconds", "soon", "invalid float"]),
        (&["--seconds", "0"], &["--seconds", "between 0.1 and 86400 seconds"]),
        (&["--transport", "pigeon"], &["--transport", "pigeon"]),
        (&["send", "--via", "tcp://127.0.0.1:1"], &["required arguments were not provided"]),
    ];
    for (arguments, texts) in cases {
        let (status, lines) = end_of(start(arguments));
        assert_eq!(status.code(), Some(2), "{arguments:?}");
        assert!(lines[0].starts_with("error: "), "{lines:?}");
        for text in texts {
            assert!(lines[0].contains(text), "`{text}` is not in: {}", lines[0]);
        }
    }
}

#[test]
fn r73_endpoints_that_are_none_are_named() {
    let cases: [(&str, &str); 3] = [
        ("pigeon://loft", "write tcp://host:port"),
        ("tcp://127.0.0.1", "invalid socket address"),
        ("tcp://127.0.0.1:65536", "invalid port"),
    ];
    for (endpoint, why) in cases {
        says(start(&["node", "--name", "a", "--listen", endpoint]), &[endpoint, why]);
    }
}

#[test]
fn r73_a_port_in_use_is_named() {
    const IN_USE: &str = "Address already in use";
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("tcp://{}", tcp.local_addr().unwrap());
    says(start(&["node", "--name", "a", "--listen", &at]), &[&at, IN_USE]);

    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = format!("udp://{}", udp.local_addr().unwrap());
    let run = start(&["node", "--name", "a", "--listen", "tcp://127.0.0.1:0", "--datagrams", &at]);
    says(run, &[&at, IN_USE]);
}

#[test]
fn r73_a_unix_path_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let at = format!("unix://{}", path.display());
    says(start(&["node", "--name", "a", "--listen", &at]), &[&at, "in use"]);
}

#[test]
fn r73_a_unix_path_in_a_folder_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = format!("unix://{}", folder.path().join("missing/a.sock").display());
    let run = start(&["node", "--name", "a", "--listen", &at]);
    says(run, &["cannot listen on", &at, "No such file or directory"]);
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "it has made something");
}

/// No name ends in `.invalid`, by RFC 6761.
#[test]
fn r73_a_host_that_is_unknown_is_named() {
    const AT: &str = "tcp://no-such-host.invalid:7001";
    all_say(&[
        (&["node", "--name", "a", "--listen", AT], &[AT, "lookup"]),
        (&["node", "--name", "a", "--join", AT], &[AT, "lookup"]),
        (&["send", "--via", AT, "--to", "a"], &[AT, "lookup"]),
        (&["drive", "--join", AT, "--targets", "a", "--seconds", "1"], &[AT, "lookup"]),
    ]);
}

/// Takes 20 s: so long may a node take to be there.
#[test]
fn r73_a_node_that_is_unknown_is_named() {
    let (_a, at) = node("a", &[]);
    all_say(&[
        (&["send", "--via", &at, "--to", "nobody"], &["no node `nobody` in the cluster", &at]),
        (
            &["drive", "--join", &at, "--targets", "a,nobody", "--seconds", "1"],
            &["node `nobody` is not there"],
        ),
    ]);
}

/// Takes 10 s: so long may a cluster take to be there.
#[test]
fn r73_a_cluster_that_is_not_there_is_named() {
    let (gone, at) = node("gone", &[]);
    drop(gone);
    let folder = tempfile::tempdir().unwrap();
    let path = format!("unix://{}", folder.path().join("missing/a.sock").display());
    all_say(&[
        (&["send", "--via", &at, "--to", "a"], &["no node `a` in the cluster", &at]),
        (&["send", "--via", &path, "--to", "a"], &["no node `a` in the cluster", &path]),
    ]);
}

#[test]
fn r73_a_secret_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret").display().to_string();
    let missing: [&str; 2] = [&secret, "No such file or directory"];
    let at = "tcp://127.0.0.1:0";
    all_say(&[
        (&["node", "--name", "a", "--listen", at, "--secret-file", &secret], &missing),
        (&["send", "--via", at, "--to", "a", "--secret-file", &secret], &missing),
    ]);
}

#[test]
fn r73_a_journal_that_cannot_be_kept_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // Not even root makes a folder in a file.
    let file = folder.path().join("file");
    File::create(&file).unwrap();
    let journal = file.join("journal").display().to_string();
    says(start(&["--seconds", "1", "--journal", &journal]), &[&journal, "Not a directory"]);
}

/// Nobody waits for a node that can never get in.
#[test]
fn r73_a_node_whose_name_is_taken_says_so() {
    let (_a, at) = node("a", &[]);
    let run = start(&["node", "--name", "a", "--join", &at]);
    run.log.wait_for(&["another node has this name"]);
}

#[test]
fn r73_an_output_that_is_full_is_named() {
    for arguments in [
        &["node", "--name", "a", "--listen", "tcp://127.0.0.1:0"][..],
        &["--seconds", "0.1", "--json"],
    ] {
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" >/dev/full", PROGRAM]).args(arguments);
        says(Run::start(command.env("RUST_LOG", "error")), &["No space left on device"]);
    }
}
