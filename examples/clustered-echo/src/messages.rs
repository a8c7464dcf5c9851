//! What goes back and forth, and how every message can be made again from its number.

use std::sync::LazyLock;

use annulus::{Name, codec::hash::mix64, message, wire};

/// The message and its own answer: an echo actor gives back the very bytes that it got.
#[message(name = "clustered-echo.Echo", reply = Echo)]
#[derive(Debug)]
pub(crate) struct Echo {
    /// Which worker of which node asks.
    pub(crate) asker: u64,
    /// The how-manieth ask of that worker this is.
    pub(crate) sequence: u64,
    pub(crate) body: Body,
}

/// What a message carries.
#[wire]
#[derive(Debug)]
pub(crate) enum Body {
    Text(String),
    Binary(Vec<u8>),
}

/// The messages that an echo actor takes.
pub(crate) type EchoProtocol = (Echo,);

/// The name of the echo actor of one worker.
pub(crate) fn echo_name(worker: usize) -> Name<EchoProtocol> {
    Name::from_string(format!("echo-{worker}"))
}

/// A number for the asking worker of a node.
pub(crate) fn asker_number(node: &str, worker: usize) -> u64 {
    annulus::codec::hash::hash64(format!("{node}/{worker}").as_bytes())
}

/// How large messages are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) fixed: Option<u32>,
    pub(crate) max: usize,
}

/// The largest body of the mix, in bytes.
pub(crate) const LARGEST: usize = 256 * 1024;

/// The largest body in one datagram, in bytes.
pub(crate) const LARGEST_DATAGRAM: usize = 32 * 1024;

const POOL: usize = 1 << 20;

static BINARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..(POOL + 8 * LARGEST * 4) as u64 / 8).flat_map(|n| mix64(n).to_le_bytes()).collect()
});

static TEXT: LazyLock<String> = LazyLock::new(|| {
    const WORDS: [&str; 16] = [
        "ring ", "turn ", "lane ", "frame ", "chunk ", "lease ", "actor ", "node ", "échos ",
        "über ", "wire ", "tick ", "mail ", "bell ", "slot ", "link ",
    ];
    let mut text = String::with_capacity(BINARY.len() + 8);
    let mut n = 0;
    while text.len() < BINARY.len() {
        text.push_str(WORDS[mix64(n) as usize % WORDS.len()]);
        n += 1;
    }
    text
});

/// What the body of a message is: which bytes of the two fixed texts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    start: usize,
    len: usize,
    text: bool,
}

impl Recipe {
    /// The recipe of one ask of one worker.
    pub(crate) fn new(asker: u64, sequence: u64, sizes: Sizes) -> Self {
        let random = mix64(asker ^ mix64(sequence));
        let len = match sizes.fixed {
            Some(fixed) => fixed as usize,
            None => mixed_len(random).min(sizes.max),
        };
        let text = random & 1 == 0;
        let mut start = (random >> 44) as usize % POOL;
        while text && !TEXT.is_char_boundary(start) {
            start += 1;
        }
        Recipe { start, len, text }
    }

    pub(crate) fn len(self) -> usize {
        self.bytes().len()
    }

    /// The bytes of the body.
    pub(crate) fn bytes(self) -> &'static [u8] {
        if self.text {
            self.string().as_bytes()
        } else {
            &BINARY[self.start..self.start + self.len]
        }
    }

    fn string(self) -> &'static str {
        let mut end = self.start + self.len;
        while !TEXT.is_char_boundary(end) {
            end -= 1;
        }
        &TEXT[self.start..end]
    }

    /// The body itself.
    pub(crate) fn body(self) -> Body {
        if self.text {
            Body::Text(self.string().to_owned())
        } else {
            Body::Binary(self.bytes().to_vec())
        }
    }

    /// Whether an answer carries just what was sent.
    pub(crate) fn matches(self, body: &ArchivedBody) -> bool {
        match body {
            ArchivedBody::Text(text) => self.text && text.as_bytes() == self.bytes(),
            ArchivedBody::Binary(binary) => !self.text && binary.as_slice() == self.bytes(),
        }
    }
}

/// The default mix: mostly small, some up to 256 KiB, about 1 KiB on average.
fn mixed_len(random: u64) -> usize {
    let share = (random >> 1) % 10_000;
    let within = |low: u64, high: u64| (low + (random >> 20) % (high - low + 1)) as usize;
    match share {
        0..8_000 => within(16, 256),
        8_000..9_700 => within(257, 2_048),
        9_700..9_970 => within(2_049, 16_384),
        _ => within(16_385, LARGEST as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_has_about_a_kibibyte_on_average_and_reaches_its_ends() {
        let sizes = Sizes { fixed: None, max: LARGEST };
        let lens: Vec<usize> = (0..200_000).map(|n| Recipe::new(7, n, sizes).len()).collect();
        let mean = lens.iter().sum::<usize>() / lens.len();
        assert!((900..1200).contains(&mean), "the mean is {mean}");
        assert!(lens.iter().any(|len| *len > 200 * 1024));
        assert!(lens.iter().all(|len| *len >= 13 && *len <= LARGEST));
    }

    #[test]
    fn text_and_binary_are_both_there_and_fixed_sizes_are_kept() {
        let sizes = Sizes { fixed: Some(64), max: LARGEST };
        let recipes: Vec<Recipe> = (0..100).map(|n| Recipe::new(1, n, sizes)).collect();
        assert!(recipes.iter().any(|r| r.text) && recipes.iter().any(|r| !r.text));
        assert!(recipes.iter().filter(|r| !r.text).all(|r| r.len() == 64));
    }
}
