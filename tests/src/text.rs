//! Texts to count, and a count of their words that owes nothing to the code under test.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Words that the generated text is made of, besides numbered ones; their case and what stands around them vary.
const WORDS: [&str; 8] = ["stream", "River", "BOAT", "leaf", "bank", "über", "naïve", "Straße"];
const BETWEEN: [&str; 6] = [" ", " ", ", ", "; ", "-", "\n"];

/// Writes a text of at least `size` bytes.
///
/// # Errors
/// When the file cannot be written.
pub fn generate_text(path: &Path, size: usize) -> io::Result<()> {
    let mut out = io::BufWriter::new(fs::File::create(path)?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut written = 0;
    let mut pick = |below: u64| {
        // xorshift64: the same text each time.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut piece = String::new();
    while written < size {
        piece.clear();
        match usize::try_from(pick(16)).unwrap_or(0) {
            common if common < WORDS.len() => piece.push_str(WORDS[common]),
            _ => piece.push_str(&format!("w{}", pick(50_000))),
        }
        piece.push_str(BETWEEN[usize::try_from(pick(6)).unwrap_or(0)]);
        out.write_all(piece.as_bytes())?;
        written += piece.len();
    }
    out.flush()
}

/// How often each word occurs, counted in the plainest way.
///
/// # Errors
/// When the file cannot be read.
pub fn count_words(path: &Path) -> io::Result<HashMap<String, u64>> {
    let mut counts = HashMap::new();
    let text = fs::read_to_string(path)?;
    for word in text
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        let word = word.to_lowercase();
        match counts.get_mut(&word) {
            Some(count) => *count += 1,
            None => {
                counts.insert(word, 1);
            }
        }
    }
    Ok(counts)
}

/// The counts of `word,count` lines. A word that comes twice is an error: its counts were not brought together.
///
/// # Panics
/// When a line is no such line, or a word comes twice.
#[must_use]
pub fn read_counts(text: &str) -> HashMap<String, u64> {
    let mut counts = HashMap::new();
    for line in text.lines() {
        let parsed = line
            .rsplit_once(',')
            .and_then(|(word, count)| Some((word.to_owned(), count.parse().ok()?)));
        let Some((word, count)) = parsed else {
            panic!("`{line}` is no count")
        };
        assert!(counts.insert(word, count).is_none(), "`{line}` comes twice");
    }
    counts
}
