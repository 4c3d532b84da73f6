//! What makes the operators of windows that are special in some way.

use std::rc::Rc;

use flink_record::Record;
use flink_worker::{
    NodeFactory, TaskError,
    functions::SendFunction,
    operators::KeySelector,
    windows::{
        Accumulate, EmitValue, MergeWindows, SessionWindowOperator, SliceStore, SliceWindowOperator, Slicing,
        WindowAssigner, WindowBackend, WindowContents, WindowSettings,
    },
};

/// The states of the window operator of a stream.
pub(super) type Backend<T, S, A> = Rc<WindowBackend<<S as KeySelector<T>>::Key, <A as WindowAssigner<T>>::Window>>;

/// An operator of windows that are made of slices.
pub(super) fn slices<T, S, A, X, E, B, M>(
    key: S,
    slicing: Slicing<A::Window>,
    settings: WindowSettings,
    aggregate: X,
    make: M,
) -> NodeFactory
where
    T: Record,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    X: Accumulate<T> + Send,
    E: EmitValue<S::Key, A::Window, X::Out, Out: Record> + 'static,
    B: SliceStore<S::Key, X::Accumulator> + 'static,
    M: Fn(&Backend<T, S, A>) -> Result<E, TaskError> + SendFunction + 'static,
{
    NodeFactory::operator::<T, SliceWindowOperator<T, S, X, E, A::Window, B>>(move |context| {
        let backend = WindowBackend::open(context);
        let parts = (key.clone(), aggregate.clone(), make(&backend)?);
        Ok(SliceWindowOperator::new(parts, slicing, &settings, backend))
    })
}

/// An operator of sessions.
pub(super) fn sessions<T, S, A, C>(
    key: S,
    assigner: A,
    merge: MergeWindows<A::Window>,
    settings: WindowSettings,
    make: impl Fn(&Backend<T, S, A>) -> Result<C, TaskError> + Send + 'static,
) -> NodeFactory
where
    T: Record + Clone,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    C: WindowContents<S::Key, A::Window, T, Out: 'static> + 'static,
{
    NodeFactory::operator::<T, SessionWindowOperator<T, S, A, C>>(move |context| {
        let backend = WindowBackend::open(context);
        let contents = make(&backend)?;
        let parts = (key.clone(), assigner.clone(), merge);
        Ok(SessionWindowOperator::new(parts, &settings, backend, contents))
    })
}
