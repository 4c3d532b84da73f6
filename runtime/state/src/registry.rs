//! The states that an operator has, by name.

use std::{any::Any, cell::RefCell, collections::BTreeMap, fmt, rc::Rc};

use crate::error::{StateError, StateType};

/// Named states, each of which has one type and one place where it is kept.
#[derive(Default)]
pub(crate) struct Registry {
    states: RefCell<BTreeMap<Box<str>, Registered>>,
}

struct Registered {
    state_type: StateType,
    state: Rc<dyn Any>,
}

impl Registry {
    /// What is kept under this name; made by `create` when the name is new.
    ///
    /// # Errors
    /// When it is of another type.
    pub(crate) fn get_or_create<T: 'static>(
        &self,
        name: &str,
        requested: StateType,
        create: impl FnOnce() -> T,
    ) -> Result<Rc<T>, StateError> {
        let mut states = self.states.borrow_mut();
        let Some(Registered {
            state_type: existing,
            state,
        }) = states.get(name)
        else {
            let state = Rc::new(create());
            let registered = Registered {
                state_type: requested,
                state: Rc::<T>::clone(&state),
            };
            states.insert(name.into(), registered);
            return Ok(state);
        };
        // Types are compared by themselves too: names of types need not be unique.
        match Rc::clone(state).downcast() {
            Ok(state) if *existing == requested => Ok(state),
            _ => Err(StateError::Clash {
                name: name.into(),
                existing: Box::new(existing.clone()),
                requested: Box::new(requested),
            }),
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states = self.states.borrow();
        formatter
            .debug_map()
            .entries(states.iter().map(|(name, registered)| (name, &registered.state_type)))
            .finish()
    }
}
