//! Examines this machine: what recording, naming and preloading can count on here.

use super::{Check, Examination, State};
use crate::capture::launch;
use crate::capture::program::Program;
use std::path::Path;

/// Examines the machine this program runs on.
pub fn machine() -> Examination {
    let mut report = Examination::new("machine", "this machine");
    let read = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    if let Some(release) = read("/proc/sys/kernel/osrelease") {
        let rollup = Path::new("/proc/self/smaps_rollup").exists();
        let finding = format!(
            "Linux {release}, {}",
            if rollup { "with smaps_rollup" } else { "without smaps_rollup (before 4.14): only full smaps" }
        );
        report.add(Check::new("kernel", if rollup { State::Good } else { State::Note }, finding));
    }
    if let Ok(text) = std::fs::read_link("/etc/malloc.conf") {
        let finding = format!("/etc/malloc.conf sets {} for every jemalloc here", crate::origin::quote(text.to_string_lossy().as_bytes()));
        report.add(Check::new("etc_malloc_conf", State::Note, finding));
    }
    let library = launch::libraries(&Program::default()).next();
    report.add(match library.map(|(path, facts)| (path, facts.jemalloc)) {
        Some((path, Some(jemalloc))) if jemalloc.profiling => {
            let version = jemalloc.version.as_deref().map_or_else(|| "of unknown version".into(), super::allocator::short);
            Check::new("preload", State::Good, format!("{} is jemalloc {version} with profiling: `record --preload` works", path.display()))
        }
        Some((path, _)) => {
            Check::new("preload", State::Note, format!("{} has no profiling: `record --preload` needs another", path.display()))
        }
        None => Check::new("preload", State::Note, "no libjemalloc.so.2 in the usual places: `record --preload` needs one")
            .remedy("Debian and Ubuntu: apt install libjemalloc2"),
    });
    let gdb = std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("gdb").is_file()));
    let scope = read("/proc/sys/kernel/yama/ptrace_scope");
    report.add(match (gdb, scope.as_deref()) {
        (false, _) => Check::new("gdb", State::Note, "gdb is not installed: `record --gdb` cannot be used"),
        (true, None | Some("0")) => Check::new("gdb", State::Good, "gdb is installed: `record --gdb` can dump processes without handler"),
        (true, Some(scope)) => Check::new(
            "gdb",
            State::Note,
            format!("gdb is installed, but attaching is restricted (kernel.yama.ptrace_scope = {scope}): `record --gdb` needs sudo"),
        ),
    });
    if let Some(thp) = read("/sys/kernel/mm/transparent_hugepage/enabled").filter(|thp| thp.contains("[always]")) {
        report.add(Check::new("huge_pages", State::Note, format!("transparent huge pages are on for everything ({thp}): RSS can exceed what programs touched, and the ledger says by how much")));
    }
    report
}
