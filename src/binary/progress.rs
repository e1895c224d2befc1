//! How far the reading of a binary is, told to whoever waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Who is told how far the reading of a binary is; nobody by default.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<dyn Fn(u64, u64) + Send + Sync>>);

impl Progress {
    /// Calls `told(bytes read, bytes in all)` now and then, from any thread.
    pub fn to(told: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        Progress(Some(Arc::new(told)))
    }

    /// A counter over `total` bytes: adds what was read.
    pub(super) fn counter(&self, total: u64) -> impl Fn(u64) + Sync {
        let done = AtomicU64::new(0);
        move |bytes| {
            if let Some(told) = &self.0 {
                told(done.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes), total);
            }
        }
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(if self.0.is_some() { "Progress(..)" } else { "Progress" })
    }
}
