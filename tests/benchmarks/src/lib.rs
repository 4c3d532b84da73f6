//! What the benchmarks of this package share: measuring, counting, the events.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use nexmark::{EventGenerator, config::NexmarkConfig, event::Event};
use rustix::time::{ClockId, clock_gettime};

/// The allocator that job programs have by default.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// When the first event happens: as in the example `nexmark`.
const BASE_TIME: u64 = 1_436_918_400_000;

/// Events per second of event time: as in the example `nexmark`.
const RATE: usize = 10_000_000;

/// The events of one of `step` generators. All generators share one timeline, as in the example `nexmark`.
pub fn events(total: u64, first: u64, step: u64) -> impl Iterator<Item = Event> + Clone + Send + 'static {
    let config = NexmarkConfig {
        base_time: BASE_TIME,
        first_rate: RATE,
        next_rate: RATE,
        num_event_generators: 1,
        ..NexmarkConfig::default()
    };
    let count = total.saturating_sub(first).div_ceil(step);
    let generator = EventGenerator::new(config).with_offset(first).with_step(step);
    generator.take(count as usize)
}

/// Counts in one thread; what clones of it have counted is added up when they are dropped.
pub struct Tally {
    count: u64,
    total: Arc<AtomicU64>,
}

impl Tally {
    /// Begins at zero.
    pub fn new(total: &Arc<AtomicU64>) -> Self {
        let total = Arc::clone(total);
        Self { count: 0, total }
    }

    /// Counts one.
    pub fn add_one(&mut self) {
        self.count += 1;
    }
}

impl Clone for Tally {
    fn clone(&self) -> Self {
        Self::new(&self.total)
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.total.fetch_add(self.count, Ordering::Relaxed);
    }
}

/// Runs what was prepared and prints a line of JSON: seconds, seconds of CPU time in all threads, and the number of answers.
pub fn measure(answers: &Arc<AtomicU64>, run: impl FnOnce()) -> ExitCode {
    let (started, cpu_before) = (Instant::now(), cpu_seconds());
    run();
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu_before);
    let answers = answers.load(Ordering::Relaxed);
    println!(r#"{{"seconds": {seconds:.6}, "cpuSeconds": {cpu:.6}, "answers": {answers}}}"#);
    ExitCode::SUCCESS
}

/// Says how a benchmark is to be called.
pub fn usage(text: &str) -> ExitCode {
    eprintln!("usage: {text}");
    ExitCode::from(2)
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
