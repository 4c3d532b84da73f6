//! What is no text is not printed.

fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    env.from_sequence(1..=10).key_by(|number| number % 3).count().print();
    Ok(())
}

fn main() {
    flink::run(build);
}
