//! `gs dictionary`: writes the preset dictionary of compressed frames, made of pieces of generated chat.
//!
//! Pieces are the generator's own words and sayings, each once, divided as texts are in a batch: the zero
//! byte that ends a text, and the control byte of an ordinary message behind it. A piece that is part of
//! another one is left out. The likeliest pieces come last, where a reference to them takes the fewest bits:
//! short words after sentences, the most spoken language after the others, emotes at the end.
//! Why not trained on drawn samples: the generator draws from these lists and from nothing else, so samples
//! would converge to the lists. Without a seed and floating point, the result is the same on every machine.
//! Why no text of real chats: it belongs to its authors. Real logs are used only to measure (benches,
//! `layout`).
//! Invariants: at most [`BYTES_MAX`]; the same on every machine.
//! Not here: compression (`grandstand_protocol::compress`), updating the file (`cargo xtask dictionary`).

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::words::{EMOTES, Language, lexicon};

/// Deflate reaches back 32 KB, and a batch needs some of that for itself; browsers load the dictionary with
/// the page.
const BYTES_MAX: usize = 24 * 1024;

/// Between two pieces: a text's end, and the control byte of a viewer's message.
const DIVIDER: &[u8] = b"\0\0";

/// Shorter pieces are kept wherever they are: behind a divider they are a whole message.
const CONTAINED_BYTES_MIN: usize = 4;

/// By how many of the large chats' viewers speak it, the most at the end, where distances are short.
const ORDER: [Language; 7] =
    [Language::Ko, Language::De, Language::Fr, Language::Pt, Language::Es, Language::Ja, Language::En];

/// Write the dictionary of compressed frames.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// File to write.
    file: PathBuf,
}

/// Run the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let bytes = dictionary();
    std::fs::write(&args.file, &bytes).with_context(|| format!("cannot write {}", args.file.display()))
}

fn dictionary() -> Vec<u8> {
    let pieces = pieces();
    let is_held = |at: usize| {
        let piece = pieces[at];
        let mut others = pieces[..at].iter().chain(&pieces[at + 1..]);
        piece.len() >= CONTAINED_BYTES_MIN && others.any(|other| other.contains(piece))
    };
    let mut out = Vec::new();
    for at in (0..pieces.len()).filter(|&at| !is_held(at)) {
        out.extend_from_slice(pieces[at].as_bytes());
        out.extend_from_slice(DIVIDER);
    }
    assert!(out.len() <= BYTES_MAX, "a dictionary of {} bytes", out.len());
    out
}

/// All there is, the likeliest last.
fn pieces() -> Vec<&'static str> {
    let mut out = Vec::new();
    for language in ORDER {
        let words = lexicon(language);
        out.extend([&words.tails, &words.subjects, &words.predicates, &words.sayings].into_iter().flatten());
        // Their lists begin with what is said most.
        out.extend(words.shorts.iter().rev());
    }
    out.extend(EMOTES.iter());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_protocol::compress::DICTIONARY_1;

    #[test]
    fn the_checked_in_dictionary_is_what_the_words_make() {
        assert!(
            dictionary() == DICTIONARY_1,
            "words or sayings changed. Before the protocol's first release: `cargo xtask dictionary`. After it: a second \
             dictionary, with a capability of its own"
        );
    }

    #[test]
    fn every_language_is_in_it() {
        let bytes = dictionary();
        for piece in ["so good", "qué bien", "muito bom", "bonsoir", "guten Abend", "すごい", "최고", "🎉"]
        {
            assert!(bytes.windows(piece.len()).any(|w| w == piece.as_bytes()), "{piece}");
        }
    }
}
