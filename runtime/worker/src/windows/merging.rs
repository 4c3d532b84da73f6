//! Which windows of a key have merged.
//!
//! A session's contents stay where its first record put them: under its *state window*. When windows merge, the one that
//! covers them takes over the state window of one of them, into which the contents of the others are merged; when a window
//! merely grows, which is the usual case, nothing is moved.

use super::{MergeWindows, Window};

/// The windows of a key, each with its state window. A [`Record`](flink_record::Record), as it is kept in state.
pub(super) type MergingWindows<W> = Vec<(W, W)>;

/// What became of a new window.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Added<W> {
    /// The window that it is now, or is now part of.
    pub(super) window: W,
    /// Under which that one's contents are.
    pub(super) state_window: W,
    /// The windows, with their state windows, that have become `window`. Empty if that is new, or has not changed.
    pub(super) merged: Vec<(W, W)>,
}

/// Adds a window to those of a key.
pub(super) fn add_window<W: Window>(windows: &mut MergingWindows<W>, new: &W, merge: MergeWindows<W>) -> Added<W> {
    let mut window = new.clone();
    let mut merged = Vec::new();
    loop {
        let before = merged.len();
        windows.retain(|(other, state_window)| match merge(&window, other) {
            None => true,
            Some(cover) => {
                merged.push((other.clone(), state_window.clone()));
                window = cover;
                false
            }
        });
        // What was covered may reach windows that the new one alone did not.
        if merged.len() == before {
            break;
        }
    }
    let state_window = merged.first().map_or(&window, |(_, state_window)| state_window).clone();
    windows.push((window.clone(), state_window.clone()));
    if merged.len() == 1 && merged[0].0 == window {
        merged.clear();
    }
    Added {
        window,
        state_window,
        merged,
    }
}

/// The state window of a window, if there is such a window.
pub(super) fn state_window<'a, W: Window>(windows: &'a MergingWindows<W>, window: &W) -> Option<&'a W> {
    windows
        .iter()
        .find(|(other, _)| other == window)
        .map(|(_, state_window)| state_window)
}

/// Forgets a window.
pub(super) fn retire_window<W: Window>(windows: &mut MergingWindows<W>, window: &W) {
    windows.retain(|(other, _)| other != window);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::windows::TimeWindow;

    fn sessions(a: &TimeWindow, b: &TimeWindow) -> Option<TimeWindow> {
        a.intersects(b).then(|| a.cover(b))
    }

    /// Sessions of sorted records.
    fn brute_force(gap: i64, mut timestamps: Vec<i64>) -> Vec<(TimeWindow, usize)> {
        timestamps.sort_unstable();
        let mut sessions: Vec<(TimeWindow, usize)> = Vec::new();
        for timestamp in timestamps {
            match sessions.last_mut() {
                Some((last, count)) if timestamp <= last.end => {
                    last.end = timestamp + gap;
                    *count += 1;
                }
                _ => sessions.push((TimeWindow::new(timestamp, timestamp + gap), 1)),
            }
        }
        sessions
    }

    proptest! {
        #[test]
        fn any_order_of_records_makes_the_same_sessions(
            gap in 1..20i64,
            timestamps in prop::collection::vec(-100..100i64, 0..40),
        ) {
            let mut windows = MergingWindows::new();
            let mut contents = BTreeMap::<TimeWindow, usize>::new();
            for timestamp in &timestamps {
                let added = add_window(&mut windows, &TimeWindow::new(*timestamp, timestamp + gap), sessions);
                for (_, state_window) in added.merged {
                    if state_window != added.state_window {
                        let moved = contents.remove(&state_window).unwrap();
                        *contents.get_mut(&added.state_window).unwrap() += moved;
                    }
                }
                *contents.entry(added.state_window).or_default() += 1;
                prop_assert_eq!(state_window(&windows, &added.window), Some(&added.state_window));
            }
            windows.sort_unstable();
            let found: Vec<_> = windows.iter().map(|(window, state)| (*window, contents[state])).collect();
            prop_assert_eq!(found, brute_force(gap, timestamps));
            prop_assert_eq!(contents.len(), windows.len());
        }
    }

    #[test]
    fn a_window_that_grows_keeps_its_contents_where_they_are() {
        let window = TimeWindow::new;
        let mut windows = MergingWindows::new();
        let add = |windows: &mut _, start, end| add_window(windows, &window(start, end), sessions);
        let first = add(&mut windows, 0, 10);
        assert_eq!(
            (first.window, first.state_window, first.merged),
            (window(0, 10), window(0, 10), vec![])
        );
        let inside = add(&mut windows, 2, 8);
        assert_eq!((inside.window, inside.merged), (window(0, 10), vec![]));
        let grown = add(&mut windows, 5, 15);
        assert_eq!(
            (grown.window, grown.state_window, grown.merged),
            (window(0, 15), window(0, 10), vec![(window(0, 10), window(0, 10))])
        );
        add(&mut windows, 20, 30);
        let joined = add(&mut windows, 14, 20);
        assert_eq!((joined.window, joined.state_window), (window(0, 30), window(0, 10)));
        assert_eq!(joined.merged.len(), 2);
        retire_window(&mut windows, &window(0, 30));
        assert_eq!(windows, []);
    }
}
