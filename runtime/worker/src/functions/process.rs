//! Process functions: the most that a program can do with a record.

use super::{BroadcastContext, FunctionResult, KeyedContext, OnTimerContext, ProcessContext};
use crate::operators::Collector;

/// Makes of each record of a stream as many as it likes, also for side outputs. One instance per subtask.
///
/// A closure `FnMut(record, &mut ProcessContext, &mut Collector) -> FunctionResult` is one.
pub trait ProcessFunction<I> {
    /// What it emits.
    type Out;

    /// Called for each record.
    ///
    /// # Errors
    /// Any; it fails the job.
    fn process_element(
        &mut self,
        value: I,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, Self::Out>,
    ) -> FunctionResult;
}

/// Works on the records of each key, with state and timers. One instance per subtask, for all of its keys.
pub trait KeyedProcessFunction<K, I> {
    /// What it emits.
    type Out;

    /// Called for each record, with its key as the current one.
    ///
    /// # Errors
    /// Any; it fails the job.
    fn process_element(
        &mut self,
        value: I,
        context: &mut KeyedContext<'_, K>,
        out: &mut Collector<'_, Self::Out>,
    ) -> FunctionResult;

    /// Called when a timer fires, with its key as the current one. Records that are emitted get the timer's time as their
    /// timestamp if that is event time, and none otherwise.
    ///
    /// # Errors
    /// Any; it fails the job.
    fn on_timer(
        &mut self,
        timestamp: i64,
        context: &mut OnTimerContext<'_, K>,
        out: &mut Collector<'_, Self::Out>,
    ) -> FunctionResult {
        let (_, _, _) = (timestamp, context, out);
        Ok(())
    }
}

/// Makes records of those of two streams. One instance per subtask.
pub trait CoProcessFunction<A, B> {
    /// What it emits.
    type Out;

    /// Called for each record of the first stream.
    ///
    /// # Errors
    /// Any; it fails the job.
    fn process_element1(
        &mut self,
        value: A,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, Self::Out>,
    ) -> FunctionResult;

    /// Called for each record of the second stream.
    ///
    /// # Errors
    /// Any; it fails the job.
    fn process_element2(
        &mut self,
        value: B,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, Self::Out>,
    ) -> FunctionResult;
}

/// Works on the records that two keyed streams have of each key, with state and timers that both share. One instance per
/// subtask, for all of its keys.
pub trait KeyedCoProcessFunction<K, A, B> {
    /// What it emits.
    type Out;

    /// Called for each record of the first stream, with its key as the current one.
    ///
    /// # Errors
    /// Any; it fails the job.
    fn process_element1(
        &mut self,
        value: A,
        context: &mut KeyedContext<'_, K>,
        out: &mut Collector<'_, Self::Out>,
    ) -> FunctionResult;

    /// Called for each record of the second stream, with its key as the current one.
    ///
    /// # Errors
    /// Any; it fails the job.
    fn process_element2(
        &mut self,
        value: B,
        context: &mut KeyedContext<'_, K>,
        out: &mut Collector<'_, Self::Out>,
    ) -> FunctionResult;

    /// Called when a timer fires; as [`KeyedProcessFunction::on_timer`].
    ///
    /// # Errors
    /// Any; it fails the job.
    fn on_timer(
        &mut self,
        timestamp: i64,
        context: &mut OnTimerContext<'_, K>,
        out: &mut Collector<'_, Self::Out>,
    ) -> FunctionResult {
        let (_, _, _) = (timestamp, context, out);
        Ok(())
    }
}

/// Works on the records of a stream by rules that a second stream, which every subtask is given whole, brings in. One
/// instance per subtask.
pub trait BroadcastProcessFunction<A, B> {
    /// What it emits.
    type Out;

    /// Called for each record of the stream. Broadcast state can be read.
    ///
    /// # Errors
    /// Any; it fails the job.
    fn process_element(
        &mut self,
        value: A,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, Self::Out>,
    ) -> FunctionResult;

    /// Called for each record of the broadcast. Broadcast state can be changed.
    ///
    /// # Errors
    /// Any; it fails the job.
    fn process_broadcast_element(
        &mut self,
        value: B,
        context: &mut BroadcastContext<'_>,
        out: &mut Collector<'_, Self::Out>,
    ) -> FunctionResult;
}

/// Works on the records of each key by rules that a second stream, which every subtask is given whole, brings in. One
/// instance per subtask, for all of its keys.
pub trait KeyedBroadcastProcessFunction<K, A, B> {
    /// What it emits.
    type Out;

    /// Called for each record of the keyed stream, with its key as the current one. Broadcast state can be read.
    ///
    /// # Errors
    /// Any; it fails the job.
    fn process_element(
        &mut self,
        value: A,
        context: &mut KeyedContext<'_, K>,
        out: &mut Collector<'_, Self::Out>,
    ) -> FunctionResult;

    /// Called for each record of the broadcast. There is no current key; broadcast state can be changed.
    ///
    /// # Errors
    /// Any; it fails the job.
    fn process_broadcast_element(
        &mut self,
        value: B,
        context: &mut BroadcastContext<'_>,
        out: &mut Collector<'_, Self::Out>,
    ) -> FunctionResult;

    /// Called when a timer fires; as [`KeyedProcessFunction::on_timer`].
    ///
    /// # Errors
    /// Any; it fails the job.
    fn on_timer(
        &mut self,
        timestamp: i64,
        context: &mut OnTimerContext<'_, K>,
        out: &mut Collector<'_, Self::Out>,
    ) -> FunctionResult {
        let (_, _, _) = (timestamp, context, out);
        Ok(())
    }
}
