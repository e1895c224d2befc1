//! The ledger over time as a picture: a stacked area for each kind of memory, RSS as a line, a mark for each dump.
//!
//! One self-contained SVG with its own background, so that it is legible on light and dark pages and on paper.
//! What the statistics count and is not resident lies below zero; the line is what the rows add up to.

use super::rss::{RssReport, clock};
use super::xml::escaped;
use crate::analysis::ledger::RowKind;
use crate::origin::printable;
use crate::units::iec;
use std::fmt::Write;

/// Kinds drawn as one area: name, kinds, fill. Colors keep their distance for red-green blindness (Okabe and Ito, and one of
/// Tol's).
const AREAS: [(&str, &[RowKind], &str); 10] = [
    ("live heap", &[RowKind::Live], "#0072b2"),
    ("thread caches", &[RowKind::Tcache], "#882255"),
    ("sampling and metadata", &[RowKind::SamplingOverhead, RowKind::Metadata], "#56b4e9"),
    ("fragmentation", &[RowKind::Fragmentation], "#cc79a7"),
    ("dirty and LazyFree", &[RowKind::Dirty, RowKind::LazyFree], "#e69f00"),
    ("huge pages", &[RowKind::HugePages], "#f0e442"),
    ("other allocators", &[RowKind::ForeignHeap], "#d55e00"),
    ("thread stacks", &[RowKind::ThreadStacks], "#7f7f7f"),
    ("files and shared memory", &[RowKind::FileMapped, RowKind::SharedMemory], "#009e73"),
    ("other and unattributed", &[RowKind::OtherAnonymous, RowKind::Unattributed], "#9b7653"),
];
const UNTOUCHED: (&str, &str) = ("counted, not resident", "#b8b8b8");

const WIDTH: f64 = 1020.0;
const HEIGHT: f64 = 480.0;
/// The plot inside: left, top, right, bottom.
const PLOT: (f64, f64, f64, f64) = (84.0, 44.0, 690.0, 430.0);
/// More points than pixels draw nothing new.
const MOST_POINTS: usize = 1200;

const STYLE: &str = "svg{font:13px system-ui,sans-serif}.bg{fill:#fff}text{fill:#222}.grid{stroke:#ddd}.axis{stroke:#444}.rss,.halo{stroke:#000;fill:none;stroke-width:2}.halo{stroke:#fff;stroke-width:5;stroke-opacity:.6}.mark{fill:#222}\
@media (prefers-color-scheme:dark){.bg{fill:#16181d}text{fill:#e6e6e6}.grid{stroke:#3a3d44}.axis{stroke:#bbb}.rss{stroke:#fff}.halo{stroke:#000}.mark{fill:#e6e6e6}}\
@media print{.bg{fill:#fff}text{fill:#000}.grid{stroke:#ccc}.axis{stroke:#000}.rss{stroke:#000}.mark{fill:#000}}";

/// Positions of points on the axes.
struct Scale {
    from: f64,
    span: f64,
    low: f64,
    high: f64,
}

impl Scale {
    fn x(&self, at: f64) -> f64 {
        PLOT.0 + (at - self.from) / self.span * (PLOT.2 - PLOT.0)
    }

    fn y(&self, bytes: f64) -> f64 {
        PLOT.3 - (bytes - self.low) / (self.high - self.low) * (PLOT.3 - PLOT.1)
    }
}

/// Draws the chart.
pub fn svg(report: &RssReport<'_>) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\"><title>{}</title><style>{STYLE}</style><rect class=\"bg\" width=\"100%\" height=\"100%\"/>\n",
        escape(&report.title())
    );
    let _ = writeln!(out, "<text x=\"{}\" y=\"24\" font-weight=\"600\">{}</text>", PLOT.0, escape(&report.title()));
    let ledger = &report.accounting.ledger;
    let snapshots = &report.timeline.snapshots;
    let timed = snapshots.iter().all(|snapshot| snapshot.time_source.is_time());
    let at = |i: usize| if timed { snapshots.get(i).map_or(0.0, |s| s.unix_ms as f64) } else { i as f64 };
    if ledger.snapshots.is_empty() {
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\">nothing to draw: no snapshot has RSS or allocator statistics</text></svg>",
            PLOT.0,
            PLOT.1 + 30.0
        );
        return out;
    }
    // The same few positions whatever the number of snapshots; the last one is always drawn.
    let count = ledger.snapshots.len();
    let step = count.div_ceil(MOST_POINTS).max(1);
    let mut points: Vec<usize> = (0..count).step_by(step).collect();
    if points.last() != Some(&(count - 1)) {
        points.push(count - 1);
    }
    let xs: Vec<f64> = points.iter().map(|&p| at(ledger.snapshots[p])).collect();
    let sums = |kinds: &[RowKind]| -> Vec<f64> {
        points
            .iter()
            .map(|&p| {
                ledger.rows.iter().filter(|row| kinds.contains(&row.kind)).filter_map(|row| row.bytes.get(p)).map(|&b| b as f64).sum()
            })
            .collect()
    };
    let below: Vec<f64> = sums(&[RowKind::Untouched]).into_iter().map(|b| b.min(0.0)).collect();
    let areas: Vec<Vec<f64>> = AREAS.iter().map(|(_, kinds, _)| sums(kinds)).collect();
    let top = (0..xs.len()).map(|i| areas.iter().map(|area| area[i].max(0.0)).sum::<f64>()).fold(1.0, f64::max);
    let bottom = below.iter().copied().fold(0.0, f64::min);
    let tick = tick(top - bottom);
    let (first, last) = (xs[0], xs[xs.len() - 1]);
    // One snapshot is a column as wide as the plot.
    let span = if last > first { last - first } else { 1.0 };
    let scale = Scale { from: first, span, low: (bottom / tick).floor() * tick, high: (top / tick).ceil().max(1.0) * tick };
    let xs: Vec<f64> = if xs.len() == 1 { vec![first, first + 1.0] } else { xs };
    let value = |values: &[f64], i: usize| values.get(i).or(values.last()).copied().unwrap_or(0.0);
    axes(&mut out, &scale, tick, timed, last - first, count);
    let mut base = vec![0.0; xs.len()];
    for ((name, _, fill), area) in AREAS.iter().zip(&areas) {
        let over: Vec<f64> = (0..xs.len()).map(|i| base[i] + value(area, i).max(0.0)).collect();
        if area.iter().any(|&b| b > 0.0) {
            path(&mut out, &scale, &xs, &base, &over, fill, name);
        }
        base = over;
    }
    let zero = vec![0.0; xs.len()];
    let under: Vec<f64> = (0..xs.len()).map(|i| value(&below, i)).collect();
    if bottom < 0.0 {
        path(&mut out, &scale, &xs, &under, &zero, UNTOUCHED.1, UNTOUCHED.0);
    }
    let total: Vec<f64> = points.iter().map(|&p| ledger.rows.iter().filter_map(|row| row.bytes.get(p)).map(|&b| b as f64).sum()).collect();
    let line: Vec<String> = xs.iter().enumerate().map(|(i, &x)| format!("{:.1},{:.1}", scale.x(x), scale.y(value(&total, i)))).collect();
    let line = line.join(" ");
    let _ = writeln!(out, "<polyline class=\"halo\" points=\"{line}\"/><polyline class=\"rss\" points=\"{line}\"/>");
    marks(&mut out, &scale, report, &at);
    legend(&mut out, &areas, &below, &total, !ledger.rss.is_empty());
    out.push_str("</svg>\n");
    out
}

fn path(out: &mut String, scale: &Scale, xs: &[f64], low: &[f64], high: &[f64], fill: &str, name: &str) {
    let point = |(&x, &y): (&f64, &f64)| format!("{:.1},{:.1}", scale.x(x), scale.y(y));
    let mut points: Vec<String> = xs.iter().zip(high).map(point).collect();
    points.extend(xs.iter().zip(low).rev().map(point));
    let _ = writeln!(out, "<polygon points=\"{}\" fill=\"{fill}\"><title>{name}</title></polygon>", points.join(" "));
}

fn axes(out: &mut String, scale: &Scale, tick: f64, timed: bool, length: f64, count: usize) {
    let mut bytes = scale.low;
    while bytes <= scale.high + tick / 2.0 {
        let y = scale.y(bytes);
        let label = if bytes == 0.0 { "0".to_owned() } else { iec(bytes).replace(".0 ", " ") };
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            PLOT.0,
            PLOT.2,
            PLOT.0 - 8.0,
            y + 4.0
        );
        bytes += tick;
    }
    let zero = scale.y(0.0);
    let _ = writeln!(out, "<line class=\"axis\" x1=\"{}\" x2=\"{}\" y1=\"{zero:.1}\" y2=\"{zero:.1}\"/>", PLOT.0, PLOT.2);
    let step = if timed { time_step(length) } else { ((length / 5.0).ceil()).max(1.0) };
    let ticks = if count > 1 { (length / step).floor() as usize } else { 0 };
    for i in 0..=ticks {
        let at = i as f64 * step;
        let label = match timed {
            true if i == 0 => "0".to_owned(),
            true => time_label(at.round() as i64),
            false => format!("#{:.0}", at + 1.0),
        };
        let x = PLOT.0 + if length > 0.0 { at / length } else { 0.0 } * (PLOT.2 - PLOT.0);
        let _ = writeln!(
            out,
            "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{}\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            PLOT.3,
            PLOT.3 + 5.0,
            PLOT.3 + 34.0
        );
    }
}

/// Steps of a clock, in seconds; days follow.
const TIME_STEPS: [f64; 21] = [
    0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10_800.0, 21_600.0,
    43_200.0,
];

/// The distance of marks on an axis of this many milliseconds: a round one, and eight of them at most.
fn time_step(length: f64) -> f64 {
    let fits = |step: &f64| length / (step * 1000.0) <= 8.0;
    let day = 86_400.0;
    let step = TIME_STEPS.into_iter().find(fits).unwrap_or_else(|| (length / 1000.0 / day / 8.0).ceil().max(1.0) * day);
    step * 1000.0
}

/// `5 s`, `30 min`, `2 h`: round times need no second unit.
fn time_label(ms: i64) -> String {
    match ms {
        _ if ms % 86_400_000 == 0 => format!("{} d", ms / 86_400_000),
        _ if ms % 3_600_000 == 0 => format!("{} h", ms / 3_600_000),
        _ if ms % 60_000 == 0 => format!("{} min", ms / 60_000),
        _ if ms < 60_000 && ms % 1000 == 0 => format!("{} s", ms / 1000),
        _ => clock(ms),
    }
}

/// A triangle below the axis for each snapshot with a dump.
fn marks(out: &mut String, scale: &Scale, report: &RssReport<'_>, at: &dyn Fn(usize) -> f64) {
    for (i, snapshot) in report.timeline.snapshots.iter().enumerate().filter(|(_, s)| s.heap.is_some()).take(MOST_POINTS) {
        let x = scale.x(at(i));
        if (PLOT.0 - 0.5..=PLOT.2 + 0.5).contains(&x) {
            let (y, name) = (PLOT.3 + 8.0, escape(&snapshot.name));
            let _ = writeln!(out, "<path class=\"mark\" d=\"M{x:.1} {y}l4 8h-8z\"><title>dump {name}</title></path>");
        }
    }
}

fn legend(out: &mut String, areas: &[Vec<f64>], below: &[f64], total: &[f64], rss: bool) {
    let last = |values: &[f64]| values.last().copied().unwrap_or(0.0);
    let (x, mut y) = (PLOT.2 + 20.0, PLOT.1 + 8.0);
    let name = if rss { "RSS" } else { "jemalloc, counted" };
    let _ = writeln!(
        out,
        "<line class=\"rss\" x1=\"{x}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/><text x=\"{}\" y=\"{}\">{name} {}</text>",
        x + 14.0,
        x + 22.0,
        y + 4.0,
        iec(last(total))
    );
    let mut entry = |name: &str, fill: &str, bytes: f64| {
        y += 22.0;
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"{}\" width=\"14\" height=\"12\" fill=\"{fill}\"/><text x=\"{}\" y=\"{}\">{name} {}</text>",
            y - 6.0,
            x + 22.0,
            y + 4.0,
            iec(bytes)
        );
    };
    // As they lie above each other, topmost first.
    for ((name, _, fill), area) in AREAS.iter().zip(areas).rev().filter(|(_, area)| area.iter().any(|&b| b > 0.0)) {
        entry(name, fill, last(area));
    }
    if below.iter().any(|&b| b < 0.0) {
        entry(UNTOUCHED.0, UNTOUCHED.1, last(below));
    }
    y += 30.0;
    let _ =
        writeln!(out, "<path class=\"mark\" d=\"M{} {}l4 8h-8z\"/><text x=\"{}\" y=\"{}\">heap dump</text>", x + 7.0, y - 8.0, x + 22.0, y);
}

/// The distance of grid lines: a power of two of bytes, four to eight lines.
fn tick(range: f64) -> f64 {
    let mut tick = 1.0;
    while range / tick > 8.0 && tick < 1e30 {
        tick *= 2.0;
    }
    tick
}

fn escape(text: &str) -> String {
    escaped(&printable(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_marked_at_round_steps() {
        let marks = |length: f64| -> Vec<String> {
            let step = time_step(length);
            (1..=(length / step) as usize).map(|i| time_label((i as f64 * step) as i64)).collect()
        };
        assert_eq!(marks(35_900.0), ["5 s", "10 s", "15 s", "20 s", "25 s", "30 s", "35 s"]);
        assert_eq!(marks(9.0 * 60_000.0), ["2 min", "4 min", "6 min", "8 min"]);
        assert_eq!(marks(600.0), ["100 ms", "200 ms", "300 ms", "400 ms", "500 ms", "600 ms"]);
        assert_eq!(marks(20.0 * 86_400_000.0).last().map(String::as_str), Some("18 d"));
        assert!(time_step(0.0) > 0.0 && time_step(1e18).is_finite());
    }

    #[test]
    fn ticks_are_powers_of_two() {
        assert_eq!(tick(1.0), 1.0);
        assert_eq!(tick(100.0 * 1048576.0), 16.0 * 1048576.0);
        assert!(tick(f64::MAX).is_finite());
    }

    #[test]
    fn names_cannot_leave_their_element() {
        assert_eq!(escape("<script>&\"\u{1b}"), "&lt;script&gt;&amp;&quot;\\u{1b}");
    }
}
