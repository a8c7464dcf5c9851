//! R78: what is sent through a cluster comes back as it was, byte for byte.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(clippy::disallowed_methods, reason = "tests look from the outside")]

mod common;

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    time::Instant,
};

use common::{node, program};

/// Writes a text of at least so many bytes: words of many alphabets in lines of all lengths, empty ones
/// and some of more than a mebibyte among them. The last line has no end.
fn write_text(path: &Path, bytes: usize) {
    const WORDS: [&str; 8] = ["ring", "über", "échos", "лента", "環", "🌀", "a\tb", "c\rd"];
    let mut out = BufWriter::new(File::create(path).unwrap());
    let (mut written, mut state) = (0, 7_u64);
    let mut line = String::new();
    while written < bytes {
        line.clear();
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let words = match state >> 60 {
            0 => 0,
            1 => state >> 50 & 0xfff,
            2 if state >> 52 & 0x3f == 0 => 500_000,
            _ => state >> 52 & 0x1f,
        };
        for _ in 0..words {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            line.push_str(WORDS[(state >> 61) as usize]);
            line.push(' ');
        }
        line.push('\n');
        out.write_all(line.as_bytes()).unwrap();
        written += line.len();
    }
    out.write_all("the end, without one".as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Sends a text of so many bytes to one node, over another.
fn comes_back(bytes: usize) {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("input"), folder.path().join("output"));
    write_text(&input, bytes);
    let (_a, at) = node("a", &[]);
    let (b, _) = node("b", &["--join", &at]);
    b.log.wait_for(&["connected", "node=\"a\""]);
    let mut command = program(&["send", "--via", &at, "--to", "b"]);
    let command = command.stdin(File::open(&input).unwrap());
    let begin = Instant::now();
    let status = command.stdout(File::create(&output).unwrap()).status().unwrap();
    println!("{bytes} bytes went and came back in {:?}", begin.elapsed());
    assert!(status.success());
    let (sent, received) = (fs::read(&input).unwrap(), fs::read(&output).unwrap());
    assert!(sent.len() >= bytes);
    let same = sent.iter().zip(&received).take_while(|(one, other)| one == other).count();
    let lens = (sent.len(), received.len());
    assert_eq!((same, lens.1), (lens.0, lens.0), "the first {same} bytes of {lens:?} are the same");
}

#[test]
fn r78_a_text_of_8_mb_sent_through_the_cluster_comes_back_the_same() {
    comes_back(8_000_000);
}

#[test]
#[ignore = "takes long"]
fn r78_a_text_of_100_mb_sent_through_the_cluster_comes_back_the_same() {
    comes_back(100_000_000);
}

/// Sends a text to the very node that it goes over.
fn comes_back_from_the_node_itself(text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    fs::write(&input, text).unwrap();
    let (_a, at) = node("a", &[]);
    let mut command = program(&["send", "--via", &at, "--to", "a"]);
    let output = command.stdin(File::open(&input).unwrap()).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
}

#[test]
fn r78_no_text_and_a_text_without_a_line_come_back_the_same() {
    comes_back_from_the_node_itself("");
    comes_back_from_the_node_itself("\n");
    comes_back_from_the_node_itself("hello");
}
