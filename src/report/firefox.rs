//! Firefox Profiler (profiler.firefox.com, "processed profile format"): native allocations and memory tracks.
//!
//! The format wants single allocations with addresses; a capture has levels. Each rise of a stack between two
//! snapshots becomes one allocation at an address of its own, each fall frees the youngest of them. So the view
//! "retained memory" of any selected range shows what grew in it.

use crate::analysis::recording::Recording;
use crate::model::frame::Role;
use fxprof_processed_profile::{
    CategoryColor, CategoryHandle, Frame, FrameFlags, FrameInfo, Profile, ReferenceTimestamp, SamplingInterval, StackHandle, ThreadHandle,
    Timestamp,
};
use std::io::Write;

/// First address given out; below it nothing could be an address.
const FIRST_ADDRESS: u64 = 0x1000;

/// Writes the recording.
///
/// # Errors
/// Those of the writer.
pub fn write(recording: &Recording, out: impl Write) -> std::io::Result<()> {
    let start = ReferenceTimestamp::from_millis_since_unix_epoch(recording.start_unix_ms.unwrap_or(0) as f64);
    let mut profile = Profile::new(&recording.profile.title, start, SamplingInterval::from_millis(gap(&recording.times)));
    profile.set_symbolicated(true);
    let zero = Timestamp::from_millis_since_reference(0.0);
    let pid = recording.pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(1);
    let process = profile.add_process(&recording.profile.title, pid, zero);
    let thread = profile.add_thread(process, pid, zero, true);
    profile.set_thread_name(thread, "heap");
    let end = Timestamp::from_millis_since_reference(recording.times.last().copied().unwrap_or(0.0));
    profile.set_process_end_time(process, end);
    profile.set_thread_end_time(thread, end);
    for counter in &recording.counters {
        // "Memory" is the category whose counters the viewer draws as memory tracks.
        let handle = profile.add_counter(process, counter.name, "Memory", counter.description);
        let mut before = 0.0;
        for (&time, level) in recording.times.iter().zip(&counter.levels) {
            if let Some(level) = level {
                profile.add_counter_sample(handle, Timestamp::from_millis_since_reference(time), level - before, 0);
                before = *level;
            }
        }
    }
    let stacks = stacks(recording, &mut profile, thread);
    allocations(recording, &mut profile, thread, &stacks);
    profile.add_initial_visible_thread(thread);
    profile.add_initial_selected_thread(thread);
    Ok(serde_json::to_writer(out, &profile)?)
}

/// Median gap between snapshots in ms; the format wants one.
fn gap(times: &[f64]) -> u64 {
    let mut gaps: Vec<u64> = times.windows(2).map(|pair| (pair[1] - pair[0]).max(1.0) as u64).collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied().unwrap_or(1)
}

/// Frames are labels with their role as category.
fn stacks(recording: &Recording, profile: &mut Profile, thread: ThreadHandle) -> Vec<Option<StackHandle>> {
    let named = &recording.profile;
    let categories = [
        (Role::User, profile.add_category("User code", CategoryColor::Blue)),
        (Role::Dependency, profile.add_category("Dependencies", CategoryColor::Green)),
        (Role::Library, profile.add_category("Language library", CategoryColor::Yellow)),
        (Role::Allocator, profile.add_category("Allocator", CategoryColor::Orange)),
        (Role::Runtime, profile.add_category("Runtime", CategoryColor::Gray)),
    ];
    let category = |role: Role| categories.iter().find(|(r, _)| *r == role).map_or(CategoryHandle::OTHER, |(_, category)| *category);
    let infos: Vec<FrameInfo> = named
        .frames
        .iter()
        .map(|frame| FrameInfo {
            frame: Frame::Label(profile.intern_string(named.names.get(frame.function))),
            category_pair: category(frame.role).into(),
            flags: FrameFlags::empty(),
        })
        .collect();
    let of = |sample| named.path(sample).rev().map(|frame| infos[frame as usize].clone()).collect::<Vec<_>>();
    named.samples.iter().map(|sample| profile.intern_stack_frames(thread, of(sample).into_iter())).collect()
}

/// Rises as allocations, falls as frees of the youngest; the rest of one that shrinks is allocated anew.
fn allocations(recording: &Recording, profile: &mut Profile, thread: ThreadHandle, stacks: &[Option<StackHandle>]) {
    let mut blocks: Vec<Vec<(u64, i64)>> = vec![Vec::new(); stacks.len()];
    let mut levels = vec![0i64; stacks.len()];
    let mut next = FIRST_ADDRESS;
    for (at, amounts) in &recording.dumps {
        let now = Timestamp::from_millis_since_reference(recording.times[*at]);
        let mut current = vec![0i64; stacks.len()];
        for (sample, amount) in amounts {
            current[*sample as usize] = amount.bytes;
        }
        for (sample, &level) in current.iter().enumerate() {
            let (mut change, stack, blocks) = (level - levels[sample], stacks[sample], &mut blocks[sample]);
            while change < 0 {
                let Some((address, size)) = blocks.pop() else { break };
                profile.add_allocation_sample(thread, now, stack, address, -size);
                change += size;
            }
            if change > 0 {
                profile.add_allocation_sample(thread, now, stack, next, change);
                blocks.push((next, change));
                next += 16;
            }
            levels[sample] = level;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::export::Amount;
    use crate::analysis::export::tests::profile;
    use crate::analysis::recording::Counter;
    use serde_json::Value;

    fn recording() -> Recording {
        let amount = |bytes| Amount { objects: 1, bytes };
        Recording {
            profile: profile(false, false),
            pid: Some(42),
            start_unix_ms: Some(1_763_650_000_000),
            times: vec![0.0, 1000.0, 3000.0],
            dumps: vec![(0, vec![(0, amount(100))]), (1, vec![(0, amount(250)), (1, amount(7))]), (2, vec![(0, amount(120))])],
            counters: vec![Counter { name: "RSS", description: "Resident bytes.", levels: vec![Some(1000.0), None, Some(1500.0)] }],
        }
    }

    fn written() -> Value {
        let mut bytes = Vec::new();
        write(&recording(), &mut bytes).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn falls_free_the_youngest() {
        let json = written();
        let table = &json["threads"][0]["nativeAllocations"];
        let weights: Vec<i64> = table["weight"].as_array().unwrap().iter().map(|w| w.as_i64().unwrap()).collect();
        assert_eq!(weights, [100, 150, 7, -150, 20, -7]);
        let mut live = std::collections::BTreeMap::new();
        for (address, weight) in table["memoryAddress"].as_array().unwrap().iter().zip(&weights) {
            *live.entry(address.as_u64().unwrap()).or_insert(0) += weight;
        }
        assert_eq!(live.values().copied().filter(|&w| w != 0).collect::<Vec<i64>>(), [100, 20], "every block is freed whole");
    }

    #[test]
    fn counters_are_changes_of_the_memory_category() {
        let json = written();
        let counter = &json["counters"][0];
        assert_eq!((counter["name"].as_str(), counter["category"].as_str()), (Some("RSS"), Some("Memory")));
        assert_eq!(counter["samples"]["count"], serde_json::json!([1000.0, 500.0]));
    }
}
