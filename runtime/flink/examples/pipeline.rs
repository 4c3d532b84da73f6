//! Two jobs in one program: the first cleans a text and writes its words to files, the second counts what the first wrote.
//!
//! ```text
//! cargo run --release --example pipeline -- --directory DIRECTORY
//! ```

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use flink::{
    AccumulatorValue, Application, ApplicationContext, Collector, FileSink, FunctionResult, LongCounter,
    ProcessContext, ProcessFunction, Result, RuntimeContext, RuntimeMode, StreamExecutionEnvironment,
};
use serde::{Deserialize, Serialize};

/// Writes the words of a text to files, then counts them from there.
#[derive(Debug, Parser)]
struct Args {
    /// Text to read: a file, a directory or a pattern, on the workers' hosts. Without it, a small text of this program.
    #[arg(long)]
    input: Option<PathBuf>,
    /// Directory for the words, `words` below it, which is new or empty. All workers' hosts must see the same.
    #[arg(long)]
    directory: PathBuf,
    /// Counts only words of at least so many characters.
    #[arg(long, default_value_t = 5)]
    length: usize,
}

/// What is read when there is no input.
const TEXT: [&str; 4] = [
    "First the ore goes to the crusher, and what the crusher leaves goes to the furnace.",
    "The furnace asks no questions: what the crusher has not done, the furnace cannot do.",
    "So the second is as good as the first, and the first as good as the ore.",
    "Whoever wants iron waits for both.",
];

/// Arguments of the job `extract`.
#[derive(Debug, Serialize, Deserialize)]
struct Extract {
    input: Option<PathBuf>,
    words: PathBuf,
}

/// Arguments of the job `count`.
#[derive(Debug, Serialize, Deserialize)]
struct Count {
    words: PathBuf,
    length: usize,
}

fn main() -> ExitCode {
    Application::new(driver)
        .job("extract", extract)
        .job("count", count)
        .run()
}

/// Runs here alone: it may look at the clock and at files, which jobs must not.
fn driver(app: &mut ApplicationContext, args: Args) -> Result<()> {
    let words = args.directory.join("words");
    let extracted = app.execute(
        "extract",
        Extract {
            input: args.input,
            words: words.clone(),
        },
    )?;
    if let Some(Ok(AccumulatorValue::LongCounter(0))) = extracted.accumulators.get("words") {
        tell("there are no words to count");
        return Ok(());
    }
    let length = args.length;
    let counted = app.execute("count", Count { words, length })?;
    tell(&format!(
        "extracted in {:?}, counted in {:?}",
        extracted.duration, counted.duration
    ));
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the counts are what this program prints")]
fn tell(message: &str) {
    eprintln!("{message}");
}

fn extract(env: &mut StreamExecutionEnvironment, args: Extract) -> Result<()> {
    env.set_runtime_mode(RuntimeMode::Batch);
    let lines = match args.input {
        Some(input) => env.read_text_file(input),
        None => env.from_collection(TEXT.map(String::from)),
    };
    lines
        .process(|context: &RuntimeContext| {
            Ok(Split {
                words: context.add_accumulator("words")?,
            })
        })
        .name("split")
        .sink_to(FileSink::new(args.words))
        .name("words");
    Ok(())
}

/// Emits the words of a line, and counts them.
struct Split {
    words: LongCounter,
}

impl ProcessFunction<String> for Split {
    type Out = String;

    fn process_element(
        &mut self,
        line: String,
        _: &mut ProcessContext<'_>,
        out: &mut Collector<'_, String>,
    ) -> FunctionResult {
        let split = line.split(|character: char| !character.is_alphanumeric());
        for word in split.filter(|word| !word.is_empty()) {
            self.words.add(1);
            out.collect(word.to_lowercase());
        }
        Ok(())
    }
}

fn count(env: &mut StreamExecutionEnvironment, args: Count) -> Result<()> {
    env.set_runtime_mode(RuntimeMode::Batch);
    env.read_text_file(args.words)
        .filter(move |word| word.chars().count() >= args.length)
        .key_by_ref(|word| word)
        .count()
        .map(|(word, count)| format!("{word},{count}"))
        .print();
    Ok(())
}
