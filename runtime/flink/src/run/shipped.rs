//! What goes with a job from the client to its workers, beside the graph: all that `build` depends on.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Error, Result};

/// Opaque to everyone but the program itself.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shipped {
    /// Which of the program's jobs it is; `None` in a program that has one.
    pub(crate) job: Option<String>,
    /// The job's name, until `build` sets one: a worker's program file is named otherwise.
    pub(crate) job_name: String,
    /// The default parallelism.
    pub(crate) parallelism: u32,
    args: Vec<u8>,
}

impl Shipped {
    /// The job of a program that has one.
    pub(super) fn of_program(job_name: String, parallelism: u32, args: &impl Serialize) -> Result<Self> {
        Self::new(None, job_name, parallelism, args)
    }

    /// This job of an application.
    pub(crate) fn of_application(job: &str, parallelism: u32, args: &impl Serialize) -> Result<Self> {
        Self::new(Some(job.to_owned()), job.to_owned(), parallelism, args)
    }

    fn new(job: Option<String>, job_name: String, parallelism: u32, args: &impl Serialize) -> Result<Self> {
        let args = postcard::to_stdvec(args).map_err(|error| not_portable(&error))?;
        Ok(Self {
            job,
            job_name,
            parallelism,
            args,
        })
    }

    pub(crate) fn args<A: DeserializeOwned>(&self) -> Result<A> {
        postcard::from_bytes(&self.args).map_err(|error| not_portable(&error))
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        Ok(postcard::to_stdvec(self)?)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
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
        let shipped = Shipped::of_application("job", 3, &(7_u8, Some("x"))).unwrap();
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
        let error = Shipped::of_program("job".to_owned(), 1, &Flat { inner: Inner { x: 1 } }).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the program's arguments cannot be sent to workers: ")
        );
    }
}
