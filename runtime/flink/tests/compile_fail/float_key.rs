//! Floats are no keys.

fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    env.from_collection([0.5_f64, 1.5]).key_by(|price| *price).count().discard();
    Ok(())
}

fn main() {
    flink::run(build);
}
