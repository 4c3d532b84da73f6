//! A type that crosses an edge needs `#[derive(Record)]`.

struct Sale {
    shop: u32,
}

fn build(env: &mut flink::StreamExecutionEnvironment) -> flink::Result<()> {
    env.from_sequence(1..=10).map(|number| Sale { shop: number as u32 }).discard();
    Ok(())
}

fn main() {
    flink::run(build);
}
