//! Coordinators of sources, with readers in the test.

use super::*;
use crate::{generated::NumberRange, source::QueueEnumerator};

fn split(number: u64) -> NumberRange {
    NumberRange {
        from: number,
        to: number,
    }
}

fn sent(context: &mut CoordinatorContext) -> Vec<(u32, EnumeratorMessage)> {
    std::iter::from_fn(|| context.next_event())
        .map(|(subtask, event)| (subtask, decode(&event).unwrap()))
        .collect()
}

fn say(
    coordinator: &mut SourceCoordinator<NumberRange>,
    context: &mut CoordinatorContext,
    subtask: u32,
    message: &ReaderMessage,
) {
    coordinator.handle_event(subtask, encode(message), context).unwrap();
}

#[test]
fn splits_are_handed_out_and_taken_back() {
    let enumerator = QueueEnumerator::new([split(0), split(1)]);
    let mut coordinator = SourceCoordinator::new(Some(Box::new(enumerator)), None);
    let mut context = CoordinatorContext::new(2, Instant::now());
    coordinator.start(&mut context).unwrap();
    assert_eq!(sent(&mut context), []);
    for subtask in [1, 0] {
        say(&mut coordinator, &mut context, subtask, &ReaderMessage::RequestSplit);
    }
    let add = |number| EnumeratorMessage::AddSplit(encode(&split(number)));
    assert_eq!(sent(&mut context), [(1, add(0)), (0, add(1))]);
    say(
        &mut coordinator,
        &mut context,
        1,
        &ReaderMessage::SplitFinished("0-0".to_owned()),
    );
    say(&mut coordinator, &mut context, 1, &ReaderMessage::RequestSplit);
    assert_eq!(sent(&mut context), [(1, EnumeratorMessage::NoMoreSplits)]);
    coordinator.subtask_failed(0, &mut context).unwrap();
    say(&mut coordinator, &mut context, 0, &ReaderMessage::RequestSplit);
    assert_eq!(sent(&mut context), [(0, add(1))]);
}

#[test]
fn sources_of_a_group_wait_for_one_another() {
    let group = SharedGroup::default();
    let aligned = |source| AlignedSource {
        group: group.clone(),
        source,
        max_drift: 100,
    };
    let start = Instant::now();
    let mut sources = [0, 1].map(|source| SourceCoordinator::<NumberRange>::new(None, Some(aligned(source))));
    let mut contexts = [0, 1].map(|_| CoordinatorContext::new(1, start));
    for (source, context) in sources.iter_mut().zip(&mut contexts) {
        source.start(context).unwrap();
    }
    let announced = |sources: &mut [SourceCoordinator<NumberRange>; 2], contexts: &mut [CoordinatorContext; 2]| {
        [0, 1].map(|index| {
            sources[index].wake(start, &mut contexts[index]).unwrap();
            assert!(contexts[index].next_wake().is_some());
            match &sent(&mut contexts[index])[..] {
                [] => None,
                [(0, EnumeratorMessage::MaxWatermark(max))] => Some(*max),
                other => panic!("{other:?}"),
            }
        })
    };
    contexts.iter_mut().for_each(|context| drop(sent(context)));
    say(&mut sources[0], &mut contexts[0], 0, &ReaderMessage::Watermark(500));
    say(&mut sources[1], &mut contexts[1], 0, &ReaderMessage::Watermark(50));
    assert_eq!(announced(&mut sources, &mut contexts), [Some(150), Some(150)]);
    // One that does not answer is told nothing more.
    say(&mut sources[1], &mut contexts[1], 0, &ReaderMessage::Watermark(70));
    assert_eq!(announced(&mut sources, &mut contexts), [None, Some(170)]);
    say(&mut sources[0], &mut contexts[0], 0, &ReaderMessage::Watermark(500));
    assert_eq!(announced(&mut sources, &mut contexts), [Some(170), None]);
    sources[1].subtask_ended(0, &mut contexts[1]).unwrap();
    say(&mut sources[0], &mut contexts[0], 0, &ReaderMessage::Watermark(500));
    assert_eq!(announced(&mut sources, &mut contexts)[0], Some(600));
}
