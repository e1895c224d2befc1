//! jemalloc's statistics, of any version and either form, to the model: pages become bytes, classes get
//! their geometry, merged figures are added up where the input has none.

use crate::input::stats_json::Statistics;
use crate::model::allocator::{AllocatorStats, ArenaStats, BinStats, LargeStats, Options};
use crate::units::Bytes;
use serde_json::{Map, Value};

/// Pages are this large where the statistics do not say (cut ones): every x86-64 and most ARM systems.
const USUAL_PAGE: u64 = 4096;

/// The statistics of one print.
pub fn stats(raw: &Statistics) -> AllocatorStats {
    let root = Node(&raw.root);
    let (arenas, global) = (root.at("arenas"), root.at("stats"));
    let page_size = arenas.number("page").filter(|&page| page.is_power_of_two());
    let tree = root.at("stats.arenas");
    let page = page_size.unwrap_or(USUAL_PAGE);
    let list: Vec<(&String, &Value)> = tree.object().into_iter().flatten().filter(|(key, _)| key.parse::<u64>().is_ok()).collect();
    let mut each: Vec<ArenaStats> = list.iter().map(|(key, value)| arena(Node(value), key.parse().ok(), page)).collect();
    each.sort_by_key(|arena| arena.index);
    let geometry = Geometry { bins: arenas.at("bin"), large: arenas.at("lextent") };
    let merged_node = tree.get("merged").or_else(|| list.first().filter(|_| list.len() == 1).map(|(_, value)| Node(value)));
    let (merged, bins, large) = match merged_node {
        Some(node) => {
            let one = ArenaStats { index: None, ..arena(node, None, page) };
            (one, geometry.bins_of(node), geometry.large_of(node))
        }
        // Several arenas and no sum of them: the letter `m` was left out.
        None => {
            let nodes = || list.iter().map(|(_, value)| Node(value));
            (sum(&each), add_bins(nodes().map(|node| geometry.bins_of(node))), add_large(nodes().map(|node| geometry.large_of(node))))
        }
    };
    let bytes = |key: &str| global.number(key).map(Bytes::new);
    AllocatorStats {
        version: root.text("version"),
        options: options(root),
        page_size,
        allocated: bytes("allocated"),
        active: bytes("active"),
        metadata: bytes("metadata"),
        resident: bytes("resident"),
        mapped: bytes("mapped"),
        retained: bytes("retained"),
        background_threads: global.at("background_thread").number("num_threads"),
        arenas_initialized: (!each.is_empty()).then_some(each.len() as u64),
        merged,
        arenas: each,
        bins,
        large,
    }
}

fn options(root: Node<'_>) -> Options {
    let (opt, config, arenas, prof) = (root.at("opt"), root.at("config"), root.at("arenas"), root.at("prof"));
    Options {
        background_thread: opt.flag("background_thread"),
        // The arenas' default can be set while the process runs; `opt` is what it started with.
        dirty_decay_ms: arenas.signed("dirty_decay_ms").or_else(|| opt.signed("dirty_decay_ms")),
        muzzy_decay_ms: arenas.signed("muzzy_decay_ms").or_else(|| opt.signed("muzzy_decay_ms")),
        retain: opt.flag("retain"),
        narenas: opt.number("narenas"),
        oversize_threshold: opt.number("oversize_threshold"),
        thp: opt.text("thp"),
        metadata_thp: opt.text("metadata_thp"),
        percpu_arena: opt.text("percpu_arena"),
        dss: opt.text("dss"),
        tcache: opt.flag("tcache"),
        tcache_max: opt.number("tcache_max").or_else(|| arenas.number("tcache_max")),
        lg_tcache_max: opt.number("lg_tcache_max"),
        prof: opt.flag("prof"),
        prof_active: prof.flag("active").or_else(|| opt.flag("prof_active")),
        prof_accum: opt.flag("prof_accum"),
        lg_prof_sample: prof.number("lg_sample").filter(|_| opt.flag("prof") == Some(true)).or_else(|| opt.number("lg_prof_sample")),
        config_prof: config.flag("prof"),
        config_cache_oblivious: config.flag("cache_oblivious"),
        config_malloc_conf: config.text("malloc_conf"),
    }
}

fn arena(node: Node<'_>, index: Option<u64>, page: u64) -> ArenaStats {
    let bytes = |key: &str| node.number(key).map(Bytes::new);
    let pages = |key: &str| node.number(key).map(|pages| Bytes::from_pages(pages, page));
    let (small, large, huge) = (node.at("small"), node.at("large"), node.at("huge"));
    // In 4.x: {mapped, allocated}, which later became base and internal.
    let metadata = node.at("metadata");
    ArenaStats {
        index,
        threads: node.number("nthreads"),
        // The merged figures print -1 for "not applicable".
        dirty_decay_ms: node.signed("dirty_decay_ms").filter(|_| index.is_some()),
        muzzy_decay_ms: node.signed("muzzy_decay_ms").filter(|_| index.is_some()),
        active: pages("pactive"),
        dirty: pages("pdirty"),
        muzzy: pages("pmuzzy"),
        small_allocated: small.number("allocated").map(Bytes::new),
        large_allocated: large.number("allocated").map(|bytes| Bytes::new(bytes) + Bytes::new(huge.number("allocated").unwrap_or(0))),
        mapped: bytes("mapped"),
        retained: bytes("retained"),
        base: bytes("base").or_else(|| metadata.number("mapped").map(Bytes::new)),
        internal: bytes("internal").or_else(|| metadata.number("allocated").map(Bytes::new)),
        resident: bytes("resident"),
        tcache: bytes("tcache_bytes"),
        tcache_stashed: bytes("tcache_stashed_bytes"),
        dirty_npurge: node.number("dirty_npurge").or_else(|| node.number("npurge")),
        dirty_purged: pages("dirty_purged").or_else(|| pages("purged")),
        uptime_ns: node.number("uptime_ns"),
    }
}

/// The sum over arenas; a figure that no arena has stays unknown.
fn sum(arenas: &[ArenaStats]) -> ArenaStats {
    let bytes = |get: fn(&ArenaStats) -> Option<Bytes>| arenas.iter().filter_map(get).reduce(|a, b| a + b);
    let number = |get: fn(&ArenaStats) -> Option<u64>| arenas.iter().filter_map(get).reduce(u64::saturating_add);
    ArenaStats {
        index: None,
        threads: number(|a| a.threads),
        dirty_decay_ms: None,
        muzzy_decay_ms: None,
        active: bytes(|a| a.active),
        dirty: bytes(|a| a.dirty),
        muzzy: bytes(|a| a.muzzy),
        small_allocated: bytes(|a| a.small_allocated),
        large_allocated: bytes(|a| a.large_allocated),
        mapped: bytes(|a| a.mapped),
        retained: bytes(|a| a.retained),
        base: bytes(|a| a.base),
        internal: bytes(|a| a.internal),
        resident: bytes(|a| a.resident),
        tcache: bytes(|a| a.tcache),
        tcache_stashed: bytes(|a| a.tcache_stashed),
        dirty_npurge: number(|a| a.dirty_npurge),
        dirty_purged: bytes(|a| a.dirty_purged),
        uptime_ns: arenas.iter().filter_map(|a| a.uptime_ns).max(),
    }
}

/// `arenas.bin[i]` and `arenas.lextent[i]`, which belong to `bins[i]` and `lextents[i]` of each arena.
struct Geometry<'a> {
    bins: Node<'a>,
    large: Node<'a>,
}

impl Geometry<'_> {
    fn bins_of(&self, arena: Node<'_>) -> Vec<BinStats> {
        let mut bins: Vec<BinStats> =
            arena.at("bins").list().iter().enumerate().filter_map(|(i, value)| self.bin(i, Node(value))).collect();
        bins.sort_by_key(|bin| bin.size);
        bins
    }

    fn bin(&self, i: usize, bin: Node<'_>) -> Option<BinStats> {
        // Tables of the text form carry the geometry with each row.
        let shape = if bin.number("size").is_some() { bin } else { self.bins.nth(i)? };
        Some(BinStats {
            size: shape.number("size").filter(|&size| size > 0)?,
            regions_per_slab: shape.number("nregs").unwrap_or(0),
            slab_size: shape.number("slab_size").or_else(|| shape.number("run_size")).unwrap_or(0),
            live: bin.number("curregs")?,
            nmalloc: bin.number("nmalloc").unwrap_or(0),
            ndalloc: bin.number("ndalloc").unwrap_or(0),
            slabs: bin.number("curslabs").or_else(|| bin.number("curruns")).unwrap_or(0),
            nonfull_slabs: bin.number("nonfull_slabs"),
        })
    }

    fn large_of(&self, arena: Node<'_>) -> Vec<LargeStats> {
        let classes = arena.at("lextents").list().iter().enumerate().filter_map(|(i, value)| {
            let node = Node(value);
            let size = node.number("size").or_else(|| self.large.nth(i)?.number("size")).filter(|&size| size > 0)?;
            Some(LargeStats {
                size,
                live: node.number("curlextents")?,
                nmalloc: node.number("nmalloc").unwrap_or(0),
                ndalloc: node.number("ndalloc").unwrap_or(0),
            })
        });
        let mut large: Vec<LargeStats> = classes.collect();
        large.sort_by_key(|class| class.size);
        large
    }
}

fn add_bins(arenas: impl Iterator<Item = Vec<BinStats>>) -> Vec<BinStats> {
    let mut out: Vec<BinStats> = Vec::new();
    for bin in arenas.flatten() {
        match out.binary_search_by_key(&bin.size, |known| known.size) {
            Err(at) => out.insert(at, bin),
            Ok(at) => {
                let known = &mut out[at];
                known.live = known.live.saturating_add(bin.live);
                known.nmalloc = known.nmalloc.saturating_add(bin.nmalloc);
                known.ndalloc = known.ndalloc.saturating_add(bin.ndalloc);
                known.slabs = known.slabs.saturating_add(bin.slabs);
                known.nonfull_slabs = known.nonfull_slabs.zip(bin.nonfull_slabs).map(|(a, b)| a.saturating_add(b));
            }
        }
    }
    out
}

fn add_large(arenas: impl Iterator<Item = Vec<LargeStats>>) -> Vec<LargeStats> {
    let mut out: Vec<LargeStats> = Vec::new();
    for class in arenas.flatten() {
        match out.binary_search_by_key(&class.size, |known| known.size) {
            Err(at) => out.insert(at, class),
            Ok(at) => {
                let known = &mut out[at];
                known.live = known.live.saturating_add(class.live);
                known.nmalloc = known.nmalloc.saturating_add(class.nmalloc);
                known.ndalloc = known.ndalloc.saturating_add(class.ndalloc);
            }
        }
    }
    out
}

/// A value that may not be there, or not be what it should.
#[derive(Clone, Copy)]
struct Node<'a>(&'a Value);

impl<'a> Node<'a> {
    fn get(self, key: &str) -> Option<Node<'a>> {
        self.0.get(key).map(Node)
    }

    fn at(self, key: &str) -> Node<'a> {
        self.get(key).unwrap_or(Node(&Value::Null))
    }

    fn nth(self, i: usize) -> Option<Node<'a>> {
        self.0.get(i).map(Node)
    }

    fn object(self) -> Option<&'a Map<String, Value>> {
        self.0.as_object()
    }

    fn list(self) -> &'a [Value] {
        self.0.as_array().map_or(&[], Vec::as_slice)
    }

    fn number(self, key: &str) -> Option<u64> {
        self.0.get(key)?.as_u64()
    }

    fn signed(self, key: &str) -> Option<i64> {
        self.0.get(key)?.as_i64()
    }

    fn flag(self, key: &str) -> Option<bool> {
        self.0.get(key)?.as_bool()
    }

    fn text(self, key: &str) -> Option<String> {
        self.0.get(key)?.as_str().map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::stats_json::parse;

    fn read(text: &str) -> AllocatorStats {
        stats(&parse(text.as_bytes()).unwrap().value[0])
    }

    #[test]
    fn pages_are_bytes_and_classes_have_geometry() {
        let stats = read(
            r#"{"jemalloc":{"version":"5.3.0-0-gx","arenas":{"page":4096,"bin":[{"size":8,"nregs":512,"slab_size":4096}],"lextent":[{"size":16384}]},
            "stats":{"allocated":9},"stats.arenas":{"merged":{"pdirty":2,"dirty_decay_ms":-1,"bins":[{"curregs":3,"curslabs":1}],"lextents":[{"curlextents":4}]}}}}"#,
        );
        assert_eq!(stats.version_numbers(), Some((5, 3, 0)));
        assert_eq!(stats.merged.dirty, Some(Bytes::new(8192)));
        assert_eq!((stats.merged.muzzy, stats.merged.dirty_decay_ms), (None, None));
        assert_eq!((stats.bins[0].size, stats.bins[0].live, stats.bins[0].slab_size), (8, 3, 4096));
        assert_eq!((stats.large[0].size, stats.large[0].live), (16384, 4));
    }

    #[test]
    fn one_arena_stands_for_all_and_several_are_added() {
        let one = read(r#"{"jemalloc":{"stats.arenas":{"0":{"pdirty":2,"dirty_decay_ms":10000}}}}"#);
        assert_eq!((one.merged.dirty, one.merged.dirty_decay_ms), (Some(Bytes::new(8192)), None));
        assert_eq!(one.arenas[0].dirty_decay_ms, Some(10000));
        let two = read(
            r#"{"jemalloc":{"arenas":{"page":4096,"bin":[{"size":8}]},"stats.arenas":{"0":{"pdirty":2,"bins":[{"curregs":1}]},"10":{"pdirty":3,"bins":[{"curregs":4}]},"2":{"nthreads":1}}}}"#,
        );
        assert_eq!((two.merged.dirty, two.merged.threads), (Some(Bytes::new(5 * 4096)), Some(1)));
        assert_eq!(two.bins[0].live, 5);
        assert_eq!(two.arenas.iter().map(|a| a.index).collect::<Vec<_>>(), [Some(0), Some(2), Some(10)]);
    }
}
