//! The records of a window that have the most of something: all of them, so that the answer does not depend on which came first.

use std::{cmp::Ordering, marker::PhantomData};

use flink::{AggregateFunction, Record};

/// Keeps the records for which the function finds the most.
#[derive(Debug)]
pub(super) struct Highest<T> {
    value: fn(&T) -> u64,
    records: PhantomData<T>,
}

impl<T> Highest<T> {
    pub(super) fn of(value: fn(&T) -> u64) -> Self {
        let records = PhantomData;
        Self { value, records }
    }
}

impl<T> Clone for Highest<T> {
    fn clone(&self) -> Self {
        Self::of(self.value)
    }
}

impl<T: Record + Clone> AggregateFunction<T> for Highest<T> {
    type Accumulator = Vec<T>;
    type Out = Vec<T>;

    fn create_accumulator(&self) -> Vec<T> {
        Vec::new()
    }

    #[inline]
    fn add(&mut self, highest: &mut Vec<T>, record: T) {
        let compared = highest
            .first()
            .map(|first| (self.value)(&record).cmp(&(self.value)(first)));
        match compared {
            Some(Ordering::Less) => {}
            Some(Ordering::Equal) => highest.push(record),
            Some(Ordering::Greater) | None => {
                highest.clear();
                highest.push(record);
            }
        }
    }

    fn result(&self, highest: &Vec<T>) -> Vec<T> {
        highest.clone()
    }

    fn merge(&mut self, highest: &mut Vec<T>, other: Vec<T>) {
        for record in other {
            self.add(highest, record);
        }
    }
}
