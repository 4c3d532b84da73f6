//! What goes with a job from the client to its workers, beside the graph: all that `build` depends on.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Error, Result};

/// Opaque to everyone but the program itself.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Shipped {
    /// The job's name, until `build` sets one: a worker's program file is named otherwise.
    pub(super) job_name: String,
    /// The default parallelism.
    pub(super) parallelism: u32,
    args: Vec<u8>,
}

impl Shipped {
    pub(super) fn new(job_name: String, parallelism: u32, args: &impl Serialize) -> Result<Self> {
        let args = postcard::to_stdvec(args).map_err(|error| not_portable(&error))?;
        Ok(Self {
            job_name,
            parallelism,
            args,
        })
    }

    pub(super) fn args<A: DeserializeOwned>(&self) -> Result<A> {
        postcard::from_bytes(&self.args).map_err(|error| not_portable(&error))
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        Ok(postcard::to_stdvec(self)?)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(postcard::from_bytes(bytes)?)
    }
}

fn not_portable(error: &postcard::Error) -> Error {
    Error::msg(format!(
        "the program's arguments cannot be sent to workers: {error} (serde's `flatten`, `untagged` and \
         `skip_serializing_if` do not work here)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_survive_the_journey() {
        let shipped = Shipped::new("job".to_owned(), 3, &(7_u8, Some("x"))).unwrap();
        let arrived = Shipped::decode(&shipped.encode().unwrap()).unwrap();
        assert_eq!(arrived, shipped);
        assert_eq!(
            arrived.args::<(u8, Option<String>)>().unwrap(),
            (7, Some("x".to_owned()))
        );
    }

    #[test]
    fn arguments_that_do_not_are_explained() {
        #[derive(Serialize, Deserialize)]
        struct Inner {
            x: u8,
        }
        #[derive(Serialize, Deserialize)]
        struct Flat {
            #[serde(flatten)]
            inner: Inner,
        }
        let error = Shipped::new("job".to_owned(), 1, &Flat { inner: Inner { x: 1 } }).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the program's arguments cannot be sent to workers: ")
        );
    }
}
