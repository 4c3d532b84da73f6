//! Counts the words of a text: maximal runs of alphanumeric characters, lower-cased. Output lines are `word,count`.
//!
//! ```text
//! cargo run --release --example wordcount -- --input TEXT --output DIRECTORY
//! ```

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use flink::{Collector, FileSink, Result, RuntimeMode, StreamExecutionEnvironment};
use serde::{Deserialize, Serialize};

/// Counts the words of a text.
#[derive(Debug, Parser, Serialize, Deserialize)]
struct Args {
    /// Text to count: a file, a directory or a pattern, on the workers' hosts. Without it, a small text of this program.
    #[arg(long)]
    input: Option<PathBuf>,
    /// Directory to write the counts to, new or empty, on the workers' hosts. Without it, they are printed.
    #[arg(long)]
    output: Option<PathBuf>,
}

/// What is counted when there is no input.
const TEXT: [&str; 6] = [
    "A stream is a river that nobody steps into twice.",
    "What the river carries, it carries once: a leaf, a branch, a boat.",
    "Count the leaves that pass, and the count is old when you have said it.",
    "Count them by kind, and each kind has a count of its own.",
    "Let many count, each at a bank of the river, each for some kinds of leaves,",
    "and nobody counts a leaf twice, and no leaf passes without being counted.",
];

fn main() -> ExitCode {
    flink::run(build)
}

fn build(env: &mut StreamExecutionEnvironment, args: Args) -> Result<()> {
    env.set_job_name("wordcount").set_runtime_mode(RuntimeMode::Batch);
    let lines = match args.input {
        Some(input) => env.read_text_file(input),
        None => env.from_collection(TEXT.map(String::from)),
    };
    let counts = lines
        .flat_map_with(split)
        .name("split")
        .key_by_ref(|word| word)
        .count()
        .map(|(word, count)| format!("{word},{count}"))
        .name("format");
    match args.output {
        Some(output) => counts.sink_to(FileSink::new(output)),
        None => counts.print(),
    };
    Ok(())
}

/// Emits the words of a line.
fn split(line: String, words: &mut Collector<'_, String>) {
    let split = line.split(|character: char| !character.is_alphanumeric());
    words.extend(split.filter(|word| !word.is_empty()).map(str::to_lowercase));
}
