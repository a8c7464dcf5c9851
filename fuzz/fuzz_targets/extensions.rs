//! Extensions from a stranger: no panic, bounded, and what was understood survives being written again.
#![no_main]

use annulus_codec::extension::{Extensions, MAX_CHAIN};
use annulus_fuzz::encoded;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(parsed) = Extensions::parse(bytes) else {
        return;
    };
    assert!(bytes.len().is_multiple_of(16));
    assert!(parsed.chain.len() <= MAX_CHAIN);
    let written = encoded(&parsed);
    assert_eq!(written.len(), parsed.encoded_len());
    assert_eq!(parsed.is_empty(), written.is_empty());
    assert_eq!(Extensions::parse(&written), Ok(parsed));
});
