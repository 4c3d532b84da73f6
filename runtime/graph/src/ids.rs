//! Identifiers of jobs and of their parts.
//!
//! Random ones are UUID v7 (they sort by the time they were made); those that must be the same in every process
//! that builds the same graph are derived from it. All print as 32 lower-case hex digits, like Flink's; so they are in
//! formats for people (JSON), in others their bytes.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use uuid::Uuid;

/// An identifier's text was not 32 hex digits.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("`{text}` is not an id: expected 32 hexadecimal digits")]
pub struct ParseIdError {
    text: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The id's bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Uuid::from_bytes(self.0).simple().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = Cow::<str>::deserialize(deserializer)?;
                    text.parse().map_err(D::Error::custom)
                } else {
                    <[u8; 16]>::deserialize(deserializer).map(Self)
                }
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let error = || ParseIdError { text: text.to_owned() };
                if text.len() != 32 {
                    return Err(error());
                }
                Uuid::try_parse(text).map(|uuid| Self(uuid.into_bytes())).map_err(|_| error())
            }
        }
    };
}

macro_rules! random_id {
    ($($name:ident),*) => {$(
        impl $name {
            /// A fresh id, unique without coordination.
            pub fn random() -> Self {
                Self(Uuid::now_v7().into_bytes())
            }
        }
    )*};
}

id! {
    /// One job, from its submission to its end.
    JobId
}
id! {
    /// A vertex of a JobGraph: the id of the operator at the head of its chain.
    VertexId
}
id! {
    /// An operator of a StreamGraph: from its `uid`, else from its place in the graph.
    OperatorId
}
id! {
    /// One life of a TaskManager process (Flink's ResourceID).
    TaskManagerId
}
id! {
    /// The assignment of one slot to one job.
    AllocationId
}
id! {
    /// One cluster: a session or a per-job cluster, from the start of its JobManager to its end.
    ClusterId
}
random_id!(JobId, TaskManagerId, AllocationId, ClusterId);

/// One attempt to run one subtask (Flink's ExecutionAttemptID).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct ExecutionAttemptId {
    /// The job.
    pub job: JobId,
    /// Index of the vertex in [`JobGraph::vertices`](crate::JobGraph::vertices).
    pub vertex: u32,
    /// Subtask index, 0-based.
    pub subtask: u32,
    /// Attempt number, 0-based.
    pub attempt: u32,
}

impl fmt::Display for ExecutionAttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}_{}", self.job, self.vertex, self.subtask, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_prints_as_32_hex_digits_and_parses_back() {
        let id = JobId::from_bytes([0xab; 16]);
        assert_eq!(id.to_string(), "ab".repeat(16));
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn json_has_the_text_and_compact_formats_the_bytes() {
        let id = ClusterId::from_bytes([0xab; 16]);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<ClusterId>(&json).unwrap(), id);
        assert!(serde_json::from_str::<ClusterId>("\"ab\"").is_err());
        let bytes = postcard::to_stdvec(&id).unwrap();
        assert_eq!(bytes, [0xab; 16]);
        assert_eq!(postcard::from_bytes::<ClusterId>(&bytes).unwrap(), id);
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in ["", "xyz", "abababab-abab-abab-abab-abababababab", &"g".repeat(32)] {
            assert!(text.parse::<JobId>().is_err(), "{text}");
        }
    }
}
