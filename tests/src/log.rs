//! The log of this process, kept in memory for the tests to look at.

use std::{
    io,
    sync::{Mutex, OnceLock},
};

use tracing_subscriber::fmt::MakeWriter;

use crate::eventually;

static LINES: Mutex<String> = Mutex::new(String::new());
static INSTALLED: OnceLock<()> = OnceLock::new();

struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Writer;

    fn make_writer(&'a self) -> Writer {
        Writer
    }
}

/// A place in the log.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

impl Mark {
    /// Where the log is now. The first mark of a process starts the log.
    pub fn now() -> Self {
        INSTALLED.get_or_init(|| {
            tracing_subscriber::fmt()
                .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
                .with_ansi(false)
                .without_time()
                .with_writer(Writer)
                .init();
        });
        Mark(LINES.lock().unwrap().len())
    }

    /// What was logged since.
    pub fn since(self) -> String {
        LINES.lock().unwrap()[self.0..].to_string()
    }

    /// Waits until a line with all of these texts has been logged since.
    #[track_caller]
    pub fn wait_for(self, texts: &[&str]) {
        eventually(&format!("the log says {texts:?}"), || {
            self.since().lines().any(|line| texts.iter().all(|text| line.contains(text)))
        });
    }
}
