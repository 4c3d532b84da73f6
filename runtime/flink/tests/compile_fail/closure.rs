//! A closure that is not `Send` cannot run in another thread.

use std::{cell::RefCell, rc::Rc};

#[derive(Clone)]
struct Counter(Rc<RefCell<u64>>);

fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    let counter = Counter(Rc::default());
    env.from_sequence(1..=10)
        .map(move |number| {
            *counter.0.borrow_mut() += 1;
            number
        })
        .discard();
    Ok(())
}

fn main() {
    flink::run(build);
}
