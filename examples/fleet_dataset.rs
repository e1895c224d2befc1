//! Makes the dataset of a synthetic fleet, and says how fast: to try the queries at the size of your own.
//!
//! ```text
//! cargo run --release --example fleet_dataset -- ROOT INSTANCES SNAPSHOTS [STACKS]
//! ```
//!
//! One day of snapshots at even distances of INSTANCES instances of one service, the second half of them of a newer build,
//! in which the stack `app::leak` grows in every third instance. STACKS (150 by default) are kept of each dump.

use heaptriage::analysis::export::Amount;
use heaptriage::fleet::dataset::Dataset;
use heaptriage::fleet::rows::{Batch, Incarnation, SampleRow, SnapshotRow, StackRow};
use heaptriage::fleet::stack::{other, stack_id};
use heaptriage::units::{grouped, iec};
use rayon::prelude::*;
use std::process::ExitCode;
use std::time::Instant;

/// 2026-11-20T00:00:00Z.
const DAY_US: i64 = 1_795_132_800_000_000;
const LENGTH_US: i64 = 86_400_000_000;

/// Pseudo-random numbers: splitmix64, the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Around zero, at most `most`.
    fn around(&mut self, most: i64) -> i64 {
        (self.next() % (2 * most as u64 + 1)) as i64 - most
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| args.get(at).and_then(|text| text.parse::<usize>().ok());
    let (Some(root), Some(instances), Some(snapshots)) = (args.first(), number(1), number(2)) else {
        eprintln!("usage: fleet_dataset ROOT INSTANCES SNAPSHOTS [STACKS]");
        return ExitCode::from(2);
    };
    let stacks = number(3).unwrap_or(150).max(2);
    let dataset = Dataset::new(root);
    let names = names(stacks);
    let started = Instant::now();
    let written: Result<Vec<_>, _> =
        (0..instances).into_par_iter().map(|instance| dataset.write(&batch(instance, instances, snapshots, &names))).collect();
    let written = match written {
        Ok(written) => written,
        Err(error) => {
            eprintln!("fleet_dataset: {error}");
            return ExitCode::from(2);
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    let rows: u64 = written.iter().map(|one| one.samples).sum();
    let bytes: u64 = written.iter().map(|one| one.bytes).sum();
    println!(
        "{instances} instances x {snapshots} snapshots: {} rows of stacks in {}, {:.2} bytes a row; {seconds:.1} s, {} rows/s, {:.0} snapshots/s",
        grouped(rows),
        iec(bytes as f64),
        bytes as f64 / rows.max(1) as f64,
        grouped((rows as f64 / seconds) as u64),
        (instances * snapshots) as f64 / seconds,
    );
    ExitCode::SUCCESS
}

fn names(stacks: usize) -> Vec<StackRow> {
    let mut names: Vec<StackRow> = (0..stacks)
        .map(|nth| {
            let leaf = if nth == 0 { "app::leak".to_owned() } else { format!("app::module{}::function{nth}", nth % 23) };
            let path: Vec<String> = (0..12).map(|depth| format!("app::layer{depth}::handle{}", nth % (depth + 2))).collect();
            let folded = format!("app::main;{};{leaf}", path.join(";"));
            StackRow { stack_id: stack_id(&folded), owner: leaf.clone(), leaf, krate: "app".into(), frames: 14, folded }
        })
        .collect();
    names.push(other());
    names
}

fn batch(instance: usize, instances: usize, snapshots: usize, names: &[StackRow]) -> Batch {
    let mut noise = Noise(instance as u64);
    let new = instance * 2 >= instances;
    let mut batch = Batch {
        of: Incarnation {
            service: "app".into(),
            instance: format!("app-{instance:06}"),
            build_id: if new { "bbbbbbbb".repeat(5) } else { "aaaaaaaa".repeat(5) },
            start_us: DAY_US - 60_000_000 - 1_000 * instance as i64,
            process: "app".into(),
        },
        stacks: names.to_vec(),
        ..Batch::default()
    };
    let step = LENGTH_US / snapshots.max(1) as i64;
    let mut levels: Vec<i64> = (0..names.len()).map(|nth| (64 << 20) / (nth as i64 + 1)).collect();
    for at in 0..snapshots {
        let mut total = Amount::default();
        for (stack, level) in levels.iter_mut().enumerate() {
            let leaks = stack == 0 && new && instance.is_multiple_of(3);
            // Half of the stacks move between snapshots, as sampled ones do.
            if leaks {
                *level += 512 << 10;
            } else if noise.next().is_multiple_of(2) {
                *level = (*level + noise.around(*level / 64 + 512)).max(0);
            }
            let live = Amount { bytes: *level, objects: *level / 160 };
            total = total + live;
            batch.samples.push(SampleRow { snapshot: at as u32, stack: stack as u32, live, allocated: None });
        }
        let mut row = SnapshotRow::new(DAY_US + step * at as i64 + 1_000 * instance as i64);
        let dirty = (8 << 20) + noise.around(1 << 20);
        let figures = [
            ("pid", 7),
            ("sampling_interval", 524_288),
            ("heap_bytes", total.bytes),
            ("heap_objects", total.objects),
            ("heap_stacks", 20 * names.len() as i64),
            ("rss", total.bytes + dirty + (20 << 20)),
            ("limit_bytes", 2 << 30),
            ("cgroup_bytes", total.bytes + dirty + (24 << 20)),
            ("je_allocated", total.bytes),
            ("je_active", total.bytes + total.bytes / 20),
            ("je_dirty", dirty),
            ("je_resident", total.bytes + dirty + (8 << 20)),
            ("je_retained", 64 << 20),
            ("ledger_live", total.bytes),
            ("ledger_dirty", dirty),
            ("ledger_file_mapped", 20 << 20),
        ];
        figures.into_iter().for_each(|(name, value)| row.set(name, Some(value)));
        batch.snapshots.push(row);
    }
    batch.sort();
    batch
}
