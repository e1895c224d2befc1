//! The memory controller's files of a cgroup, one after the other in one file.
//!
//! ```text
//! memory.current 185077760
//! memory.max max
//! ==> /sys/fs/cgroup/app/memory.stat <==
//! anon 180736000
//! file 4243456
//! ```
//!
//! Each file's content may follow its name in any way a shell leaves it (`tail -n +1 memory.*`,
//! `grep . memory.*`, `name value`, `name: value`, a line with the name alone). Version 1 names
//! (`memory.usage_in_bytes`) are taken too. Documentation/admin-guide/cgroup-v2.rst.

use crate::input::{ParseError, Parsed};

/// Figures by file and key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupFiles {
    /// (`memory.current`, value), (`memory.stat/anon`, value): a file's only value has the file's name.
    pub values: Vec<(String, u64)>,
    /// Files that say `max`: no limit.
    pub unlimited: Vec<String>,
}

impl CgroupFiles {
    /// The value of a file or `file/key`.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.values.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }
}

/// Keys of `memory.stat` that no other `key number` file has together.
const STAT_KEYS: [&[u8]; 3] = [b"anon ", b"inactive_anon ", b"pgfault "];
/// A file has some dozens of keys.
const MOST_VALUES: usize = 4096;

/// Whether `text` looks like cgroup memory files.
pub fn sniff(text: &[u8]) -> bool {
    let head = &text[..text.len().min(16 << 10)];
    if head.contains(&0) || head.starts_with(b"{") || head.starts_with(b"<") {
        return false;
    }
    let first = head.split(|&b| b == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    let named = [
        "memory.current",
        "memory.max",
        "memory.stat",
        "memory.high",
        "memory.peak",
        "memory.usage_in_bytes",
        "memory.limit_in_bytes",
        "memory.swap",
    ];
    named.iter().any(|name| memchr::memmem::find(first, name.as_bytes()).is_some())
        || STAT_KEYS.iter().all(|key| head.split(|&b| b == b'\n').any(|line| line.starts_with(key)))
}

/// Reads the files.
pub fn parse(text: &[u8]) -> Result<Parsed<CgroupFiles>, ParseError> {
    let mut files = CgroupFiles::default();
    // Without any name, `key number` lines are memory.stat.
    let mut file = String::from("memory.stat");
    for line in String::from_utf8_lossy(text).lines() {
        let line = line.trim();
        let bare = line.trim_start_matches(['=', '>', '<', '#', ' ']).trim_end_matches(['=', '>', '<', ':', ' ']);
        let (mut key, mut rest) = match bare.split_once([' ', '\t', '=', ':']) {
            Some((key, rest)) => (key, rest.trim()),
            None => (bare, ""),
        };
        let base = key.rsplit('/').next().unwrap_or(key);
        if base.starts_with("memory.") {
            file = base.to_owned();
            // `memory.stat:anon 5` of grep.
            (key, rest) = match rest.split_once([' ', '\t']) {
                Some((key, value)) => (key, value.trim()),
                None => ("", rest),
            };
        } else if rest.is_empty() {
            (key, rest) = ("", key);
        }
        if files.values.len() >= MOST_VALUES || rest.is_empty() {
            continue;
        }
        let name = if key.is_empty() { file.clone() } else { format!("{file}/{key}") };
        match rest {
            "max" => files.unlimited.push(name),
            _ => files.values.extend(rest.parse().ok().map(|value| (name, value))),
        }
    }
    if files.values.is_empty() {
        return Err(ParseError::new(0, "expected cgroup memory files (`memory.current 185077760`), found no figure"));
    }
    Ok(Parsed::clean(files))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str) {
        let files = parse(text.as_bytes()).unwrap().value;
        assert_eq!(files.get("memory.current"), Some(100), "{files:?}");
        assert_eq!(files.unlimited, ["memory.max"]);
        assert_eq!(files.get("memory.stat/anon"), Some(7));
        assert!(sniff(text.as_bytes()));
    }

    #[test]
    fn every_way_a_shell_joins_them() {
        check("memory.current 100\nmemory.max max\nmemory.stat\nanon 7\nfile 8\n");
        check("==> memory.current <==\n100\n\n==> memory.max <==\nmax\n\n==> memory.stat <==\nanon 7\n");
        check("/sys/fs/cgroup/a/memory.current:100\n/sys/fs/cgroup/a/memory.max:max\n/sys/fs/cgroup/a/memory.stat:anon 7\n");
        check("memory.current=100\nmemory.max=max\nmemory.stat anon 7\n");
        check("# memory.current\n100\n# memory.max\nmax\n# memory.stat\nanon 7\n");
    }

    #[test]
    fn memory_stat_alone() {
        let text = b"anon 7\nfile 3\ninactive_anon 1\npgfault 9\n";
        assert!(sniff(text));
        assert_eq!(parse(text).unwrap().value.get("memory.stat/file"), Some(3));
        assert!(parse(b"hello").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = sniff(&text);
            let _ = parse(&text);
        }
    }
}
