//! What programs make of windows: functions, and what these are given.

use std::{fmt, marker::PhantomData, ops::Deref, rc::Rc, sync::Arc};

use flink_record::{Key, Timestamp};
use flink_state::{HeapKeyedStateBackend, KeyGroups, KeyedStateBackend};

use super::Window;
use crate::{
    boundary::Counter,
    error::TaskError,
    functions::{FunctionError, FunctionResult, KeyedRuntimeContext, RuntimeContext},
    operators::Collector,
    program::OperatorContext,
    time::ProcessingTimeService,
};

/// Makes of a window's contents as many records as it likes, also for side outputs, with state. One instance per subtask, for
/// all of its keys and windows.
///
/// The contents are all records of the window or, after `reduce` or `aggregate`, the one value that these have made.
pub trait ProcessWindowFunction<In, K, W: Window> {
    /// What it emits. It has the timestamp of the window's last millisecond.
    type Out;

    /// Called each time a key's window fires.
    ///
    /// # Errors
    /// Any; it fails the job.
    fn process(
        &mut self,
        key: &K,
        context: &WindowContext<'_, W>,
        elements: &[In],
        out: &mut Collector<'_, Self::Out>,
    ) -> FunctionResult;

    /// Called when a key's window goes away: clears what the function has in
    /// [`window_state`](WindowRuntimeContext::window_state).
    ///
    /// # Errors
    /// Any; it fails the job.
    fn clear(&mut self, key: &K, context: &WindowContext<'_, W>) -> FunctionResult {
        let (_, _) = (key, context);
        Ok(())
    }
}

/// What a function is given with a window.
#[derive(Debug)]
pub struct WindowContext<'a, W> {
    window: &'a W,
    watermark: Timestamp,
    clock: &'a ProcessingTimeService,
}

impl<'a, W> WindowContext<'a, W> {
    pub(crate) fn new(window: &'a W, watermark: Timestamp, clock: &'a ProcessingTimeService) -> Self {
        Self {
            window,
            watermark,
            clock,
        }
    }

    /// The window.
    pub fn window(&self) -> &'a W {
        self.window
    }

    /// The operator's event time: `Timestamp::MIN` before the first watermark.
    pub fn current_watermark(&self) -> Timestamp {
        self.watermark
    }

    /// The clock, milliseconds since 1970.
    pub fn current_processing_time(&self) -> Timestamp {
        self.clock.now()
    }
}

/// What a [`ProcessWindowFunction`] is told when it is made: where its state is. As a [`KeyedRuntimeContext`], it gives states
/// of keys, which all windows of a key share.
pub struct WindowRuntimeContext<'a, K, W> {
    keyed: KeyedRuntimeContext<'a, K>,
    runtime: &'a RuntimeContext,
    windowed: Option<&'a HeapKeyedStateBackend<K, W>>,
}

impl<'a, K, W> WindowRuntimeContext<'a, K, W> {
    /// States that all windows of a key share. The same as those of the context itself.
    pub fn global_state(&self) -> &KeyedRuntimeContext<'a, K> {
        &self.keyed
    }
}

impl<'a, K: Key, W: Window> WindowRuntimeContext<'a, K, W> {
    /// States that each window of a key has for itself. They are the function's to clear, in
    /// [`ProcessWindowFunction::clear`].
    ///
    /// # Errors
    /// When windows merge: then they have none.
    pub fn window_state(&self) -> Result<KeyedRuntimeContext<'a, K, W>, FunctionError> {
        let windowed = self
            .windowed
            .ok_or("windows that merge, as sessions do, have no state of their own")?;
        Ok(KeyedRuntimeContext::new(self.runtime, windowed))
    }
}

impl<'a, K, W> Deref for WindowRuntimeContext<'a, K, W> {
    type Target = KeyedRuntimeContext<'a, K>;

    fn deref(&self) -> &Self::Target {
        &self.keyed
    }
}

impl<K, W> fmt::Debug for WindowRuntimeContext<'_, K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowRuntimeContext").finish_non_exhaustive()
    }
}

/// The states of a window operator's subtask, shared by the operator and its function.
pub struct WindowBackend<K, W> {
    keyed: HeapKeyedStateBackend<K>,
    windowed: HeapKeyedStateBackend<K, W>,
    runtime: Option<RuntimeContext>,
    clock: ProcessingTimeService,
    late_records: Arc<Counter>,
}

impl<K: Key, W: Window> WindowBackend<K, W> {
    /// Without any state yet.
    pub fn open(context: &OperatorContext<'_>) -> Rc<Self> {
        let runtime = RuntimeContext::new(context);
        let mut backend = Self::new(runtime.operator_name(), runtime.key_groups(), runtime.clock());
        backend.runtime = Some(runtime);
        backend.late_records = context.late_records();
        Rc::new(backend)
    }

    pub(crate) fn new(operator: &str, groups: KeyGroups, clock: &ProcessingTimeService) -> Self {
        let state_clock = clock.clone();
        let now = Rc::new(move || state_clock.now());
        let keyed = HeapKeyedStateBackend::new(operator, groups, now);
        Self {
            windowed: keyed.with_namespaces(),
            keyed,
            runtime: None,
            clock: clock.clone(),
            late_records: Arc::default(),
        }
    }

    /// Counts the records that are dropped because they are late.
    pub(super) fn late_records(&self) -> Arc<Counter> {
        Arc::clone(&self.late_records)
    }

    pub(super) fn keyed(&self) -> &HeapKeyedStateBackend<K> {
        &self.keyed
    }

    pub(super) fn windowed(&self) -> &HeapKeyedStateBackend<K, W> {
        &self.windowed
    }

    pub(super) fn groups(&self) -> &KeyGroups {
        self.keyed.context().groups()
    }

    pub(super) fn clock(&self) -> &ProcessingTimeService {
        &self.clock
    }

    /// Makes a function with its states. `merging` windows have none of their own.
    ///
    /// # Errors
    /// What `make` returns.
    pub fn make<F>(
        self: &Rc<Self>,
        merging: bool,
        make: impl FnOnce(&WindowRuntimeContext<'_, K, W>) -> Result<F, FunctionError>,
    ) -> Result<FunctionOfWindow<F, K, W>, TaskError> {
        let runtime = self.runtime.as_ref();
        let runtime = runtime.ok_or_else(|| TaskError::runtime("there is no task to make a function for"))?;
        let context = WindowRuntimeContext {
            keyed: KeyedRuntimeContext::new(runtime, &self.keyed),
            runtime,
            windowed: (!merging).then_some(&self.windowed),
        };
        make(&context)
            .map(|function| FunctionOfWindow::new(function, self))
            .map_err(TaskError::operator)
    }
}

impl<K, W> fmt::Debug for WindowBackend<K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowBackend").finish_non_exhaustive()
    }
}

/// Emits what was made of a window's records.
pub trait EmitValue<K, W: Window, V> {
    /// What it emits.
    type Out;
    /// Whether it is to be told when windows go away.
    const CLEARS: bool = false;

    /// Called each time a key's window fires.
    ///
    /// # Errors
    /// Any; it fails the job.
    fn emit(
        &mut self,
        key: &K,
        context: &WindowContext<'_, W>,
        value: V,
        out: &mut Collector<'_, Self::Out>,
    ) -> FunctionResult;

    /// Called when a key's window goes away.
    ///
    /// # Errors
    /// Any; it fails the job.
    fn clear(&mut self, key: &K, context: &WindowContext<'_, W>) -> FunctionResult {
        let (_, _) = (key, context);
        Ok(())
    }
}

/// Emits what it makes of all records of a window.
pub trait EmitAll<K, W: Window, T> {
    /// What it emits.
    type Out;

    /// Called each time a key's window fires.
    ///
    /// # Errors
    /// Any; it fails the job.
    fn emit_all(
        &mut self,
        key: &K,
        context: &WindowContext<'_, W>,
        elements: &[T],
        out: &mut Collector<'_, Self::Out>,
    ) -> FunctionResult;

    /// Called when a key's window goes away.
    ///
    /// # Errors
    /// Any; it fails the job.
    fn clear(&mut self, key: &K, context: &WindowContext<'_, W>) -> FunctionResult {
        let (_, _) = (key, context);
        Ok(())
    }
}

/// Emits the value as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainValue;

impl<K, W: Window, V> EmitValue<K, W, V> for PlainValue {
    type Out = V;

    #[inline]
    fn emit(&mut self, _: &K, _: &WindowContext<'_, W>, value: V, out: &mut Collector<'_, V>) -> FunctionResult {
        out.collect(value);
        Ok(())
    }
}

/// Emits the value with its key.
#[derive(Debug, Clone, Copy, Default)]
pub struct WithKey;

impl<K: Clone, W: Window, V> EmitValue<K, W, V> for WithKey {
    type Out = (K, V);

    #[inline]
    fn emit(&mut self, key: &K, _: &WindowContext<'_, W>, value: V, out: &mut Collector<'_, (K, V)>) -> FunctionResult {
        out.collect((key.clone(), value));
        Ok(())
    }
}

/// A [`ProcessWindowFunction`], with the state that it uses.
pub struct FunctionOfWindow<F, K, W> {
    function: F,
    backend: Rc<WindowBackend<K, W>>,
}

impl<F, K: Key, W: Window> FunctionOfWindow<F, K, W> {
    pub(crate) fn new(function: F, backend: &Rc<WindowBackend<K, W>>) -> Self {
        let backend = Rc::clone(backend);
        Self { function, backend }
    }

    #[inline]
    fn set_current(&self, key: &K, window: &W) -> FunctionResult {
        self.backend.keyed.set_current_key(key)?;
        self.backend.windowed.set_current_namespace(window);
        Ok(())
    }
}

impl<F, K: Key, W: Window, V> EmitValue<K, W, V> for FunctionOfWindow<F, K, W>
where
    F: ProcessWindowFunction<V, K, W>,
{
    type Out = F::Out;
    const CLEARS: bool = true;

    #[inline]
    fn emit(
        &mut self,
        key: &K,
        context: &WindowContext<'_, W>,
        value: V,
        out: &mut Collector<'_, F::Out>,
    ) -> FunctionResult {
        self.emit_all(key, context, std::slice::from_ref(&value), out)
    }

    fn clear(&mut self, key: &K, context: &WindowContext<'_, W>) -> FunctionResult {
        EmitAll::<K, W, V>::clear(self, key, context)
    }
}

impl<F, K: Key, W: Window, T> EmitAll<K, W, T> for FunctionOfWindow<F, K, W>
where
    F: ProcessWindowFunction<T, K, W>,
{
    type Out = F::Out;

    fn emit_all(
        &mut self,
        key: &K,
        context: &WindowContext<'_, W>,
        elements: &[T],
        out: &mut Collector<'_, F::Out>,
    ) -> FunctionResult {
        self.set_current(key, context.window())?;
        self.function.process(key, context, elements, out)
    }

    fn clear(&mut self, key: &K, context: &WindowContext<'_, W>) -> FunctionResult {
        self.set_current(key, context.window())?;
        self.function.clear(key, context)
    }
}

/// A closure that is given a key, a window, what this contains, and where to emit to.
#[derive(Debug)]
pub struct ClosureOfWindow<F, O> {
    closure: F,
    emits: PhantomData<fn() -> O>,
}

impl<F, O> ClosureOfWindow<F, O> {
    /// Of this closure.
    pub fn new(closure: F) -> Self {
        let emits = PhantomData;
        Self { closure, emits }
    }
}

impl<F: Clone, O> Clone for ClosureOfWindow<F, O> {
    fn clone(&self) -> Self {
        Self::new(self.closure.clone())
    }
}

impl<K, W: Window, V, O, F> EmitValue<K, W, V> for ClosureOfWindow<F, O>
where
    F: FnMut(&K, &W, V, &mut Collector<'_, O>) -> FunctionResult,
{
    type Out = O;

    #[inline]
    fn emit(
        &mut self,
        key: &K,
        context: &WindowContext<'_, W>,
        value: V,
        out: &mut Collector<'_, O>,
    ) -> FunctionResult {
        (self.closure)(key, context.window(), value, out)
    }
}

impl<K, W: Window, T, O, F> EmitAll<K, W, T> for ClosureOfWindow<F, O>
where
    F: FnMut(&K, &W, &[T], &mut Collector<'_, O>) -> FunctionResult,
{
    type Out = O;

    #[inline]
    fn emit_all(
        &mut self,
        key: &K,
        context: &WindowContext<'_, W>,
        elements: &[T],
        out: &mut Collector<'_, O>,
    ) -> FunctionResult {
        (self.closure)(key, context.window(), elements, out)
    }
}
