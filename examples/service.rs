//! A small service that records itself: two statements in `main`, and it writes complete snapshots.
//!
//! ```sh
//! _RJEM_MALLOC_CONF=prof:true,lg_prof_sample:17 cargo run --release --no-default-features --features in-process --example service -- service.capture 20
//! heaptriage report service.capture
//! ```
//!
//! It answers made-up requests and remembers each of them in a cache that nobody empties: the report says so.

use heaptriage::capture::in_process::{Jemalloc, Recorder};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Work done so far; the recorder reads it at each snapshot.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// SIGUSR2 on Linux.
const SIGUSR2: i32 = 12;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or_else(|| "service.capture".to_owned());
    let seconds: u64 = arguments.next().map_or(Ok(20), |text| text.parse())?;

    // The two statements.
    let recorder = Recorder::new(path).every(Duration::from_secs(2)).on_signal(SIGUSR2).counter("requests", || REQUESTS.load(Relaxed));
    let recording = recorder.start()?;

    let mut cache = Cache::default();
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        cache.answer(REQUESTS.fetch_add(1, Relaxed));
        std::thread::sleep(Duration::from_micros(200));
    }
    recording.snapshot()?;
    Ok(())
}

/// Answers by request id. The bug: an id never comes twice, and nothing is ever removed.
#[derive(Default)]
struct Cache {
    answers: HashMap<u64, Vec<u8>>,
}

impl Cache {
    fn answer(&mut self, id: u64) -> &[u8] {
        self.answers.entry(id).or_insert_with(|| render(id))
    }
}

/// The answer to a request: 4 KiB.
fn render(id: u64) -> Vec<u8> {
    id.to_le_bytes().repeat(512)
}
