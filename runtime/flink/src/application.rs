//! Programs with several jobs, which a driver submits in its own order.

pub(crate) mod calls;
mod context;
mod error;
mod job_client;
mod jobs;

use std::process::ExitCode;

use clap::Parser;

pub use context::ApplicationContext;
pub use error::{JobError, Refusal};
pub use job_client::{JobClient, JobExecutionResult};
pub(crate) use jobs::Jobs;

use crate::{
    Build, Result,
    run::{self, NoArguments},
};
use jobs::NamedJob;

/// A driver with its arguments.
pub(crate) type BoundDriver = Box<dyn FnOnce(&mut ApplicationContext) -> Result<()>>;

/// A function that submits an application's jobs: `Fn(&mut ApplicationContext) -> Result<()>`, or `Fn(&mut
/// ApplicationContext, Args) -> Result<()>` with the program's own type of arguments, which implements
/// [`clap::Parser`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not drive an application",
    label = "not a driver function",
    note = "write `fn driver(app: &mut ApplicationContext, args: Args) -> flink::Result<()>`, where `Args` derives `clap::Parser`; or leave `args` out"
)]
pub trait Driver<Marker> {
    /// The program's arguments.
    #[doc(hidden)]
    type Args: Parser + 'static;

    /// Submits jobs.
    #[doc(hidden)]
    fn drive(&self, app: &mut ApplicationContext, args: Self::Args) -> Result<()>;
}

impl<A: Parser + 'static, F: Fn(&mut ApplicationContext, A) -> Result<()>> Driver<(A,)> for F {
    type Args = A;

    fn drive(&self, app: &mut ApplicationContext, args: A) -> Result<()> {
        self(app, args)
    }
}

impl<F: Fn(&mut ApplicationContext) -> Result<()>> Driver<()> for F {
    type Args = NoArguments;

    fn drive(&self, app: &mut ApplicationContext, _: NoArguments) -> Result<()> {
        self(app)
    }
}

/// A program with several jobs and a driver that submits them: what [`run`](crate::run) is for a program with one job.
///
/// Each job has a name and a `build` function, to the same rules as for [`run`](crate::run); its arguments need serde
/// only, since the driver makes them. The driver runs once, in the process that the user starts (`cargo run`, or the
/// program that `flinkctl job run` starts beside itself), never on a worker: it may read files, look at the clock, and
/// change things. It is blocking code on the main thread.
///
/// The application ends when the driver has returned and all jobs have ended. When the driver returns an error or
/// panics, what still runs is cancelled. Exit codes of an application that runs in this process are those of
/// [`run`](crate::run): 5 when the driver returns an error or panics, or a job failed that it did not wait for; 6 when
/// the error is that a job was cancelled ([`JobError::Canceled`], also among the causes of another error).
///
/// ```
/// use std::process::ExitCode;
///
/// use flink::{Application, ApplicationContext, JobStatus, Result, StreamExecutionEnvironment};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Range {
///     first: u64,
///     last: u64,
/// }
///
/// fn squares(env: &mut StreamExecutionEnvironment, range: Range) -> Result<()> {
///     env.from_sequence(range.first..=range.last).map(|number| number * number).print();
///     Ok(())
/// }
///
/// fn greeting(env: &mut StreamExecutionEnvironment) -> Result<()> {
///     env.from_collection(["hello".to_owned()]).print();
///     Ok(())
/// }
///
/// fn driver(app: &mut ApplicationContext) -> Result<()> {
///     app.execute("greeting", ())?;
///     let low = app.execute_async("squares", Range { first: 1, last: 4 })?;
///     let high = app.execute_async("squares", Range { first: 5, last: 9 })?;
///     let result = low.wait()?;
///     println!("{} took {:?}", result.job_name, result.duration);
///     high.wait()?;
///     assert_eq!(high.status(), JobStatus::Finished);
///     Ok(())
/// }
///
/// fn main() -> ExitCode {
///     Application::new(driver).job("greeting", greeting).job("squares", squares).run()
/// }
/// ```
pub struct Application {
    /// Parses the command line; the exit code to end with when it is wrong.
    parse: Box<dyn FnOnce() -> std::result::Result<BoundDriver, ExitCode>>,
    jobs: Jobs,
}

impl Application {
    /// An application with this driver, and no jobs yet.
    #[must_use]
    pub fn new<Marker, D: Driver<Marker> + 'static>(driver: D) -> Self {
        let parse = || {
            let args = run::parse::<D::Args>()?;
            let bound: BoundDriver = Box::new(move |app| driver.drive(app, args));
            Ok(bound)
        };
        Self {
            parse: Box::new(parse),
            jobs: Jobs::default(),
        }
    }

    /// Adds a job. Its name is what the driver executes it by, and the job's own name unless `build` sets another.
    #[must_use]
    pub fn job<Marker, B>(mut self, name: impl Into<String>, build: B) -> Self
    where
        B: Build<Marker> + 'static,
        B::Args: 'static,
    {
        self.jobs.add(name.into(), NamedJob::new(build));
        self
    }

    /// Runs the application: the whole `main` of its program. What it does depends on the role of the process, as for
    /// [`run`](crate::run).
    pub fn run(self) -> ExitCode {
        run::application(self.jobs, self.parse)
    }
}
