//! Journals: what an echo actor has served, in a file, written through a file actor.
//!
//! A record is a head of 16 bytes, little-endian (the length of the message in bytes, 32 bits; a mark,
//! 32 bits; zero, 64 bits), and the message just as it came in, with zeros up to a multiple of 16.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufReader, ErrorKind, Read},
    path::{Path, PathBuf},
};

use annulus::{
    ActorRef, FileActor, TellError,
    codec::{archive::validate, frame::padded, rkyv::util::AlignedVec},
    file_actor::{Append, FileProtocol},
    prelude::*,
    spawn,
    transport::file::OpenOptions,
};

use crate::{
    Failure,
    args::{Run, Transport},
    messages::{Echo, LARGEST, LARGEST_DATAGRAM, Recipe, Sizes},
    report::Asked,
};

const HEAD: usize = 16;
const MARK: u32 = 0x4f48_4345;

/// Longer messages are not in any journal: a length beyond this is damage.
const LONGEST: usize = 16 << 20;

/// One echo actor's journal.
pub(crate) struct Journal {
    file: ActorRef<FileProtocol>,
}

impl Journal {
    /// Starts a new journal. Runs on the echo actor's worker.
    pub(crate) async fn open(path: PathBuf) -> Result<Self, String> {
        let options =
            OpenOptions { write: true, create: true, truncate: true, ..OpenOptions::reading() };
        let file = FileActor::open(&path, options).await;
        let file = file.map_err(|error| format!("{}: {error}", path.display()))?;
        let file = spawn(file).map_err(|error| error.to_string())?;
        Ok(Journal { file })
    }

    /// Notes what is about to be served; waits while the file is behind.
    pub(crate) async fn keep(&mut self, echo: &Msg<Echo>) -> Result<(), TellError> {
        let message = echo.bytes();
        let mut record = Vec::with_capacity(HEAD + padded(message.len()));
        record.extend_from_slice(&(message.len() as u32).to_le_bytes());
        record.extend_from_slice(&MARK.to_le_bytes());
        record.extend_from_slice(&[0; 8]);
        record.extend_from_slice(&message);
        record.resize(HEAD + padded(message.len()), 0);
        let append = Append { bytes: record.into() };
        self.file.send(append).await.map_err(|undelivered| undelivered.reason)
    }
}

/// Where the journal of one worker of a node is.
pub(crate) fn path(folder: &Path, node: &str, worker: usize) -> PathBuf {
    folder.join(format!("{node}-{worker}.journal"))
}

/// Makes the folder, if it is not there, and makes sure that it holds no journals.
pub(crate) fn prepare(folder: &Path) -> Result<(), Failure> {
    let named = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(named)?;
    for entry in fs::read_dir(folder).map_err(named)? {
        let path = entry.map_err(named)?.path();
        if path.extension().is_some_and(|extension| extension == "journal") {
            let path = path.display();
            return Err(format!("{path} is there already: name an empty folder").into());
        }
    }
    Ok(())
}

/// Which messages of one asking worker a node has served.
struct Served {
    end: u64,
    seen: Vec<u64>,
}

impl Served {
    /// Notes a message. Returns whether it is the first time.
    fn note(&mut self, sequence: u64) -> bool {
        let (word, bit) = ((sequence / 64) as usize, 1 << (sequence % 64));
        let first = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        first
    }

    fn count(&self) -> u64 {
        self.seen.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

/// Reads all journals back and compares them with what was asked: every message that was asked is
/// there, once, byte for byte; over datagrams some may be missing. Returns how many there are.
pub(crate) fn check(folder: &Path, asked: &[Asked], options: &Run) -> Result<u64, Failure> {
    let max = if options.transport == Transport::Udp { LARGEST_DATAGRAM } else { LARGEST };
    let sizes = Sizes { fixed: options.traffic.size, max };
    let mut nodes: BTreeMap<&str, BTreeMap<u64, Served>> = BTreeMap::new();
    for asked in asked {
        let seen = vec![0; (asked.count as usize).div_ceil(64)];
        let served = Served { end: asked.count, seen };
        nodes.entry(&asked.to).or_default().insert(asked.asker, served);
    }
    let mut records = 0;
    for (node, served) in &mut nodes {
        for worker in 0..options.workers as usize {
            let path = path(folder, node, worker);
            records += read(&path, served, sizes)
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        for (asker, served) in served {
            let missing = served.end - served.count();
            if missing > 0 && options.transport != Transport::Udp {
                return Err(format!(
                    "the journal of {node} lacks {missing} messages of asker {asker:016x}"
                )
                .into());
            }
        }
    }
    Ok(records)
}

/// Checks one journal. Returns how many records it has.
fn read(path: &Path, served: &mut BTreeMap<u64, Served>, sizes: Sizes) -> Result<u64, Failure> {
    let mut file = BufReader::with_capacity(1 << 20, fs::File::open(path)?);
    let mut records = 0;
    let mut message = AlignedVec::<16>::new();
    loop {
        let mut head = [0; HEAD];
        match file.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(records),
            Err(error) => return Err(error.into()),
        }
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if head[4..8] != MARK.to_le_bytes() || len > LONGEST {
            return Err(format!("record {records} is damaged").into());
        }
        message.resize(padded(len), 0);
        file.read_exact(&mut message)?;
        let echo = validate::<Echo>(&message[..len])
            .map_err(|error| format!("record {records}: {error}"))?;
        let (asker, sequence) = (echo.asker.to_native(), echo.sequence.to_native());
        let known = served.get_mut(&asker).filter(|served| sequence < served.end);
        let known = known.ok_or_else(|| format!("record {records} was never asked"))?;
        if !Recipe::new(asker, sequence, sizes).matches(&echo.body) {
            return Err(format!("record {records} is not what was asked").into());
        }
        if !known.note(sequence) {
            return Err(format!("record {records} is there twice").into());
        }
        records += 1;
    }
}
