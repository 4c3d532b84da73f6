//! What is in the directory, and when.

use std::time::Duration;

use flink_record::NO_TIMESTAMP;
use flink_worker::{ProcessingTimeService, SinkOperator};

use super::*;
use crate::sink::operator::WriterOperator;

fn entries(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

type Writer<E, B> = WriterOperator<FileWriter<E, B>, FileCommitter>;

fn open<E: Encoder<&'static str>, B: BucketAssigner<&'static str>>(
    sink: &FileSink<E, B>,
    subtask: u32,
    clock: &ProcessingTimeService,
) -> Writer<E, B> {
    let context = SinkWriterContext::new(subtask, 4, clock);
    let committer = sink.create_committer(&context).unwrap();
    WriterOperator::new(sink.create_writer(&context).unwrap(), committer)
}

fn clock() -> ProcessingTimeService {
    ProcessingTimeService::manual(0)
}

#[test]
fn a_part_is_visible_only_when_it_is_complete() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("a/b");
    let mut writer = open(&FileSink::new(&directory), 3, &clock());
    writer.write("x", 0).unwrap();
    assert_eq!(entries(&directory), [".part-3-0.inprogress.0"]);
    writer.write("y", 0).unwrap();
    SinkOperator::<&str>::flush(&mut writer).unwrap();
    assert_eq!(entries(&directory), [".part-3-0.inprogress.0"]);
    SinkOperator::<&str>::finish(&mut writer).unwrap();
    assert_eq!(entries(&directory), ["part-3-0"]);
    assert_eq!(text(directory.join("part-3-0")), "x\ny\n");
}

#[test]
fn a_subtask_without_records_has_an_empty_part() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = open(&FileSink::new(root.path()), 0, &clock());
    SinkOperator::<&str>::finish(&mut writer).unwrap();
    assert_eq!(entries(root.path()), ["part-0-0"]);
}

#[test]
fn what_is_dropped_in_progress_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = open(&FileSink::new(root.path()), 0, &clock());
    writer.write("1", 0).unwrap();
    drop(writer);
    assert_eq!(entries(root.path()), [""; 0]);
}

#[test]
fn what_was_not_committed_is_gone_and_what_was_stays() {
    let root = tempfile::tempdir().unwrap();
    let sink = FileSink::new(root.path()).with_rolling_policy(RollingPolicy::new().max_size(4));
    let mut writer = open(&sink, 0, &clock());
    for record in ["abc", "def", "g"] {
        writer.write(record, 0).unwrap();
    }
    let hidden = ["0", "1", "2"].map(|number| format!(".part-0-{number}.inprogress.0"));
    assert_eq!(entries(root.path()), hidden);
    SinkOperator::<&str>::flush(&mut writer).unwrap();
    assert_eq!(entries(root.path()), [&*hidden[2], "part-0-0", "part-0-1"]);
    writer.write("hij", 0).unwrap();
    assert_eq!(entries(root.path()).len(), 3);
    // A crash between the closing of a part and its commit.
    drop(writer);
    assert_eq!(entries(root.path()), ["part-0-0", "part-0-1"]);
    assert_eq!(text(root.path().join("part-0-1")), "def\n");
}

#[test]
fn parts_are_complete_by_size_and_lose_nothing() {
    let root = tempfile::tempdir().unwrap();
    let sink = FileSink::new(root.path()).with_rolling_policy(RollingPolicy::new().max_size(100));
    let mut writer = open(&sink, 1, &clock());
    for _ in 0..60 {
        writer.write("123456789", 0).unwrap();
    }
    SinkOperator::<&str>::finish(&mut writer).unwrap();
    let parts = entries(root.path());
    assert_eq!(
        parts,
        (0..6).map(|number| format!("part-1-{number}")).collect::<Vec<_>>()
    );
    assert!(parts.iter().all(|part| text(root.path().join(part)).len() == 100));
}

#[test]
fn parts_are_complete_by_time() {
    let root = tempfile::tempdir().unwrap();
    let (second, clock) = (Duration::from_secs(1), clock());
    let policy = RollingPolicy::new().max_inactivity(4 * second).max_age(20 * second);
    let mut writer = open(&FileSink::new(root.path()).with_rolling_policy(policy), 0, &clock);
    let mut begun = Vec::new();
    for now in 1..=60 {
        clock.set(now * 1000);
        // For half a minute a record every second, then none.
        if now <= 30 {
            writer.write("x", 0).unwrap();
        }
        if let Some(due) = clock.take_due() {
            SinkOperator::<&str>::processing_time(&mut writer, due).unwrap();
            SinkOperator::<&str>::flush(&mut writer).unwrap();
        }
        begun.push(entries(root.path()).iter().filter(|name| name.starts_with('p')).count());
    }
    let complete_at = |parts| begun.iter().position(|begun| *begun == parts).unwrap() + 1;
    assert_eq!((complete_at(1), complete_at(2)), (20, 34));
    assert_eq!(begun[59], 2, "nothing is begun without a record");
    assert_eq!(
        text(root.path().join("part-0-0")).len() + text(root.path().join("part-0-1")).len(),
        60
    );
}

#[test]
fn buckets_are_directories() {
    let root = tempfile::tempdir().unwrap();
    let by_letter = |record: &&'static str, _: &BucketContext<'_>| format!("letter={}", &record[..1]);
    let sink = FileSink::new(root.path()).with_bucket_assigner(by_letter);
    let mut writer = open(&sink, 2, &clock());
    for record in ["ax", "bx", "ay"] {
        writer.write(record, 0).unwrap();
    }
    SinkOperator::<&str>::finish(&mut writer).unwrap();
    assert_eq!(entries(root.path()), ["letter=a", "letter=b"]);
    assert_eq!(text(root.path().join("letter=a/part-2-0")), "ax\nay\n");
    assert_eq!(text(root.path().join("letter=b/part-2-1")), "bx\n");
    let sink = sink.with_bucket_assigner(|_: &&'static str, _: &BucketContext<'_>| "../out".to_owned());
    let error = open(&sink, 0, &clock()).write("x", 0).unwrap_err().to_string();
    assert!(error.starts_with("`../out` is no bucket"), "{error}");
}

#[test]
fn buckets_can_be_hours() {
    let root = tempfile::tempdir().unwrap();
    let sink = FileSink::new(root.path()).with_bucket_assigner(DateTimeBuckets::event_time());
    let mut writer = open(&sink, 0, &clock());
    writer.write("a", 0).unwrap();
    writer.write("b", 3_600_000).unwrap();
    let error = writer.write("c", NO_TIMESTAMP).unwrap_err().to_string();
    assert_eq!(error, "a record without a timestamp has no bucket by event time");
    SinkOperator::<&str>::finish(&mut writer).unwrap();
    assert_eq!(entries(root.path()), ["1970-01-01--00", "1970-01-01--01"]);
    let sink = sink.with_bucket_assigner(DateTimeBuckets::processing_time().daily());
    let clock = clock();
    let mut writer = open(&sink, 1, &clock);
    clock.set(24 * 3_600_000);
    writer.write("a", NO_TIMESTAMP).unwrap();
    SinkOperator::<&str>::finish(&mut writer).unwrap();
    assert_eq!(entries(&root.path().join("1970-01-02")), ["part-1-0"]);
}

#[test]
fn not_too_many_parts_are_open() {
    let root = tempfile::tempdir().unwrap();
    let number = std::sync::atomic::AtomicU32::new(0);
    let number = std::sync::Arc::new(number);
    let each = move |_: &&'static str, _: &BucketContext<'_>| {
        number.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string()
    };
    let mut writer = open(&FileSink::new(root.path()).with_bucket_assigner(each), 0, &clock());
    for _ in 0..258 {
        writer.write("x", 0).unwrap();
    }
    SinkOperator::<&str>::flush(&mut writer).unwrap();
    assert_eq!(entries(&root.path().join("1")), ["part-0-1"]);
    assert_eq!(entries(&root.path().join("2")), [".part-0-2.inprogress.0"]);
}

#[test]
fn a_part_never_replaces_a_file() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("part-0-0"), "old").unwrap();
    let mut writer = open(&FileSink::new(root.path()), 0, &clock());
    writer.write("new", 0).unwrap();
    let error = SinkOperator::<&str>::finish(&mut writer).unwrap_err().to_string();
    assert!(
        error.ends_with("/part-0-0: a file of that name is there already"),
        "{error}"
    );
    assert_eq!(entries(root.path()), ["part-0-0"]);
    assert_eq!(text(root.path().join("part-0-0")), "old");
}

#[test]
fn a_commit_may_be_repeated() {
    use crate::sink::{Committer, SinkWriter, WriteContext};

    let root = tempfile::tempdir().unwrap();
    let sink = FileSink::new(root.path());
    let context = SinkWriterContext::new(0, 1, &clock());
    let mut writer = Sink::<&str>::create_writer(&sink, &context).unwrap();
    let (timestamp, watermark) = (0, 0);
    writer.write("x", WriteContext { timestamp, watermark }).unwrap();
    SinkWriter::<&str>::flush(&mut writer, true).unwrap();
    let committables = SinkWriter::<&str>::prepare_commit(&mut writer).unwrap();
    drop(writer);
    assert_eq!(
        entries(root.path()),
        [".part-0-0.inprogress.0"],
        "it is the committer's now"
    );
    for file in &committables {
        let bytes = crate::source::protocol::encode(file);
        assert_eq!(
            crate::source::protocol::decode::<FileCommittable>(&bytes).unwrap(),
            *file
        );
    }
    let mut committer = FileCommitter::new(root.path().to_owned());
    committer.commit(committables.clone()).unwrap();
    committer.commit(committables).unwrap();
    assert_eq!(entries(root.path()), ["part-0-0"]);
}

#[test]
fn an_output_must_be_new_or_empty() {
    let root = tempfile::tempdir().unwrap();
    check_is_new(root.path()).unwrap();
    check_is_new(&root.path().join("new")).unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    for path in [root.path().to_owned(), root.path().join("file")] {
        let error = check_is_new(&path).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "the output path {} exists and is not an empty directory",
                path.display()
            )
        );
    }
    assert!(matches!(
        check_is_new(&root.path().join("file/below")),
        Err(FileSinkError::Write { .. })
    ));
}
