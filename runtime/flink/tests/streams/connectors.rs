//! Sources and sinks in whole jobs.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use flink::{
    CsvEncoder, CsvSource, DataGeneratorSource, DateTimeBuckets, DecodeError, FileSink, JsonLinesEncoder,
    JsonLinesSource, MalformedRecord, OnParseError, OutputTag, Record, Result, RollingPolicy, SocketTextSource,
    StreamExecutionEnvironment, TextFileSource, WatermarkStrategy, run_for_test,
    source::{
        Availability, Boundedness, Enumeration, QueueEnumerator, SequentialReader, Source, SourceOutput,
        SourceReaderContext, Split, SplitReader,
    },
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, PartialOrd, Serialize, Deserialize)]
struct Sale {
    shop: u32,
    item: String,
    price: Option<f64>,
}

impl Record for Sale {
    fn encode(&self, out: &mut Vec<u8>) {
        self.shop.encode(out);
        self.item.encode(out);
        self.price.encode(out);
    }

    fn decode(input: &mut &[u8]) -> std::result::Result<Self, DecodeError> {
        Ok(Self {
            shop: Record::decode(input)?,
            item: Record::decode(input)?,
            price: Record::decode(input)?,
        })
    }
}

fn sale(index: u64) -> Sale {
    Sale {
        shop: (index % 7) as u32,
        item: format!("item, {index}"),
        price: (!index.is_multiple_of(3)).then_some(index as f64 / 4.0),
    }
}

/// The contents of all files below a directory, whose names must not be hidden.
fn written(directory: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        assert!(
            !path.file_name().unwrap().to_string_lossy().starts_with('.'),
            "{path:?}"
        );
        if path.is_dir() {
            texts.extend(written(&path));
        } else {
            texts.push(fs::read_to_string(path).unwrap());
        }
    }
    texts
}

#[test]
fn sales_travel_through_all_formats() {
    const COUNT: u64 = 2000;
    let root = tempfile::tempdir().unwrap();
    let (csv, json, out) = (
        root.path().join("csv"),
        root.path().join("json"),
        root.path().join("out"),
    );
    let to_csv = |env: &mut StreamExecutionEnvironment| -> Result<()> {
        env.from_source(
            DataGeneratorSource::new(sale).count(COUNT),
            WatermarkStrategy::no_watermarks(),
            "sales",
        )
        .sink_to(FileSink::new(&csv).with_encoder(CsvEncoder::new()));
        Ok(())
    };
    run_for_test(to_csv, 2).unwrap();
    let to_json = |env: &mut StreamExecutionEnvironment| -> Result<()> {
        let sales = CsvSource::<Sale>::new(&csv).records_are_lines();
        let policy = RollingPolicy::new().max_size(10_000);
        env.from_source(sales, WatermarkStrategy::no_watermarks(), "csv")
            .rebalance()
            .map(|sale| sale)
            .sink_to(
                FileSink::new(&json)
                    .with_encoder(JsonLinesEncoder)
                    .with_rolling_policy(policy),
            );
        Ok(())
    };
    run_for_test(to_json, 3).unwrap();
    assert!(written(&json).len() > 6, "files were rolled");
    let to_text = |env: &mut StreamExecutionEnvironment| -> Result<()> {
        env.from_source(
            JsonLinesSource::<Sale>::new(&json),
            WatermarkStrategy::no_watermarks(),
            "json",
        )
        .map(|sale| format!("{sale:?}"))
        .sink_to(FileSink::new(&out));
        Ok(())
    };
    run_for_test(to_text, 2).unwrap();
    let text = written(&out).concat();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    let mut expected: Vec<String> = (0..COUNT).map(|index| format!("{:?}", sale(index))).collect();
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[test]
fn a_record_that_does_not_parse_fails_the_job_with_its_place() {
    let root = tempfile::tempdir().unwrap();
    fs::write(
        root.path().join("sales.csv"),
        "shop,item,price\n1,tea,2\n2,coffee,much\n",
    )
    .unwrap();
    let build = |on_error: OnParseError| {
        let path = root.path().to_owned();
        move |env: &mut StreamExecutionEnvironment| -> Result<()> {
            let sales = CsvSource::<Sale>::new(&path).on_error(on_error);
            env.from_source(sales, WatermarkStrategy::no_watermarks(), "sales")
                .discard();
            Ok(())
        }
    };
    let error = run_for_test(build(OnParseError::Fail), 2).unwrap_err().to_string();
    assert!(
        error.contains("operator Source: sales") || error.contains("Source: sales"),
        "{error}"
    );
    assert!(
        error.ends_with("sales.csv:3:10: price: invalid float literal"),
        "{error}"
    );
    run_for_test(build(OnParseError::Skip), 2).unwrap();
}

#[test]
fn a_record_that_does_not_parse_goes_to_a_side_output() {
    let root = tempfile::tempdir().unwrap();
    fs::write(
        root.path().join("a.json"),
        "{\"shop\":1,\"item\":\"tea\"}\n{\"shop\":2}\n",
    )
    .unwrap();
    fs::write(root.path().join("b.json"), "nothing\n{\"shop\":3,\"item\":\"tea\"}\n").unwrap();
    let malformed: Arc<Mutex<Vec<String>>> = Arc::default();
    let build = |env: &mut StreamExecutionEnvironment| -> Result<()> {
        let sales = JsonLinesSource::<Sale>::new(root.path()).on_error(OnParseError::Skip);
        let sales = env.from_source(sales, WatermarkStrategy::for_monotonous_timestamps(), "sales");
        let malformed = Arc::clone(&malformed);
        sales
            .get_side_output(&OutputTag::<MalformedRecord>::new(MalformedRecord::TAG))
            .map(move |record| malformed.lock().unwrap().push(record.to_string()))
            .discard();
        sales.discard();
        Ok(())
    };
    run_for_test(build, 2).unwrap();
    let mut malformed = std::mem::take(&mut *malformed.lock().unwrap());
    malformed.sort();
    let names: Vec<&str> = malformed.iter().map(|text| text.rsplit_once('/').unwrap().1).collect();
    assert_eq!(
        names,
        ["a.json:2:10: missing field `item`", "b.json:1:2: expected ident"]
    );
}

#[test]
fn records_are_in_the_buckets_of_their_times() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("out");
    let build = |env: &mut StreamExecutionEnvironment| -> Result<()> {
        let strategy = WatermarkStrategy::for_monotonous_timestamps()
            .with_timestamp_assigner(|minutes: &u64, _| *minutes as i64 * 60_000);
        env.from_source(DataGeneratorSource::new(|index| index).count(240), strategy, "minutes")
            .sink_to(FileSink::new(&out).with_bucket_assigner(DateTimeBuckets::event_time()));
        Ok(())
    };
    run_for_test(build, 2).unwrap();
    for hour in 0..4 {
        let texts = written(&out.join(format!("1970-01-01--0{hour}")));
        let mut minutes: Vec<u64> = texts
            .iter()
            .flat_map(|text| text.lines())
            .map(|line| line.parse().unwrap())
            .collect();
        minutes.sort_unstable();
        assert!(minutes.into_iter().eq(hour * 60..(hour + 1) * 60));
    }
}

#[test]
fn a_job_that_fails_leaves_nothing_visible_that_is_not_complete() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("out");
    let build = |env: &mut StreamExecutionEnvironment| -> Result<()> {
        env.from_sequence(0..=100_000)
            .map(|number| if number == 50_000 { panic!("half way") } else { number })
            .sink_to(FileSink::new(&out).with_rolling_policy(RollingPolicy::new().max_size(1000)));
        Ok(())
    };
    run_for_test(build, 1).unwrap_err();
    let texts = written(&out);
    assert!(!texts.is_empty() && texts.iter().all(|text| text.ends_with('\n')));
    let mut numbers: Vec<u64> = texts
        .iter()
        .flat_map(|text| text.lines())
        .map(|line| line.parse().unwrap())
        .collect();
    numbers.sort_unstable();
    let count = numbers.len() as u64;
    assert!(numbers.into_iter().eq(0..count), "whole files, one after another");
}

#[test]
fn what_never_ends_is_no_batch() {
    let build = |env: &mut StreamExecutionEnvironment| -> Result<()> {
        env.set_runtime_mode(flink::RuntimeMode::Batch);
        env.from_source(
            DataGeneratorSource::new(|index| index),
            WatermarkStrategy::no_watermarks(),
            "all",
        )
        .discard();
        Ok(())
    };
    let error = run_for_test(build, 1).unwrap_err().to_string();
    assert_eq!(
        error,
        "the source `all` never ends, and in batch mode results are emitted at the end"
    );
}

#[test]
fn a_rate_is_kept() {
    let started = std::time::Instant::now();
    let build = |env: &mut StreamExecutionEnvironment| -> Result<()> {
        let source = DataGeneratorSource::new(|index| index)
            .count(100)
            .records_per_second(200.0);
        env.from_source(source, WatermarkStrategy::no_watermarks(), "slow")
            .discard();
        Ok(())
    };
    run_for_test(build, 2).unwrap();
    assert!(
        started.elapsed() >= Duration::from_millis(480),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn lines_come_from_a_socket() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        use std::io::Write;
        listener.accept().unwrap().0.write_all(b"to be\nor not\nto be").unwrap();
    });
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let build = |env: &mut StreamExecutionEnvironment| -> Result<()> {
        let lines = Arc::clone(&lines);
        env.from_source(
            SocketTextSource::new("localhost", port),
            WatermarkStrategy::no_watermarks(),
            "lines",
        )
        .map(move |line| lines.lock().unwrap().push(line))
        .discard();
        Ok(())
    };
    run_for_test(build, 1).unwrap();
    server.join().unwrap();
    assert_eq!(*lines.lock().unwrap(), ["to be", "or not", "to be"]);
}

/// A source of a job's own: squares, with timestamps of their own.
struct Squares(u64);

struct EveryNth {
    next: u64,
    step: u64,
}

impl Record for EveryNth {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.next, self.step).encode(out);
    }

    fn decode(input: &mut &[u8]) -> std::result::Result<Self, DecodeError> {
        let (next, step) = Record::decode(input)?;
        Ok(Self { next, step })
    }
}

impl Split for EveryNth {
    fn split_id(&self) -> String {
        (self.next % self.step).to_string()
    }
}

impl Source for Squares {
    type Record = u64;
    type Split = EveryNth;
    type Reader = SequentialReader<SquaresReader>;

    fn name(&self) -> String {
        "squares".to_owned()
    }

    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }

    fn enumeration(&self) -> Enumeration<Self> {
        Enumeration::PerSubtask(|_, subtask, parallelism| {
            // Two for each subtask.
            let (step, first) = (2 * u64::from(parallelism), 2 * u64::from(subtask));
            Ok([first, first + 1].map(|next| EveryNth { next, step }).into())
        })
    }

    fn create_reader(&self, _: &SourceReaderContext) -> std::result::Result<Self::Reader, flink::TaskError> {
        let limit = self.0;
        Ok(SequentialReader::new(move |split| Ok(SquaresReader { split, limit })))
    }
}

struct SquaresReader {
    split: EveryNth,
    limit: u64,
}

impl SplitReader for SquaresReader {
    type Record = u64;
    type Split = EveryNth;

    fn poll_next(&mut self, output: &mut SourceOutput<'_, u64>) -> std::result::Result<Availability, flink::TaskError> {
        while output.wants_more() {
            let number = self.split.next;
            if number >= self.limit {
                return Ok(Availability::End);
            }
            self.split.next += self.split.step;
            output.collect_with_timestamp(number * number, number as i64)?;
        }
        Ok(Availability::Now)
    }
}

#[test]
fn a_source_of_the_jobs_own_is_read_with_its_timestamps() {
    let root = tempfile::tempdir().unwrap();
    for strategy in [
        WatermarkStrategy::no_watermarks(),
        WatermarkStrategy::for_monotonous_timestamps(),
    ] {
        for parallelism in [1, 3] {
            let out = root.path().join(format!("{}-{parallelism}", strategy.does_nothing()));
            let build = |env: &mut StreamExecutionEnvironment| -> Result<()> {
                env.set_auto_watermark_interval(Duration::from_millis(1));
                env.from_source(Squares(1000), strategy.clone(), "squares").sink_to(
                    FileSink::new(&out).with_bucket_assigner(|_: &u64, context: &flink::BucketContext<'_>| {
                        // The timestamp is the root.
                        (context.timestamp / 100).to_string()
                    }),
                );
                Ok(())
            };
            run_for_test(build, parallelism).unwrap();
            for hundred in 0..10_u64 {
                let texts = written(&out.join(hundred.to_string()));
                let lines = texts.iter().flat_map(|text| text.lines());
                let mut squares: Vec<u64> = lines.map(|line| line.parse().unwrap()).collect();
                squares.sort_unstable();
                assert!(
                    squares
                        .into_iter()
                        .eq((hundred * 100..(hundred + 1) * 100).map(|root| root * root))
                );
            }
        }
    }
}

#[test]
fn text_has_a_watermark_per_file() {
    let root = tempfile::tempdir().unwrap();
    // The later file has the earlier times: nothing of it may be late.
    fs::write(root.path().join("a"), "500\n600\n").unwrap();
    fs::write(root.path().join("b"), "100\n200\n").unwrap();
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let build = |env: &mut StreamExecutionEnvironment| -> Result<()> {
        let lines = Arc::clone(&lines);
        let strategy = WatermarkStrategy::for_monotonous_timestamps()
            .with_timestamp_assigner(|line: &String, _| line.parse().unwrap_or(0));
        env.from_source(TextFileSource::new(root.path()), strategy, "text")
            .map(move |line| lines.lock().unwrap().push(line))
            .discard();
        Ok(())
    };
    run_for_test(build, 1).unwrap();
    assert_eq!(*lines.lock().unwrap(), ["500", "600", "100", "200"]);
}

/// The same squares, handed out by an enumerator in small parts.
struct HandedOut(u64);

impl Source for HandedOut {
    type Record = u64;
    type Split = EveryNth;
    type Reader = SequentialReader<SquaresReader>;

    fn name(&self) -> String {
        "handed out".to_owned()
    }

    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }

    fn enumeration(&self) -> Enumeration<Self> {
        Enumeration::Coordinated(|_| {
            let parts = (0..50).map(|next| EveryNth { next, step: 50 });
            Ok(Box::new(QueueEnumerator::new(parts)))
        })
    }

    fn create_reader(&self, _: &SourceReaderContext) -> std::result::Result<Self::Reader, flink::TaskError> {
        let limit = self.0;
        Ok(SequentialReader::new(move |split| Ok(SquaresReader { split, limit })))
    }
}

/// The records of a source, sorted.
fn records_of<T: Record + Ord, S: Source<Record = T>>(
    parallelism: u32,
    source: impl Fn() -> S,
    strategy: &WatermarkStrategy<T>,
) -> Vec<T> {
    let records: Arc<Mutex<Vec<T>>> = Arc::default();
    let build = |env: &mut StreamExecutionEnvironment| -> Result<()> {
        let records = Arc::clone(&records);
        env.from_source(source(), strategy.clone(), "source")
            .map(move |record| records.lock().unwrap().push(record))
            .discard();
        Ok(())
    };
    run_for_test(build, parallelism).unwrap();
    let mut records = std::mem::take(&mut *records.lock().unwrap());
    records.sort();
    records
}

#[test]
fn splits_are_handed_out_by_an_enumerator() {
    let strategy = WatermarkStrategy::for_monotonous_timestamps();
    for parallelism in [1, 3] {
        let squares = records_of(parallelism, || HandedOut(1000), &strategy);
        assert!(
            squares.into_iter().eq((0..1000).map(|root| root * root)),
            "{parallelism}"
        );
    }
}

#[test]
fn sources_that_are_aligned_come_to_their_ends() {
    let numbers: Arc<Mutex<Vec<u64>>> = Arc::default();
    let build = |env: &mut StreamExecutionEnvironment| -> Result<()> {
        env.set_auto_watermark_interval(Duration::from_millis(5));
        let strategy = WatermarkStrategy::for_monotonous_timestamps()
            .with_timestamp_assigner(|number: &u64, _| *number as i64)
            .with_watermark_alignment("both", Duration::from_millis(100));
        let slow = DataGeneratorSource::new(|index| index * 50)
            .count(20)
            .records_per_second(40.0);
        let fast = DataGeneratorSource::new(|index| index)
            .count(1000)
            .records_per_second(20_000.0);
        let slow = env.from_source(slow, strategy.clone(), "slow");
        let fast = env.from_source(fast, strategy, "fast");
        let numbers = Arc::clone(&numbers);
        slow.union(fast)
            .map(move |number| numbers.lock().unwrap().push(number))
            .discard();
        Ok(())
    };
    run_for_test(build, 2).unwrap();
    assert_eq!(numbers.lock().unwrap().len(), 1020);
}

#[test]
fn a_directory_is_watched() {
    const INTERVAL: Duration = Duration::from_millis(30);
    let root = tempfile::tempdir().unwrap();
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    fs::write(root.path().join("first"), "a\nb\n").unwrap();
    fs::write(root.path().join(".hidden"), "never\n").unwrap();
    let build = |env: &mut StreamExecutionEnvironment| -> Result<()> {
        let (lines, directory) = (Arc::clone(&lines), root.path().to_owned());
        let source = TextFileSource::new(root.path()).watch(INTERVAL);
        env.from_source(source, WatermarkStrategy::no_watermarks(), "watched")
            .map(move |line| {
                // Each file leads to the next.
                match line.as_str() {
                    "b" => {
                        fs::write(directory.join(".second"), "c\nd\n").unwrap();
                        fs::rename(directory.join(".second"), directory.join("second")).unwrap();
                    }
                    "d" => fs::write(directory.join("third"), "e\nend\n").unwrap(),
                    "end" => panic!("that was all"),
                    _ => {}
                }
                lines.lock().unwrap().push(line);
            })
            .discard();
        Ok(())
    };
    let error = run_for_test(build, 2).unwrap_err().to_string();
    assert!(error.ends_with("that was all"), "{error}");
    let mut lines = std::mem::take(&mut *lines.lock().unwrap());
    lines.sort();
    assert_eq!(lines, ["a", "b", "c", "d", "e"]);
}
