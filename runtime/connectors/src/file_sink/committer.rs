//! Giving complete files their names.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use flink_record::{DecodeError, Record};
use flink_worker::TaskError;
use rustix::{
    fs::{CWD, RenameFlags},
    io::Errno,
};

use super::FileSinkError;
use crate::sink::Committer;

/// A file that is complete, on disk, and not visible yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileCommittable {
    /// Where it is.
    pub hidden: PathBuf,
    /// Where it is to be.
    pub visible: PathBuf,
}

impl Record for FileCommittable {
    fn encode(&self, out: &mut Vec<u8>) {
        for path in [&self.hidden, &self.visible] {
            path.as_os_str().as_bytes().to_vec().encode(out);
        }
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let mut path = || Ok(OsString::from_vec(Record::decode(input)?).into());
        Ok(Self {
            hidden: path()?,
            visible: path()?,
        })
    }
}

/// Gives complete files their names.
#[derive(Debug)]
pub struct FileCommitter {
    /// The sink's directory.
    directory: PathBuf,
}

impl FileCommitter {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    fn show(&self, file: &FileCommittable) -> Result<(), FileSinkError> {
        let renamed = match rename_new(&file.hidden, &file.visible) {
            // It was committed before.
            Err(error) if error.kind() == io::ErrorKind::NotFound && file.visible.exists() => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(FileSinkError::Taken(file.visible.clone()));
            }
            renamed => renamed,
        };
        renamed
            .and_then(|()| self.secure(&file.visible))
            .map_err(FileSinkError::write(&file.hidden))
    }

    /// A new name is safe only when its directory is, and that only when the one above is.
    fn secure(&self, file: &Path) -> io::Result<()> {
        let inside = |directory: &&Path| directory.starts_with(&self.directory);
        for directory in file.ancestors().skip(1).take_while(inside) {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }
}

impl Committer<FileCommittable> for FileCommitter {
    fn commit(&mut self, committables: Vec<FileCommittable>) -> Result<(), TaskError> {
        for (index, file) in committables.iter().enumerate() {
            if let Err(error) = self.show(file) {
                for file in &committables[index..] {
                    // Nothing more can be done about a file that cannot be removed; it stays hidden.
                    let _left = fs::remove_file(&file.hidden);
                }
                return Err(TaskError::operator(error));
            }
        }
        Ok(())
    }
}

/// Renames a file unless the new name exists.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // NFS, among others, cannot do both in one step.
        Err(Errno::INVAL | Errno::NOSYS) if !to.try_exists()? => fs::rename(from, to),
        result => Ok(result?),
    }
}
