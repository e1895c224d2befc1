//! Memory of the profiler and of symbolization themselves: the measurement, not the program.
//!
//! The allocator's own profiling functions stand at the top of *every* stack and say nothing; what counts is who
//! asked for the memory.

use super::{CALL, Detector, Match, Trace};

pub(super) const DETECTOR: Detector = Detector {
    id: "profiler_own_memory",
    summary: "memory of the profiler or of a symbolizer in the process, not of the program",
    shown_by: "the memory is asked for by a symbolizer in the process (`std::backtrace`, the backtrace crate) or by a profiling agent (jemalloc_pprof, pprof, pyroscope).",
    near_misses: "`prof_backtrace_impl` and its kin, which stand at the top of every stack; a program whose own work is reading debug information.",
    fix: "Nothing, where it stays; take dumps from outside and symbolize later, where it matters.",
    examine,
};

fn examine(trace: &Trace<'_>) -> Option<Match> {
    let (step, pool) = trace.heaviest().pool().filter(|(_, pool)| matches!(pool.id, "symbolizer_cache" | "heap_profiler"))?;
    Some(Match {
        weight: CALL,
        evidence: vec![step.shows(format!("`{}` asks for this memory: {}", step.name(), pool.what))],
        remedy: pool.remedy.to_owned(),
        refuted_by: format!("it grows beyond {}", pool.bounded_by),
        keywords: vec!["backtrace symbolization memory", "profiler overhead"],
    })
}

#[cfg(test)]
mod tests {
    use crate::analysis::detect::fixture::check;

    #[test]
    fn symbolizers_and_agents() {
        check(
            "a malloc\nl alloc::vec::Vec<T,A>::push\nd gimli::read::abbrev::Abbreviations::insert\nd addr2line::unit::ResUnits::parse\nl std::backtrace_rs::symbolize::gimli::Cache::mapping_for_lib\nl std::backtrace::Backtrace::create\nu app::fail",
            Some("profiler_own_memory"),
        );
        check(
            "a malloc\nl alloc::string::String::clone\nd jemalloc_pprof::JemallocProfCtl::dump\nu app::debug_endpoint",
            Some("profiler_own_memory"),
        );
    }

    #[test]
    fn near_misses() {
        check("a prof_backtrace_impl\na _rjem_je_prof_tctx_create\na _rjem_malloc\nl alloc::string::String::clone\nu app::work", None);
        check("a malloc\nl alloc::vec::Vec<T,A>::push\nd gimli::read::abbrev::Abbreviations::insert\nu app::read_debug_info", None);
        check("a malloc\nu app::work\nl std::backtrace::Backtrace::create\nu app::fail", None);
    }
}
