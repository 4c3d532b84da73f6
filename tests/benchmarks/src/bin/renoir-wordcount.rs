//! Counts the words of a text with Renoir, as the example `wordcount` does with ours: `renoir-wordcount TEXT COUNTS PARALLELISM`.
//! Lines of the file COUNTS are `word,count`.

use std::{
    env,
    fs::File,
    io::{self, BufWriter, Write},
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
};

use flink_benchmarks::{measure, usage};
use renoir::prelude::*;

/// Records per message between two threads.
const BATCH: usize = 1024;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [text, counts, parallelism] = &arguments[..] else {
        return usage("renoir-wordcount TEXT COUNTS PARALLELISM");
    };
    let Ok(Ok(config)) = parallelism.parse().map(RuntimeConfig::local) else {
        return usage("PARALLELISM is a number above 0");
    };
    let (context, words) = (StreamContext::new(config), Arc::default());
    let counted = context
        .stream_file(text)
        .batch_mode(BatchMode::fixed(BATCH))
        .flat_map(|line: String| split(&line))
        // Each thread counts before anything is sent to another.
        .group_by_count(|word: &String| word.clone())
        .collect_vec();
    let mut written = Ok(());
    let code = measure(&words, || {
        context.execute_blocking();
        let counted = counted.get().unwrap_or_default();
        words.store(counted.len() as u64, Ordering::Relaxed);
        written = write(counts, &counted);
    });
    match written {
        Ok(()) => code,
        Err(error) => {
            eprintln!("failed to write {counts}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Maximal runs of alphanumeric characters, lower-cased.
fn split(line: &str) -> Vec<String> {
    let words = line.split(|character: char| !character.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

fn write(path: &str, counts: &[(String, usize)]) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for (word, count) in counts {
        writeln!(file, "{word},{count}")?;
    }
    file.flush()
}
