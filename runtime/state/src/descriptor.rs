//! Descriptors: the name, the types and the settings of a state that an operator asks for.

use std::marker::PhantomData;

use flink_record::Record;

use crate::{function::AggregateFunction, ttl::StateTtlConfig};

/// What all descriptors have.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) name: Box<str>,
    pub(crate) ttl: Option<StateTtlConfig>,
}

impl Common {
    fn new(name: impl Into<Box<str>>) -> Self {
        Self {
            name: name.into(),
            ttl: None,
        }
    }
}

/// Adds what can be set on every descriptor.
macro_rules! settings {
    ($type:ident<$($parameter:ident),+>) => {
        impl<$($parameter),+> $type<$($parameter),+> {
            /// The state's name, unique in its operator. Checkpoints find it by this name.
            pub fn name(&self) -> &str {
                &self.common.name
            }

            /// Lets entries expire. By default they stay until they are cleared.
            #[must_use]
            pub fn with_ttl(mut self, ttl: StateTtlConfig) -> Self {
                self.common.ttl = Some(ttl);
                self
            }
        }
    };
}

/// Describes a [`ValueState`](crate::ValueState).
#[derive(Debug, Clone)]
pub struct ValueStateDescriptor<T> {
    pub(crate) common: Common,
    types: PhantomData<fn() -> T>,
}

impl<T: Record> ValueStateDescriptor<T> {
    /// A state of this name, unique in its operator.
    pub fn new(name: impl Into<Box<str>>) -> Self {
        Self {
            common: Common::new(name),
            types: PhantomData,
        }
    }
}

settings!(ValueStateDescriptor<T>);

/// Describes a [`ListState`](crate::ListState), of a key or of a subtask.
#[derive(Debug, Clone)]
pub struct ListStateDescriptor<T> {
    pub(crate) common: Common,
    types: PhantomData<fn() -> T>,
}

impl<T: Record> ListStateDescriptor<T> {
    /// A state of this name, unique in its operator.
    pub fn new(name: impl Into<Box<str>>) -> Self {
        Self {
            common: Common::new(name),
            types: PhantomData,
        }
    }
}

settings!(ListStateDescriptor<T>);

/// Describes a [`MapState`](crate::MapState) or a [`BroadcastState`](crate::BroadcastState).
#[derive(Debug, Clone)]
pub struct MapStateDescriptor<UK, UV> {
    pub(crate) common: Common,
    types: PhantomData<fn() -> (UK, UV)>,
}

impl<UK: Record + Ord, UV: Record> MapStateDescriptor<UK, UV> {
    /// A state of this name, unique in its operator.
    pub fn new(name: impl Into<Box<str>>) -> Self {
        Self {
            common: Common::new(name),
            types: PhantomData,
        }
    }
}

settings!(MapStateDescriptor<UK, UV>);

/// Describes a [`ReducingState`](crate::ReducingState).
#[derive(Debug, Clone)]
pub struct ReducingStateDescriptor<T, F> {
    pub(crate) common: Common,
    pub(crate) function: F,
    types: PhantomData<fn() -> T>,
}

impl<T: Record, F: Fn(T, T) -> T + Clone + 'static> ReducingStateDescriptor<T, F> {
    /// A state of this name, unique in its operator. `function` makes one value of what is kept and of the value that is added,
    /// and should be associative.
    pub fn new(name: impl Into<Box<str>>, function: F) -> Self {
        Self {
            common: Common::new(name),
            function,
            types: PhantomData,
        }
    }
}

settings!(ReducingStateDescriptor<T, F>);

/// Describes an [`AggregatingState`](crate::AggregatingState).
#[derive(Debug, Clone)]
pub struct AggregatingStateDescriptor<In, A> {
    pub(crate) common: Common,
    pub(crate) function: A,
    types: PhantomData<fn(In)>,
}

impl<In: 'static, A: AggregateFunction<In, Accumulator: Record>> AggregatingStateDescriptor<In, A> {
    /// A state of this name, unique in its operator.
    pub fn new(name: impl Into<Box<str>>, function: A) -> Self {
        Self {
            common: Common::new(name),
            function,
            types: PhantomData,
        }
    }
}

settings!(AggregatingStateDescriptor<In, A>);
