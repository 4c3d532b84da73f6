//! Processes of ours on a host: who they are, how they start detached, how they are found again and stopped.

mod identity;
mod ports;
mod startup;
mod stop;
mod tagged;

pub use identity::{IdentityError, ProcStat, ProcessIdentity, TAG_VARIABLE, boot_id, parse_stat};
pub use ports::{PortHolder, udp_port_holder};
pub use startup::{MAX_STARTUP_MESSAGE, Startup, StartupError};
pub use stop::{SignalError, StopOutcome, await_exit, stop};
pub use tagged::{TaggedProcess, list_tagged};

pub(crate) use startup::{encode_message, read_message};
