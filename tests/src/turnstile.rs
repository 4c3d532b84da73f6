//! Lets only so many test beds be up at once, over all test processes of a checkout: they share the machine's cores.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};

use crate::wait::pause;

/// More would help on no machine: the tests mostly wait.
const MOST: usize = 6;

/// The right to have a test bed, until dropped. Kernel locks: a test that is killed gives it back.
#[derive(Debug)]
pub(crate) struct Pass {
    _locks: Vec<File>,
}

/// Waits for the right to have a test bed: one of several, or with `alone` the only one.
pub(crate) fn enter(alone: bool) -> Pass {
    let places = std::thread::available_parallelism().map_or(1, usize::from).min(MOST);
    if alone {
        // In order, so that two who want all places do not wait for one another.
        return Pass {
            _locks: (0..places).map(|place| wait_for(place..place + 1)).collect(),
        };
    }
    Pass {
        _locks: vec![wait_for(0..places)],
    }
}

/// A lock on the first of these places that becomes free.
fn wait_for(places: std::ops::Range<usize>) -> File {
    loop {
        for place in places.clone() {
            let path = directory().join(format!("flink-tests-{place}.lock"));
            let mut options = OpenOptions::new();
            let file = options.write(true).create(true).truncate(false).open(&path);
            let file = file.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return file;
            }
        }
        pause();
    }
}

fn directory() -> PathBuf {
    let executable = std::env::current_exe().ok();
    let directory = executable.as_deref().and_then(|path| path.parent());
    directory.map_or_else(std::env::temp_dir, PathBuf::from)
}
