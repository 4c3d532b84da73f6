//! The process of an application, whose driver says what is to run.

use std::{path::PathBuf, process::ExitStatus, time::Duration};

use flink_rpc::{
    FrameReader, FrameWriter,
    messages::{FromProgram, ToProgram},
};
use tokio::{
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

use super::{ProgramError, process::ProgramProcess};

/// Messages that wait for a program which does not take them. A program that leaves so many is stuck: it takes them on
/// a thread that does nothing else.
const UNREAD: usize = 4096;

/// How long a program may take to end once its driver has.
const END_LIMIT: Duration = Duration::from_secs(5);

/// An application that waits to be driven. It is killed when this is dropped, with all that it has started.
#[derive(Debug)]
pub(crate) struct Application {
    /// The program's file.
    pub(crate) path: PathBuf,
    /// The names of its jobs.
    pub(crate) jobs: Vec<String>,
    pub(super) process: ProgramProcess,
    pub(super) reader: FrameReader<OwnedReadHalf>,
    pub(super) writer: FrameWriter<OwnedWriteHalf>,
}

/// An application whose driver runs. It is killed when this is dropped, with all that it has started.
#[derive(Debug)]
pub(crate) struct Driver {
    path: PathBuf,
    process: ProgramProcess,
    reader: FrameReader<OwnedReadHalf>,
    unread: mpsc::Sender<ToProgram>,
    writing: JoinHandle<()>,
}

impl Application {
    /// Has it run its driver.
    pub(crate) fn drive(self) -> Driver {
        let (unread, mut queue) = mpsc::channel(UNREAD);
        let mut writer = self.writer;
        let writing = tokio::spawn(async move {
            let mut message = ToProgram::Drive;
            // That it is gone is seen by whoever listens to it.
            while writer.send(&message).await.is_ok() {
                let Some(next) = queue.recv().await else { return };
                message = next;
            }
        });
        Driver {
            path: self.path,
            process: self.process,
            reader: self.reader,
            unread,
            writing,
        }
    }
}

impl Driver {
    /// What it says next; `None` when it has hung up, or says what no program says. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<FromProgram> {
        self.reader.next().await.ok().flatten()
    }

    /// Tells it something; not waiting until it hears it.
    ///
    /// # Errors
    /// When it does not listen.
    pub(crate) fn tell(&self, message: ToProgram) -> Result<(), ProgramError> {
        match self.unread.try_send(message) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(ProgramError::Run {
                path: self.path.clone(),
                source: std::io::Error::other("it does not read what flinkctl tells it"),
            }),
        }
    }

    /// Waits for the end of its process, which is killed when it takes too long over that.
    ///
    /// # Errors
    /// When the system does not tell how it ended.
    pub(crate) async fn end(self) -> Result<ExitStatus, ProgramError> {
        let Self {
            path,
            mut process,
            reader,
            unread,
            writing,
        } = self;
        drop((reader, unread));
        // It ends for want of messages, or of somebody to read them.
        let _ended = timeout(END_LIMIT, writing).await;
        let status = match timeout(END_LIMIT, process.wait()).await {
            Ok(status) => status,
            Err(_elapsed) => {
                process.kill();
                process.wait().await
            }
        };
        status.map_err(|source| ProgramError::Run { path, source })
    }

    /// The program's file.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }
}
