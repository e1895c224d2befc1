//! Files that people pass for heap dumps and that are something else, by name.

/// What `bytes` are, when they are a known thing that is no heap dump: its name with an article, and
/// what to pass instead.
pub fn refusal(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let text = super::skip_preamble(bytes);
    let starts = TABLE.iter().find(|(start, ..)| text.starts_with(start)).map(|&(_, name, help)| (name, help));
    starts.or_else(|| cpu_profile(bytes).then_some(("a CPU profile of gperftools", HEAP_PROFILER)))
}

const HEAP_PROFILER: &str = "set HEAPPROFILE (gperftools) or dump with jemalloc's prof.dump to get a heap profile";
const OTHER_ENDPOINT: &str = "fetch the heap profile of the server instead (/pprof/heap, /debug/pprof/heap)";
const JAVA: &str = "the objects of a Java heap have no native stacks: use a Java heap analyzer";
const STATISTICS: &str = "this is allocator statistics: pass it in a capture directory beside the dumps";

/// (first bytes, name, advice).
const TABLE: [(&[u8], &str, &str); 17] = [
    (b"--- contention", "a contention profile", OTHER_ENDPOINT),
    (b"--- mutex", "a mutex (contention) profile", OTHER_ENDPOINT),
    (b"--- thread", "a thread profile (stacks of running threads)", OTHER_ENDPOINT),
    (b"--- heapz", "a Java heap profile", JAVA),
    (b"--- heap ", "a Java heap profile", JAVA),
    (b"goroutine profile:", "a goroutine profile of Go", OTHER_ENDPOINT),
    (b"threadcreate profile:", "a threadcreate profile of Go", OTHER_ENDPOINT),
    (b"mutex profile:", "a mutex profile of Go", OTHER_ENDPOINT),
    (b"block profile:", "a block profile of Go", OTHER_ENDPOINT),
    (b"___ Begin jemalloc statistics ___", "allocator statistics of jemalloc", STATISTICS),
    (b"{\"jemalloc\":", "allocator statistics of jemalloc", STATISTICS),
    (b"\x7fELF", "an ELF binary", "pass a heap dump, and the binary with --binary"),
    (b"desc: ", "a massif profile of valgrind", HEAP_PROFILER),
    (b"PERFILE2", "a CPU profile of perf", HEAP_PROFILER),
    (b"JAVA PROFILE 1.0", "a Java heap dump (hprof)", JAVA),
    (b"{\"dhatFileVersion\"", "a DHAT profile", HEAP_PROFILER),
    (b"<malloc version=", "malloc_info of glibc", STATISTICS),
];

/// gperftools' binary CPU profile: machine words 0, 3, 0, period in microseconds, 0.
fn cpu_profile(bytes: &[u8]) -> bool {
    let word = |i: usize| bytes.get(8 * i..8 * i + 8).and_then(|w| Some(u64::from_le_bytes(w.try_into().ok()?)));
    matches!([word(0), word(1), word(2), word(4)], [Some(0), Some(3), Some(0), Some(0)])
}
