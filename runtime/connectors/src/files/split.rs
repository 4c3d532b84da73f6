//! Parts of files, and who reads which.

use std::{
    ffi::OsString,
    ops::Range,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
};

use flink_record::{DecodeError, Record};

use super::listing::ListedFile;
use crate::source::Split;

/// A part of a file: the records that begin in these bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSplit {
    /// The file.
    pub path: PathBuf,
    /// The bytes.
    pub bytes: Range<u64>,
}

impl Split for FileSplit {
    fn split_id(&self) -> String {
        // Of two names that differ in bytes that are no text, the ids must differ, too.
        let path = self.path.as_os_str().as_bytes();
        let path = std::str::from_utf8(path).map_or_else(|_| path.escape_ascii().to_string(), str::to_owned);
        format!("{path}:{}-{}", self.bytes.start, self.bytes.end)
    }
}

impl Record for FileSplit {
    fn encode(&self, out: &mut Vec<u8>) {
        self.path.as_os_str().as_bytes().to_vec().encode(out);
        (self.bytes.start, self.bytes.end).encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let path = OsString::from_vec(Record::decode(input)?).into();
        let (start, end) = Record::decode(input)?;
        Ok(Self {
            path,
            bytes: start..end,
        })
    }
}

/// The part of the files that a subtask reads, all together cut evenly.
pub(super) fn by_bytes(files: &[ListedFile], subtask: u32, parallelism: u32) -> Vec<FileSplit> {
    let total: u64 = files.iter().map(|file| file.size).sum();
    let cut = |index: u32| (u128::from(total) * u128::from(index) / u128::from(parallelism)) as u64;
    let (start, end) = (cut(subtask), cut(subtask + 1));
    let mut splits = Vec::new();
    let mut file_start = 0;
    for file in files {
        let file_end = file_start + file.size;
        let (from, to) = (start.max(file_start), end.min(file_end));
        if from < to {
            splits.push(FileSplit {
                path: file.path.clone(),
                bytes: from - file_start..to - file_start,
            });
        }
        file_start = file_end;
    }
    splits
}

/// The files that a subtask reads whole: the largest first, each goes to the subtask that has least so far. They are read in the order of
/// their names.
pub(super) fn whole_files(mut files: Vec<ListedFile>, subtask: u32, parallelism: u32) -> Vec<FileSplit> {
    files.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.path.cmp(&b.path)));
    let mut loads = vec![0_u64; parallelism as usize];
    let mut splits = Vec::new();
    for file in files.into_iter().filter(|file| file.size > 0) {
        let least = (0..).zip(&mut loads).min_by_key(|(_, load)| **load);
        let Some((index, load)) = least else { break };
        *load += file.size;
        if index == subtask {
            splits.push(whole(file));
        }
    }
    splits.sort_by(|a, b| a.path.cmp(&b.path));
    splits
}

/// A file that is read in one.
pub(super) fn whole(file: ListedFile) -> FileSplit {
    FileSplit {
        path: file.path,
        bytes: 0..file.size,
    }
}

/// Bytes of a part of a file that is handed out by itself.
const PART_BYTES: u64 = 128 << 20;

/// A file in parts.
pub(super) fn parts(file: &ListedFile) -> impl Iterator<Item = FileSplit> {
    let count = file.size.div_ceil(PART_BYTES);
    (0..count).map(move |index| FileSplit {
        path: file.path.clone(),
        bytes: index * PART_BYTES..((index + 1) * PART_BYTES).min(file.size),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_text_make_ids_that_differ() {
        let id = |name: &[u8]| {
            let path = OsString::from_vec(name.to_vec()).into();
            FileSplit { path, bytes: 0..9 }.split_id()
        };
        assert_eq!(id("ä".as_bytes()), "ä:0-9");
        assert_eq!(id(b"a\xff"), "a\\xff:0-9");
        assert_ne!(id(b"a\xff"), id(b"a\xfe"));
    }

    fn files(sizes: &[u64]) -> Vec<ListedFile> {
        (0..)
            .zip(sizes)
            .map(|(index, size)| ListedFile {
                path: format!("{index}-{size}").into(),
                size: *size,
                modified_ns: 0,
            })
            .collect()
    }

    #[test]
    fn splits_cover_every_byte_once() {
        let files = files(&[10, 0, 3, 1]);
        for parallelism in [1, 2, 3, 5, 14, 20] {
            let splits: Vec<FileSplit> = (0..parallelism)
                .flat_map(|subtask| by_bytes(&files, subtask, parallelism))
                .collect();
            for file in &files {
                let ranges = splits
                    .iter()
                    .filter(|split| split.path == file.path)
                    .map(|split| split.bytes.clone());
                assert!(ranges.flatten().eq(0..file.size), "{parallelism}");
            }
        }
    }

    #[test]
    fn whole_files_are_shared_out_by_size() {
        let files = files(&[10, 1, 9, 0, 2]);
        for parallelism in [1, 2, 3, 7] {
            let mut all: Vec<FileSplit> = (0..parallelism)
                .flat_map(|subtask| whole_files(files.clone(), subtask, parallelism))
                .collect();
            all.sort_by(|a, b| a.path.cmp(&b.path));
            assert_eq!(
                all.iter().map(|split| split.bytes.end).collect::<Vec<_>>(),
                [10, 1, 9, 2]
            );
        }
        let load = |subtask| {
            whole_files(files.clone(), subtask, 2)
                .iter()
                .map(|split| split.bytes.end)
                .sum::<u64>()
        };
        assert_eq!((load(0), load(1)), (11, 11));
    }

    #[test]
    fn large_files_have_parts() {
        let file = &files(&[2 * PART_BYTES + 1])[0];
        let ranges: Vec<_> = parts(file).map(|split| split.bytes).collect();
        assert_eq!(
            ranges,
            [
                0..PART_BYTES,
                PART_BYTES..2 * PART_BYTES,
                2 * PART_BYTES..2 * PART_BYTES + 1
            ]
        );
    }

    #[test]
    fn a_split_survives_its_journey() {
        let split = FileSplit {
            path: OsString::from_vec(b"/a/\xff b".to_vec()).into(),
            bytes: 3..u64::MAX,
        };
        let bytes = crate::source::protocol::encode(&split);
        assert_eq!(FileSplit::decode(&mut &bytes[..]), Ok(split));
    }
}
