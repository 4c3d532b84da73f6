//! `flinkctl job plan`: the job graph, without starting anything.

use crate::{
    cli::{OutputFormat, PlanArgs},
    commands::Context,
    error::UserError,
    exit_code::ExitCode,
    program::{self, Declared, Program, ProgramError},
    views::PlanView,
};

pub(super) async fn plan(context: &Context, args: PlanArgs) -> Result<ExitCode, UserError> {
    let parallelism = match args.parallelism {
        Some(parallelism) => parallelism,
        None => match context.inventory(&[]) {
            Ok(inventory) => inventory.cluster.total_slots(),
            // Without an inventory the graph is still worth a look.
            Err(error) if error.code() == "config.not-found" => 1,
            Err(error) => return Err(error),
        },
    };
    let program = Program::open(&args.program.job).await?;
    program.check_machine()?;
    let plan = match program::declare(&program.path, &args.program.args, parallelism).await {
        Ok(Declared::Job(plan)) => plan,
        Ok(Declared::Application(application)) => {
            let (path, jobs) = (program.path, application.jobs);
            return Err(ProgramError::NoPlan { path, jobs }.into());
        }
        Err(error) => return error.into_exit(),
    };
    let view = PlanView::of(&plan.graph);
    let wide = context.output.format() == OutputFormat::Wide;
    context.output.one(&view, || view.human(wide))?;
    Ok(ExitCode::Ok)
}
