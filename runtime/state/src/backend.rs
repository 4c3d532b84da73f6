//! Backends: what keeps an operator's keyed states.

use std::{cell::RefCell, fmt, rc::Rc};

use flink_record::{Key, Record};

use crate::{
    context::{KeyContext, Namespace},
    descriptor::{
        AggregatingStateDescriptor, Common, ListStateDescriptor, MapStateDescriptor, ReducingStateDescriptor,
        ValueStateDescriptor,
    },
    error::{KeyGroupError, StateError, StateKind, StateType},
    function::AggregateFunction,
    key_groups::KeyGroups,
    keyed::{
        AggregatingState, HeapAggregating, HeapList, HeapMap, HeapReducing, List, ListState, Map, MapState,
        ReducingState, Single, Stored, ValueState,
    },
    registry::Registry,
    table::StateTable,
    ttl::{Expiry, Forever, ProcessingClock, Slot, StateTtlConfig, Ttl},
};

/// A table that an operator or a state's handles share.
pub type SharedTable<K, N, V> = Rc<RefCell<StateTable<K, N, V>>>;

/// The keyed states of an operator's subtask: hands out states, and says which key they are of.
///
/// Whoever asks twice for the same name gets the same state. What is asked for then has to be the same too: kind, types,
/// namespaces and time-to-live. Functions of reducing and aggregating states are not compared; each handle applies its own.
pub trait KeyedStateBackend<K: Key, N: Namespace = ()> {
    /// Makes this the current key of all states.
    ///
    /// # Errors
    /// When its key group is another subtask's. There is no current key then.
    fn set_current_key(&self, key: &K) -> Result<(), KeyGroupError>;

    /// Leaves the current key: until the next one is set, using a state panics.
    fn clear_current_key(&self);

    /// Makes this the current namespace. Backends with namespaces have none at first; without (`N = ()`), there is no need.
    fn set_current_namespace(&self, namespace: &N);

    /// A value per key.
    ///
    /// # Errors
    /// When the name is another state's.
    fn value_state<T: Record>(&self, descriptor: &ValueStateDescriptor<T>) -> Result<ValueState<T>, StateError>;

    /// A list per key.
    ///
    /// # Errors
    /// When the name is another state's.
    fn list_state<T: Record>(&self, descriptor: &ListStateDescriptor<T>) -> Result<ListState<T>, StateError>;

    /// A map per key.
    ///
    /// # Errors
    /// When the name is another state's.
    fn map_state<UK: Record + Ord, UV: Record>(
        &self,
        descriptor: &MapStateDescriptor<UK, UV>,
    ) -> Result<MapState<UK, UV>, StateError>;

    /// A reduced value per key.
    ///
    /// # Errors
    /// When the name is another state's.
    fn reducing_state<T: Record, F: Fn(T, T) -> T + Clone + 'static>(
        &self,
        descriptor: &ReducingStateDescriptor<T, F>,
    ) -> Result<ReducingState<T>, StateError>;

    /// An aggregate per key.
    ///
    /// # Errors
    /// When the name is another state's.
    fn aggregating_state<In: 'static, A: AggregateFunction<In, Accumulator: Record, Out: 'static>>(
        &self,
        descriptor: &AggregatingStateDescriptor<In, A>,
    ) -> Result<AggregatingState<In, A::Out>, StateError>;
}

/// Keeps states in hash tables on the heap.
pub struct HeapKeyedStateBackend<K, N = ()> {
    context: Rc<KeyContext<K, N>>,
    registry: Rc<Registry>,
    clock: ProcessingClock,
}

impl<K: Key> HeapKeyedStateBackend<K> {
    /// Without any state yet. `operator` is the operator's name, for messages; `clock` tells what has expired.
    pub fn new(operator: &str, groups: KeyGroups, clock: ProcessingClock) -> Self {
        Self {
            context: Rc::new(KeyContext::new(operator, groups)),
            registry: Rc::default(),
            clock,
        }
    }
}

impl<K: Key, N: Namespace> HeapKeyedStateBackend<K, N> {
    /// The same operator's states that have namespaces of another type. A key that is set in either is current in both, and
    /// a name is one state's in both.
    pub fn with_namespaces<M: Namespace>(&self) -> HeapKeyedStateBackend<K, M> {
        HeapKeyedStateBackend {
            context: Rc::new(self.context.with_namespaces()),
            registry: Rc::clone(&self.registry),
            clock: Rc::clone(&self.clock),
        }
    }

    /// What is current.
    pub fn context(&self) -> &Rc<KeyContext<K, N>> {
        &self.context
    }

    /// A table for an operator that names keys and namespaces itself. Its entries do not expire.
    ///
    /// # Errors
    /// When the name is another state's.
    pub fn table<V: Record>(&self, name: &str) -> Result<SharedTable<K, N, V>, StateError> {
        self.shared(name, None, StateKind::Table, std::any::type_name::<V>())
    }

    fn shared<V: 'static>(
        &self,
        name: &str,
        ttl: Option<&StateTtlConfig>,
        kind: StateKind,
        value: &'static str,
    ) -> Result<SharedTable<K, N, V>, StateError> {
        let requested = StateType {
            kind,
            value,
            namespace: std::any::type_name::<N>(),
            ttl: ttl.cloned(),
        };
        self.registry
            .get_or_create(name, requested, || RefCell::new(StateTable::new(self.context.groups())))
    }

    fn stored<T: 'static, V: 'static, E: Expiry>(
        &self,
        common: &Common,
        kind: StateKind,
        expiry: E,
    ) -> Result<Stored<K, N, V, E>, StateError> {
        let table = self.shared(&common.name, common.ttl.as_ref(), kind, std::any::type_name::<T>())?;
        Ok(Stored::new(&common.name, &self.context, table, expiry))
    }

    fn single<T: 'static, V: 'static, E: Expiry>(
        &self,
        common: &Common,
        kind: StateKind,
        expiry: E,
    ) -> Result<Single<K, N, V, E>, StateError> {
        self.stored::<T, Slot<V, E::Time>, E>(common, kind, expiry)
            .map(Single::new)
    }

    fn ttl(&self, config: &StateTtlConfig) -> Ttl {
        Ttl::new(config.clone(), Rc::clone(&self.clock))
    }

    fn list<T: Record, E: Expiry>(&self, common: &Common, expiry: E) -> Result<ListState<T>, StateError> {
        let stored = self.stored::<T, List<T, E::Times>, E>(common, StateKind::List, expiry)?;
        Ok(ListState::new(Rc::new(HeapList(stored))))
    }

    fn map<UK: Record + Ord, UV: Record, E: Expiry>(
        &self,
        common: &Common,
        expiry: E,
    ) -> Result<MapState<UK, UV>, StateError> {
        let stored = self.stored::<(UK, UV), Map<UK, UV, E::Time>, E>(common, StateKind::Map, expiry)?;
        Ok(MapState::new(HeapMap(stored)))
    }

    fn reducing<T: Record, F: Fn(T, T) -> T + Clone + 'static, E: Expiry>(
        &self,
        descriptor: &ReducingStateDescriptor<T, F>,
        expiry: E,
    ) -> Result<ReducingState<T>, StateError> {
        Ok(ReducingState::new(HeapReducing {
            values: self.single::<T, Option<T>, E>(&descriptor.common, StateKind::Reducing, expiry)?,
            function: descriptor.function.clone(),
        }))
    }

    fn aggregating<In: 'static, A: AggregateFunction<In, Accumulator: Record, Out: 'static>, E: Expiry>(
        &self,
        descriptor: &AggregatingStateDescriptor<In, A>,
        expiry: E,
    ) -> Result<AggregatingState<In, A::Out>, StateError> {
        let kind = StateKind::Aggregating;
        Ok(AggregatingState::new(HeapAggregating {
            accumulators: self.single::<A::Accumulator, A::Accumulator, E>(&descriptor.common, kind, expiry)?,
            function: RefCell::new(descriptor.function.clone()),
        }))
    }
}

impl<K: Key, N: Namespace> KeyedStateBackend<K, N> for HeapKeyedStateBackend<K, N> {
    #[inline]
    fn set_current_key(&self, key: &K) -> Result<(), KeyGroupError> {
        self.context.set_key(key)
    }

    fn clear_current_key(&self) {
        self.context.clear_key();
    }

    #[inline]
    fn set_current_namespace(&self, namespace: &N) {
        self.context.set_namespace(namespace);
    }

    fn value_state<T: Record>(&self, descriptor: &ValueStateDescriptor<T>) -> Result<ValueState<T>, StateError> {
        let common = &descriptor.common;
        Ok(match &common.ttl {
            None => ValueState::new(self.single::<T, T, _>(common, StateKind::Value, Forever)?),
            Some(ttl) => ValueState::new(self.single::<T, T, _>(common, StateKind::Value, self.ttl(ttl))?),
        })
    }

    fn list_state<T: Record>(&self, descriptor: &ListStateDescriptor<T>) -> Result<ListState<T>, StateError> {
        let common = &descriptor.common;
        match &common.ttl {
            None => self.list(common, Forever),
            Some(ttl) => self.list(common, self.ttl(ttl)),
        }
    }

    fn map_state<UK: Record + Ord, UV: Record>(
        &self,
        descriptor: &MapStateDescriptor<UK, UV>,
    ) -> Result<MapState<UK, UV>, StateError> {
        let common = &descriptor.common;
        match &common.ttl {
            None => self.map(common, Forever),
            Some(ttl) => self.map(common, self.ttl(ttl)),
        }
    }

    fn reducing_state<T: Record, F: Fn(T, T) -> T + Clone + 'static>(
        &self,
        descriptor: &ReducingStateDescriptor<T, F>,
    ) -> Result<ReducingState<T>, StateError> {
        match &descriptor.common.ttl {
            None => self.reducing(descriptor, Forever),
            Some(ttl) => self.reducing(descriptor, self.ttl(ttl)),
        }
    }

    fn aggregating_state<In: 'static, A: AggregateFunction<In, Accumulator: Record, Out: 'static>>(
        &self,
        descriptor: &AggregatingStateDescriptor<In, A>,
    ) -> Result<AggregatingState<In, A::Out>, StateError> {
        match &descriptor.common.ttl {
            None => self.aggregating(descriptor, Forever),
            Some(ttl) => self.aggregating(descriptor, self.ttl(ttl)),
        }
    }
}

impl<K, N> fmt::Debug for HeapKeyedStateBackend<K, N> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HeapKeyedStateBackend")
            .field("states", &self.registry)
            .finish_non_exhaustive()
    }
}
