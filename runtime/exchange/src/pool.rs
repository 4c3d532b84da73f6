//! Buffers on their way back from the transport to the writer that filled them.
//!
//! Without it every buffer of a saturated writer is fresh memory: the allocator of the I/O thread, which frees them, gives
//! pages back to the kernel, and the task's gets new ones, zeroed.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Buffers that one writer keeps at most: 2 MiB.
const KEPT_BUFFERS: usize = 64;

/// Spare buffers of one writer.
#[derive(Debug)]
pub(crate) struct BufferPool {
    capacity: usize,
    spare: Mutex<Vec<Vec<u8>>>,
}

impl BufferPool {
    /// A pool of buffers of `capacity` bytes.
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            spare: Mutex::new(Vec::new()),
        })
    }

    /// An empty buffer.
    pub(crate) fn take(&self) -> Vec<u8> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| Vec::with_capacity(self.capacity))
    }

    /// `buffer` as bytes that come back when the last user drops them.
    pub(crate) fn share(self: &Arc<Self>, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Pooled {
            buffer,
            pool: Arc::clone(self),
        })
    }
}

struct Pooled {
    buffer: Vec<u8>,
    pool: Arc<BufferPool>,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        // One that grew for a huge record must not pin its memory.
        if self.buffer.capacity() == self.pool.capacity {
            let mut spare = self.pool.spare.lock().unwrap_or_else(PoisonError::into_inner);
            if spare.len() < KEPT_BUFFERS {
                self.buffer.clear();
                spare.push(std::mem::take(&mut self.buffer));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_user_is_done() {
        let pool = BufferPool::new(100);
        let mut buffer = pool.take();
        buffer.extend_from_slice(b"data");
        let address = buffer.as_ptr();
        let shared = pool.share(buffer);
        let again = shared.clone();
        drop(shared);
        let other = pool.take();
        assert_ne!(other.as_ptr(), address);
        drop(again);
        let buffer = pool.take();
        assert_eq!((buffer.as_ptr(), buffer.len()), (address, 0));
    }

    #[test]
    fn only_so_many_of_usual_size_are_kept() {
        let pool = BufferPool::new(10);
        drop(pool.share(Vec::with_capacity(1000)));
        let shared: Vec<_> = (0..2 * KEPT_BUFFERS).map(|_| pool.share(pool.take())).collect();
        drop(shared);
        let spare = pool.spare.lock().unwrap();
        assert_eq!(spare.len(), KEPT_BUFFERS);
        assert!(spare.iter().all(|buffer| buffer.capacity() == 10));
    }
}
