//! The memory controller of a live process: where its files are, and one text of them all.
//!
//! The text is what `grep -H '' memory.current memory.max memory.stat` prints in the directory:
//!
//! ```text
//! memory.current:134217728
//! memory.max:max
//! memory.stat:anon 1048576
//! ```
//!
//! For version 1 the files are `memory.usage_in_bytes`, `memory.limit_in_bytes` and so on, under
//! their own names. A hybrid system has both versions; memory is where the mounted controller is.

use std::fs;
use std::path::{Path, PathBuf};

/// Files of a memory controller worth keeping; those that do not exist are left out.
const VERSION_2: [&str; 8] = [
    "memory.current",
    "memory.max",
    "memory.high",
    "memory.peak",
    "memory.swap.current",
    "memory.swap.max",
    "memory.events",
    "memory.stat",
];
const VERSION_1: [&str; 6] = [
    "memory.usage_in_bytes",
    "memory.limit_in_bytes",
    "memory.max_usage_in_bytes",
    "memory.failcnt",
    "memory.memsw.usage_in_bytes",
    "memory.stat",
];

/// A directory with the files of one memory controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryCgroup {
    directory: PathBuf,
    files: &'static [&'static str],
}

impl MemoryCgroup {
    /// Finds it from `/proc/PID/cgroup` and `/proc/self/mountinfo`; `None` where memory is not
    /// controlled or the controller is not mounted here.
    pub fn find(cgroup: &str, mountinfo: &str) -> Option<MemoryCgroup> {
        let mounts: Vec<Mount> = mountinfo.lines().filter_map(Mount::parse).collect();
        let version_1 = cgroup.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|c| c == "memory").then_some(path)
        });
        let version_2 = cgroup.lines().find_map(|line| line.strip_prefix("0::"));
        let one = version_1.and_then(|path| {
            let mount = mounts.iter().find(|m| m.kind == "cgroup" && m.options.split(',').any(|o| o == "memory"))?;
            Some(MemoryCgroup { directory: mount.place(path)?, files: &VERSION_1 })
        });
        let two = || {
            let mount = mounts.iter().find(|m| m.kind == "cgroup2")?;
            let mut directory = mount.place(version_2?)?;
            // The controller may be switched on for an ancestor only: that is then what accounts and limits.
            while !directory.join("memory.current").exists() {
                if directory == mount.point || !directory.pop() {
                    return None;
                }
            }
            Some(MemoryCgroup { directory, files: &VERSION_2 })
        };
        one.or_else(two)
    }

    /// Finds it for a process whose `cgroup` file was read.
    pub fn of(cgroup: &[u8]) -> Option<MemoryCgroup> {
        let mountinfo = fs::read("/proc/self/mountinfo").ok()?;
        MemoryCgroup::find(&String::from_utf8_lossy(cgroup), &String::from_utf8_lossy(&mountinfo))
    }

    /// All its files as one text; `None` when none can be read.
    pub fn text(&self) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        for name in self.files {
            let Ok(content) = fs::read(self.directory.join(name)) else { continue };
            for line in content.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                text.extend_from_slice(name.as_bytes());
                text.push(b':');
                text.extend_from_slice(line);
                text.push(b'\n');
            }
        }
        (!text.is_empty()).then_some(text)
    }
}

/// One line of mountinfo, as far as it matters (`man 5 proc_pid_mountinfo`).
struct Mount {
    /// The part of the file system that is mounted.
    root: PathBuf,
    point: PathBuf,
    kind: String,
    options: String,
}

impl Mount {
    fn parse(line: &str) -> Option<Mount> {
        let (head, tail) = line.split_once(" - ")?;
        let mut head = head.split(' ').skip(3);
        let (root, point) = (head.next()?, head.next()?);
        let mut tail = tail.split(' ');
        let kind = tail.next()?.to_owned();
        let options = tail.nth(1).unwrap_or_default().to_owned();
        Some(Mount { root: root.into(), point: point.replace("\\040", " ").into(), kind, options })
    }

    /// Where a cgroup path is below the mount; `None` when it is not in the part that is mounted:
    /// the mount itself would be somebody else's memory. Inside a container the mount shows only
    /// its own part of the tree, while the path may be that of the host.
    fn place(&self, path: &str) -> Option<PathBuf> {
        let place = self.point.join(Path::new(path).strip_prefix(&self.root).ok()?);
        place.exists().then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    #[test]
    fn version_2_and_its_ancestors() {
        let folder = tree(&[
            ("app/memory.current", "4096\n"),
            ("app/memory.max", "max\n"),
            ("app/memory.stat", "anon 1\nfile 2\n"),
            ("app/inner/cgroup.procs", ""),
        ]);
        let mounts = format!("30 23 0:26 / {} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n", folder.path().display());
        let text = |cgroup: &str| MemoryCgroup::find(cgroup, &mounts).and_then(|c| c.text()).map(|t| String::from_utf8(t).unwrap());
        let expected = "memory.current:4096\nmemory.max:max\nmemory.stat:anon 1\nmemory.stat:file 2\n";
        assert_eq!(text("0::/app\n").as_deref(), Some(expected));
        assert_eq!(text("0::/app/inner\n").as_deref(), Some(expected), "the controller of the parent");
        assert_eq!(text("0::/\n"), None, "the root has no memory files");
        assert_eq!(text("1:cpu:/app\n"), None);
    }

    #[test]
    fn hybrid_systems_keep_memory_on_version_1() {
        let folder = tree(&[("one/docker/x/memory.usage_in_bytes", "7\n"), ("one/docker/x/memory.limit_in_bytes", "9\n"), ("two/a", "")]);
        let mounts = format!(
            "30 23 0:26 / {0}/one rw - cgroup cgroup rw,memory\n31 23 0:27 / {0}/two rw - cgroup2 cgroup2 rw\n",
            folder.path().display()
        );
        let cgroup = "4:memory:/docker/x\n1:cpu:/\n0::/\n";
        let text = MemoryCgroup::find(cgroup, &mounts).unwrap().text().unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "memory.usage_in_bytes:7\nmemory.limit_in_bytes:9\n");
    }

    #[test]
    fn a_container_sees_its_own_part_of_the_tree() {
        let folder = tree(&[("memory.usage_in_bytes", "7\n")]);
        let mounts = format!("30 23 0:26 /docker/x {} rw - cgroup cgroup rw,memory\n", folder.path().display());
        let text = MemoryCgroup::find("4:memory:/docker/x\n", &mounts).unwrap().text().unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "memory.usage_in_bytes:7\n");
        assert_eq!(MemoryCgroup::find("4:memory:/docker/y\n", &mounts), None, "another container's");
    }
}
