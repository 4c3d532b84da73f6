//! How the lists of subtasks become those of other subtasks when an operator is restored.
//!
//! As Flink's `RoundRobinOperatorStateRepartitioner`. Pure: elements may be values, or the bytes of values.

/// Redistributes an operator's lists, one state after another, always in the same order of states.
///
/// Where lists cannot be split without a remainder, some subtasks get one element more. Which ones goes round from state to
/// state, so that many states with one element each do not all end up in the first subtask.
#[derive(Debug, Clone)]
pub struct Redistribution {
    parallelism: usize,
    /// The subtask that gets the first element, and is the first to get one more, of the next state.
    first: usize,
}

impl Redistribution {
    /// To `parallelism` subtasks.
    ///
    /// # Panics
    /// When `parallelism` is 0.
    pub fn new(parallelism: usize) -> Self {
        assert!(parallelism > 0, "state cannot be redistributed to no subtask");
        Self { parallelism, first: 0 }
    }

    /// Splits the union of the subtasks' lists evenly: each element goes to exactly one subtask, in order, and sizes differ
    /// by at most one. If the number of subtasks does not change, each keeps its list, whatever their sizes.
    pub fn split<T>(&mut self, lists: Vec<Vec<T>>) -> Vec<Vec<T>> {
        let parallelism = self.parallelism;
        if lists.len() == parallelism {
            return lists;
        }
        let total: usize = lists.iter().map(Vec::len).sum();
        let (each, remainder) = (total / parallelism, total % parallelism);
        let mut elements = lists.into_iter().flatten();
        let mut result: Vec<Vec<T>> = (0..parallelism).map(|_| Vec::new()).collect();
        for turn in 0..parallelism {
            let share = each + usize::from(turn < remainder);
            result[(self.first + turn) % parallelism].extend(elements.by_ref().take(share));
        }
        self.first = (self.first + remainder) % parallelism;
        result
    }

    /// Gives every subtask the lists of all subtasks, in the order of subtasks.
    pub fn union<T: Clone>(&self, lists: Vec<Vec<T>>) -> Vec<Vec<T>> {
        let union: Vec<T> = lists.into_iter().flatten().collect();
        vec![union; self.parallelism]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn splits_are_even_and_complete(
            states in proptest::collection::vec(
                proptest::collection::vec(proptest::collection::vec(any::<u16>(), 0..20), 7), 1..5),
            parallelism in (1..20usize).prop_filter("a split", |parallelism| *parallelism != 7),
        ) {
            let mut redistribution = Redistribution::new(parallelism);
            let mut loads = vec![0; parallelism];
            for lists in states {
                let mut expected = lists.concat();
                let split = redistribution.split(lists);
                prop_assert_eq!(split.len(), parallelism);
                let sizes = split.iter().map(Vec::len);
                prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
                for (load, list) in loads.iter_mut().zip(&split) {
                    *load += list.len();
                }
                let mut found = split.concat();
                expected.sort_unstable();
                found.sort_unstable();
                prop_assert_eq!(found, expected);
            }
            // Remainders go round: all states together are as even as each.
            prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 1);
        }

        #[test]
        fn a_union_is_everyones(lists in proptest::collection::vec(proptest::collection::vec(any::<u16>(), 0..9), 0..9)) {
            let union = Redistribution::new(3).union(lists.clone());
            prop_assert_eq!(union, vec![lists.concat(); 3]);
        }
    }

    #[test]
    fn splits_are_flinks() {
        let mut redistribution = Redistribution::new(2);
        assert_eq!(
            redistribution.split(vec![vec![1, 2], vec![], vec![3]]),
            [vec![1, 2], vec![3]]
        );
        // The second subtask is the first to get one more now.
        assert_eq!(redistribution.split(vec![vec![1], vec![], vec![]]), [vec![], vec![1]]);
        let uneven = vec![vec![1, 2, 3, 4], vec![]];
        assert_eq!(
            redistribution.split(uneven.clone()),
            uneven,
            "the parallelism is the same"
        );
    }
}
