//! Where futures of user code run: one runtime per process, while some operator has use for it.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::runtime::{Builder, Handle, Runtime};

/// Futures wait and do not compute. With two threads, one that does compute does not hold up the timeouts of the others.
const THREADS: usize = 2;

/// How long the end of the last user waits for futures that block their thread; such a thread is left to itself then.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

static SHARED: Mutex<Weak<AsyncRuntime>> = Mutex::new(Weak::new());

/// A share in the runtime. The last one to be dropped ends it, with all that still runs on it.
pub(super) struct AsyncRuntime(Option<Runtime>);

impl AsyncRuntime {
    /// The process's runtime; it is made when there is none.
    pub(super) fn shared() -> io::Result<Arc<Self>> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = shared.upgrade() {
            return Ok(runtime);
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("async-io")
            .enable_all()
            .build()?;
        let runtime = Arc::new(Self(Some(runtime)));
        *shared = Arc::downgrade(&runtime);
        Ok(runtime)
    }

    /// `None` never, but while it is being dropped.
    pub(super) fn handle(&self) -> Option<&Handle> {
        self.0.as_ref().map(Runtime::handle)
    }
}

impl Drop for AsyncRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
        }
    }
}
