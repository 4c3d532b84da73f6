//! The named jobs of an application.

use std::{
    any::TypeId,
    collections::{BTreeMap, btree_map::Entry},
};

use flink_worker::JobProgram;

use super::JobError;
use crate::{
    Build, Error, Result, StreamExecutionEnvironment,
    run::{NoArguments, Shipped},
};

/// A function that declares a job from its encoded arguments.
type Declare = Box<dyn Fn(&mut StreamExecutionEnvironment, &Shipped) -> Result<()>>;

/// One of them.
pub(crate) struct NamedJob {
    takes: (TypeId, &'static str),
    declare: Declare,
}

/// All of them, by name.
#[derive(Default)]
pub(crate) struct Jobs {
    by_name: BTreeMap<String, NamedJob>,
    /// Names that were given to a second job.
    twice: Vec<String>,
}

impl NamedJob {
    pub(super) fn new<Marker, B>(build: B) -> Self
    where
        B: Build<Marker> + 'static,
        B::Args: 'static,
    {
        let is_without = TypeId::of::<B::Args>() == TypeId::of::<NoArguments>();
        Self {
            takes: if is_without {
                type_of::<()>()
            } else {
                type_of::<B::Args>()
            },
            // No arguments are encoded as no bytes, whatever type stands for them.
            declare: Box::new(move |env, shipped| build.build(env, shipped.args()?)),
        }
    }

    /// The type of its arguments, and what it is called.
    pub(super) const fn takes(&self) -> (TypeId, &'static str) {
        self.takes
    }
}

fn type_of<T: 'static>() -> (TypeId, &'static str) {
    (TypeId::of::<T>(), std::any::type_name::<T>())
}

impl Jobs {
    pub(super) fn add(&mut self, name: String, job: NamedJob) {
        match self.by_name.entry(name) {
            Entry::Vacant(place) => {
                place.insert(job);
            }
            Entry::Occupied(taken) => self.twice.push(taken.key().clone()),
        }
    }

    /// # Errors
    /// When two jobs have one name, or there is none.
    pub(crate) fn check(&self) -> Result<()> {
        match self.twice.first() {
            Some(name) => Err(Error::msg(format!("the application has two jobs `{name}`"))),
            None if self.by_name.is_empty() => Err(Error::msg("the application has no jobs: add them with job(..)")),
            None => Ok(()),
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.by_name.keys().cloned().collect()
    }

    /// # Errors
    /// When there is none of that name.
    pub(super) fn get(&self, name: &str) -> std::result::Result<&NamedJob, JobError> {
        self.by_name.get(name).ok_or_else(|| JobError::Unknown {
            job: name.to_owned(),
            known: self.names().join(", "),
        })
    }

    /// Declares the job that was shipped with these bytes.
    ///
    /// # Errors
    /// When they are of another program, or the job's function returns one.
    pub(crate) fn declare_shipped(&self, bytes: &[u8]) -> Result<JobProgram> {
        let shipped = Shipped::decode(bytes)?;
        let Some(name) = &shipped.job else {
            return Err(Error::msg(
                "the job is that of a program with one job, this one has several",
            ));
        };
        let mut env = StreamExecutionEnvironment::new(shipped.job_name.clone(), shipped.parallelism);
        (self.get(name)?.declare)(&mut env, &shipped)?;
        env.finish()
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Length {
        records: u64,
    }

    fn jobs() -> Jobs {
        let mut jobs = Jobs::default();
        let counted = |env: &mut StreamExecutionEnvironment, args: Length| {
            env.from_sequence(1..=args.records)
                .name(format!("{} records", args.records))
                .discard();
            Ok(())
        };
        let fixed = |env: &mut StreamExecutionEnvironment| {
            env.from_sequence(1..=9).discard();
            Ok(())
        };
        jobs.add("counted".to_owned(), NamedJob::new(counted));
        jobs.add("fixed".to_owned(), NamedJob::new(fixed));
        jobs
    }

    #[test]
    fn a_shipped_job_is_found_by_its_name() {
        let jobs = jobs();
        let shipped = |job, length: &Length| Shipped::of_application(job, 2, length).unwrap().encode().unwrap();
        let program = jobs
            .declare_shipped(&shipped("counted", &Length { records: 7 }))
            .unwrap();
        assert_eq!(program.graph().name, "counted");
        assert!(program.graph().vertices[0].name.contains("7 records"));
        let unknown = jobs
            .declare_shipped(&shipped("missing", &Length { records: 7 }))
            .map(drop)
            .unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "the application has no job `missing`, only counted, fixed: add it with Application::job"
        );
    }

    #[test]
    fn functions_without_arguments_take_none() {
        let jobs = jobs();
        assert_eq!(jobs.get("fixed").unwrap().takes().0, TypeId::of::<()>());
        assert_eq!(jobs.get("counted").unwrap().takes().0, TypeId::of::<Length>());
        let shipped = Shipped::of_application("fixed", 1, &()).unwrap().encode().unwrap();
        assert_eq!(jobs.declare_shipped(&shipped).unwrap().graph().name, "fixed");
    }

    #[test]
    fn names_are_given_once() {
        let mut jobs = jobs();
        assert!(jobs.check().is_ok());
        jobs.add(
            "fixed".to_owned(),
            NamedJob::new(|_: &mut StreamExecutionEnvironment| Ok(())),
        );
        assert_eq!(
            jobs.check().unwrap_err().to_string(),
            "the application has two jobs `fixed`"
        );
        assert!(Jobs::default().check().is_err());
    }
}
