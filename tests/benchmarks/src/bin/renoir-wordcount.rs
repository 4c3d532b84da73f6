//! Counts the words of a text with Renoir, as the example `wordcount` does with ours: `renoir-wordcount FILE PARALLELISM`.

use std::{env, process::ExitCode, sync::Arc};

use flink_benchmarks::{Tally, measure, usage};
use renoir::prelude::*;

/// Records per message between two threads.
const BATCH: usize = 1024;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [file, parallelism] = &arguments[..] else {
        return usage("renoir-wordcount FILE PARALLELISM");
    };
    let Ok(Ok(config)) = parallelism.parse().map(RuntimeConfig::local) else {
        return usage("PARALLELISM is a number above 0");
    };
    let (context, words) = (StreamContext::new(config), Arc::default());
    let mut tally = Tally::new(&words);
    context
        .stream_file(file)
        .batch_mode(BatchMode::fixed(BATCH))
        .flat_map(|line: String| split(&line))
        // Each thread counts before anything is sent to another.
        .group_by_count(|word: &String| word.clone())
        .for_each(move |_| tally.add_one());
    measure(&words, || context.execute_blocking())
}

/// Maximal runs of alphanumeric characters, lower-cased.
fn split(line: &str) -> Vec<String> {
    let words = line.split(|character: char| !character.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}
