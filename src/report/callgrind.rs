//! Callgrind profile format (valgrind.org/docs/manual/cl-format.html): KCachegrind and QCachegrind.
//!
//! ```text
//! # callgrind format
//! events: Bytes Objects
//! fl=(1) src/parse.rs
//! fn=(1) app::parse
//! 7 1920 30                flat, on line 7
//! cfn=(2) malloc
//! calls=1 0
//! 7 1920 30                inclusive, of the call on line 7
//! ```
//!
//! A recursive function counts a call's inclusive cost once a stack, at its outermost call.

use crate::analysis::export::{Amount, Profile};
use crate::origin::printable;
use hashbrown::{HashMap, HashSet};
use std::io::Write;

type Function = (crate::model::frame::NameId, Option<crate::model::frame::NameId>, Option<crate::model::frame::NameId>);

#[derive(Default)]
struct Cost {
    flat: HashMap<u32, Amount>,
    calls: HashMap<(u32, u32), Amount>,
}

/// Writes live bytes and objects; in a difference what grew.
///
/// # Errors
/// Those of the writer.
pub fn write(profile: &Profile, mut out: impl Write) -> std::io::Result<()> {
    let mut ids: HashMap<Function, u32> = HashMap::new();
    let mut functions: Vec<Function> = Vec::new();
    let of_frame: Vec<u32> = profile
        .frames
        .iter()
        .map(|frame| {
            let key = (frame.function, frame.file, frame.module);
            *ids.entry(key).or_insert_with(|| {
                functions.push(key);
                functions.len() as u32 - 1
            })
        })
        .collect();
    let mut costs: Vec<Cost> = functions.iter().map(|_| Cost::default()).collect();
    let (mut total, mut edges) = (Amount::default(), HashSet::new());
    for sample in profile.samples.iter().filter(|sample| sample.live.bytes > 0) {
        total = total + sample.live;
        edges.clear();
        let mut callee: Option<u32> = None;
        let path: Vec<u32> = profile.path(sample).collect();
        for &frame in &path {
            let function = of_frame[frame as usize];
            let line = profile.frames[frame as usize].line.unwrap_or(0);
            let cost = &mut costs[function as usize];
            match callee {
                None => add(cost.flat.entry(line).or_default(), sample.live),
                Some(callee) if edges.insert((function, callee)) => add(cost.calls.entry((line, callee)).or_default(), sample.live),
                Some(_) => {}
            }
            callee = Some(function);
        }
    }
    writeln!(out, "# callgrind format\nversion: 1\ncreator: heaptriage {}", env!("CARGO_PKG_VERSION"))?;
    for comment in std::iter::once(&profile.title).chain(&profile.comments) {
        writeln!(out, "desc: Info: {}", printable(comment))?;
    }
    writeln!(out, "positions: line\nevents: Bytes Objects\nsummary: {} {}\n", total.bytes, total.objects)?;
    let mut names = Names::default();
    for (id, (cost, key)) in costs.iter().zip(&functions).enumerate() {
        if cost.flat.is_empty() && cost.calls.is_empty() {
            continue;
        }
        writeln!(out, "ob={}", names.object(profile, key))?;
        writeln!(out, "fl={}", names.file(profile, key))?;
        writeln!(out, "fn={}", names.function(profile, id as u32, key))?;
        let mut flat: Vec<_> = cost.flat.iter().collect();
        flat.sort_unstable_by_key(|(line, _)| **line);
        for (line, amount) in flat {
            writeln!(out, "{line} {} {}", amount.bytes, amount.objects)?;
        }
        let mut calls: Vec<_> = cost.calls.iter().collect();
        calls.sort_unstable_by_key(|(call, _)| **call);
        for ((line, callee), amount) in calls {
            let key = &functions[*callee as usize];
            writeln!(out, "cob={}", names.object(profile, key))?;
            writeln!(out, "cfi={}", names.file(profile, key))?;
            writeln!(out, "cfn={}", names.function(profile, *callee, key))?;
            writeln!(out, "calls={} 0\n{line} {} {}", amount.objects.max(1), amount.bytes, amount.objects)?;
        }
        writeln!(out)?;
    }
    out.flush()
}

fn add(sum: &mut Amount, amount: Amount) {
    *sum = *sum + amount;
}

/// A name is written out once, `(id) name`, and `(id)` afterwards.
#[derive(Default)]
struct Names {
    written: HashSet<(u8, u32)>,
}

impl Names {
    /// Id 0 is the unknown one.
    fn once(&mut self, kind: u8, id: u32, name: &str) -> String {
        if self.written.insert((kind, id)) { format!("({id}) {}", printable(name)) } else { format!("({id})") }
    }

    fn object(&mut self, profile: &Profile, key: &Function) -> String {
        self.once(0, key.2.map_or(0, |name| name.0 + 1), profile.text(key.2).unwrap_or("???"))
    }

    fn file(&mut self, profile: &Profile, key: &Function) -> String {
        self.once(1, key.1.map_or(0, |name| name.0 + 1), profile.text(key.1).unwrap_or("???"))
    }

    fn function(&mut self, profile: &Profile, id: u32, key: &Function) -> String {
        self.once(2, id + 1, profile.names.get(key.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::export::tests::profile;

    #[test]
    fn calls_carry_inclusive_cost() {
        let profile = profile(false, false);
        let mut bytes = Vec::new();
        write(&profile, &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (a, b) = (profile.samples[0].live, profile.samples[1].live);
        assert!(text.contains(&format!("summary: {} {}", a.bytes + b.bytes, a.objects + b.objects)), "{text}");
        assert!(text.contains(&format!("fn=(1) malloc\n0 {} {}\n", a.bytes + b.bytes, a.objects + b.objects)), "{text}");
        assert!(text.contains(&format!("cfn=(3)\ncalls={} 0\n3 {} {}", a.objects, a.bytes, a.objects)), "{text}");
    }

    #[test]
    fn names_cannot_end_a_line() {
        // The format is one of lines.
        assert_eq!(Names::default().once(2, 1, "a\nfn=(9) b\r"), "(1) a\\u{a}fn=(9) b\\u{d}");
    }
}
