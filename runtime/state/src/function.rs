//! Functions that states are made of.

/// How values are aggregated incrementally (Flink's `AggregateFunction`): by windows, and by
/// [`AggregatingState`](crate::AggregatingState).
///
/// The accumulator is what is kept; the result is computed from it when it is asked for.
pub trait AggregateFunction<In>: Clone + 'static {
    /// What is kept. To be kept in state it has to be a [`Record`](flink_record::Record).
    type Accumulator;
    /// The result.
    type Out;

    /// An accumulator of nothing.
    fn create_accumulator(&self) -> Self::Accumulator;

    /// Adds a value.
    fn add(&mut self, accumulator: &mut Self::Accumulator, value: In);

    /// The result of what was added so far.
    fn result(&self, accumulator: &Self::Accumulator) -> Self::Out;

    /// Adds to an accumulator all that was added to another, as when session windows merge.
    fn merge(&mut self, accumulator: &mut Self::Accumulator, other: Self::Accumulator);
}
