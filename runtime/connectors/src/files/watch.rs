//! Watching a directory: which files are new, and complete.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    time::Duration,
};

use flink_worker::TaskError;

use super::{
    FileError, FileSplit,
    listing::{self, ListedFile, Missing},
    split,
};
use crate::source::{EnumeratorContext, SplitEnumerator};

/// What was seen of the files so far.
#[derive(Debug, Default)]
struct Discovery {
    /// Files that may still be written: size and time of modification at the last look.
    growing: BTreeMap<PathBuf, (u64, i128)>,
    complete: BTreeSet<PathBuf>,
}

impl Discovery {
    /// The files that are there now; those that are complete since this look.
    fn look(&mut self, files: Vec<ListedFile>) -> Vec<ListedFile> {
        let before = std::mem::take(&mut self.growing);
        let mut complete = Vec::new();
        for file in files {
            if self.complete.contains(&file.path) {
                continue;
            }
            let seen = (file.size, file.modified_ns);
            if before.get(&file.path) == Some(&seen) {
                self.complete.insert(file.path.clone());
                complete.push(file);
            } else {
                self.growing.insert(file.path, seen);
            }
        }
        complete
    }
}

/// Looks at a directory at intervals, and hands out the files that are new and complete.
pub(super) struct WatchEnumerator {
    path: PathBuf,
    interval: Duration,
    splittable: bool,
    discovery: Discovery,
    waiting: VecDeque<FileSplit>,
}

/// Looking more often would be all that the process does.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

impl WatchEnumerator {
    pub(super) fn new(path: PathBuf, interval: Duration, splittable: bool) -> Self {
        Self {
            path,
            interval: interval.max(SHORTEST_INTERVAL),
            splittable,
            discovery: Discovery::default(),
            waiting: VecDeque::new(),
        }
    }

    fn look(&mut self, context: &mut EnumeratorContext<FileSplit>) -> Result<(), TaskError> {
        let files = match listing::list(&self.path, Missing::LeftOut) {
            Ok(files) => files,
            // It may be made later.
            Err(FileError::NoMatch { .. }) => Vec::new(),
            Err(FileError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(TaskError::operator(error)),
        };
        for file in self.discovery.look(files) {
            if self.splittable {
                self.waiting.extend(split::parts(&file));
            } else if file.size > 0 {
                self.waiting.push_back(split::whole(file));
            }
        }
        self.hand_out(context);
        context.wake_at(context.now() + self.interval);
        Ok(())
    }

    fn hand_out(&mut self, context: &mut EnumeratorContext<FileSplit>) {
        for subtask in context.waiting() {
            let Some(split) = self.waiting.pop_front() else { return };
            context.assign_split(subtask, split);
        }
    }
}

impl SplitEnumerator<FileSplit> for WatchEnumerator {
    fn start(&mut self, context: &mut EnumeratorContext<FileSplit>) -> Result<(), TaskError> {
        self.look(context)
    }

    fn handle_split_request(&mut self, _: u32, context: &mut EnumeratorContext<FileSplit>) -> Result<(), TaskError> {
        self.hand_out(context);
        Ok(())
    }

    fn add_splits_back(
        &mut self,
        splits: Vec<FileSplit>,
        context: &mut EnumeratorContext<FileSplit>,
    ) -> Result<(), TaskError> {
        splits
            .into_iter()
            .rev()
            .for_each(|split| self.waiting.push_front(split));
        self.hand_out(context);
        Ok(())
    }

    fn wake(&mut self, context: &mut EnumeratorContext<FileSplit>) -> Result<(), TaskError> {
        self.look(context)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Instant};

    use super::*;
    use crate::source::protocol::{EnumeratorMessage, SplitAssignment, decode};

    fn file(path: &str, size: u64, modified_ns: i128) -> ListedFile {
        ListedFile {
            path: path.into(),
            size,
            modified_ns,
        }
    }

    #[test]
    fn a_file_is_complete_when_two_looks_see_the_same_and_new_once() {
        let mut discovery = Discovery::default();
        let (a, b) = (file("a", 1, 1), file("b", 1, 1));
        assert_eq!(discovery.look(vec![a.clone()]), []);
        assert_eq!(discovery.look(vec![file("a", 2, 1), b.clone()]), [], "it grew");
        assert_eq!(
            discovery.look(vec![file("a", 2, 2), b.clone()]),
            vec![b.clone()],
            "it was touched"
        );
        assert_eq!(discovery.look(vec![file("a", 2, 2), b.clone()]), [file("a", 2, 2)]);
        assert_eq!(discovery.look(vec![a, file("b", 9, 9)]), [], "both were read");
        // One that vanishes in between begins anew.
        let c = file("c", 1, 1);
        assert_eq!(discovery.look(vec![c.clone()]), []);
        assert_eq!(discovery.look(vec![]), []);
        assert_eq!(discovery.look(vec![c.clone()]), []);
        assert_eq!(discovery.look(vec![c.clone()]), [c]);
    }

    #[test]
    fn new_files_are_handed_to_those_who_wait() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("later");
        let interval = Duration::from_secs(1);
        let enumerator = WatchEnumerator::new(directory.clone(), interval, true);
        let mut now = Instant::now();
        let mut assignment = SplitAssignment::new(Box::new(enumerator), 2, now);
        assignment.start(now).unwrap();
        assignment.split_requested(now, 1).unwrap();
        fs::create_dir(&directory).unwrap();
        for name in ["a", "b", ".hidden", "empty"] {
            fs::write(directory.join(name), if name == "empty" { "" } else { name }).unwrap();
        }
        let mut look = |assignment: &mut SplitAssignment<FileSplit>| {
            now += interval;
            assert_eq!(assignment.take_wake(), Some(now));
            assignment.wake(now).unwrap();
        };
        look(&mut assignment);
        assert_eq!(assignment.take_messages(), []);
        look(&mut assignment);
        let assigned = |assignment: &mut SplitAssignment<FileSplit>| -> Vec<(u32, FileSplit)> {
            let messages = assignment.take_messages().into_iter();
            let splits = messages.map(|(subtask, message)| match message {
                EnumeratorMessage::AddSplit(split) => (subtask, decode(&split).unwrap()),
                other => panic!("{other:?}"),
            });
            splits.collect()
        };
        let whole = |name: &str| FileSplit {
            path: directory.join(name),
            bytes: 0..name.len() as u64,
        };
        assert_eq!(assigned(&mut assignment), [(1, whole("a"))]);
        assignment.split_requested(now, 0).unwrap();
        assert_eq!(assigned(&mut assignment), [(0, whole("b"))]);
        // A reader that fails gives back what it has not finished.
        assignment.split_finished(1, "x").unwrap_err();
        assignment.reader_failed(now, 1).unwrap();
        assignment.split_requested(now, 1).unwrap();
        assert_eq!(assigned(&mut assignment), [(1, whole("a"))]);
    }
}
