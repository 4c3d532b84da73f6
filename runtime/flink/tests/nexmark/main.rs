//! The example `nexmark`: its queries, run in a local cluster, answer what plain loops over the same events do, at every
//! parallelism.

#[expect(dead_code, reason = "the example uses all of it")]
#[path = "../../examples/nexmark/delay.rs"]
mod delay;
#[path = "../../examples/nexmark/model.rs"]
mod model;
#[path = "../../examples/nexmark/queries/mod.rs"]
mod queries;
#[expect(dead_code, reason = "the example uses all of it")]
#[path = "../../examples/nexmark/source.rs"]
mod source;

#[cfg(test)]
mod clock;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod late;
#[cfg(test)]
mod reference;
