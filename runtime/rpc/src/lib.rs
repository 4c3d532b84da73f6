//! Control plane: identities (a CA per cluster, mutual TLS), messages, and their framing over QUIC and over pipes.

mod call;
mod endpoint;
mod frame;
mod identity;
pub mod messages;

pub use call::{CallError, Responder, read_reply};
pub use endpoint::{EndpointError, Heartbeat, close, close_endpoint, connect, listen, peer_certificate};
pub use frame::{FrameError, FrameReader, FrameWriter, MAX_FRAME};
pub use identity::{ClusterCa, Identity, IdentityError, Role};
