//! Processes of ours on a host: who they are, how they start detached, how they are found again and stopped.

mod identity;
mod startup;
mod stop;
mod tagged;

pub use identity::{IdentityError, ProcStat, ProcessIdentity, TAG_VARIABLE, boot_id, parse_stat};
pub use startup::{MAX_STARTUP_MESSAGE, Startup, StartupError};
pub use stop::{SignalError, StopOutcome, await_exit, signal, stop};
pub use tagged::{TaggedProcess, list_tagged};

pub(crate) use startup::{encode_message, read_message};
