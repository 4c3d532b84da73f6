//! Executing programs that were written a moment ago.

use std::{io, thread, time::Duration};

/// Whatever a process has open for writing when another thread of it forks is open in the child, too, until that executes its
/// program: for so long the kernel executes no file that was being written, though its writer has closed it. That takes no more
/// than some milliseconds.
const TRIES: u32 = 100;

const PAUSE: Duration = Duration::from_millis(1);

/// Executes or spawns, again as long as the program's file is busy, for a tenth of a second at most. Like a spawn itself, it
/// blocks.
///
/// # Errors
/// Those of the last attempt.
#[expect(
    clippy::disallowed_methods,
    reason = "nobody tells when the file is free, and a spawn blocks for as long anyway"
)]
pub fn unless_busy<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..TRIES {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => thread::sleep(PAUSE),
            result => return result,
        }
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, OpenOptions},
        process::Command,
    };

    use super::*;

    #[test]
    fn a_program_is_executed_once_nobody_writes_it() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("true");
        fs::copy("/bin/true", &program).unwrap();
        let open = || OpenOptions::new().append(true).open(&program).unwrap();
        let mut writer = Some(open());
        let mut tries = 0;
        let child = unless_busy(|| {
            tries += 1;
            if tries == 3 {
                writer = None;
            }
            Command::new(&program).spawn()
        });
        assert!(child.unwrap().wait().unwrap().success());
        assert!(tries >= 3, "{tries}");
        let _writer = open();
        let error = unless_busy(|| Command::new(&program).spawn()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ExecutableFileBusy);
    }
}
