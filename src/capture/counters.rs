//! Workload counters to snapshots: one column each, the nearest row for each snapshot.

use crate::input::counters::Counters;
use crate::model::timeline::{Counter, CounterKind, Timeline};
use crate::origin::Notice;

/// How far a row may be from the only snapshot of a capture: counters are written every few seconds.
const LONE_GAP_MS: i64 = 60_000;

/// One column of all tables.
struct Column {
    name: String,
    /// Input it came from first.
    input: String,
    rows: Vec<(i64, f64)>,
}

/// Puts the tables' values into the snapshots. `kinds` are those capture.json states.
pub fn attach(timeline: &mut Timeline, tables: Vec<(String, Counters)>, kinds: &[(String, String)], notices: &mut Vec<Notice>) {
    let mut columns: Vec<Column> = Vec::new();
    for (input, table) in tables {
        for (i, name) in table.names.iter().enumerate() {
            let rows = table.rows.iter().filter_map(|(time, cells)| Some((*time, (*cells.get(i)?)?)));
            match columns.iter_mut().find(|column| column.name == *name) {
                Some(column) => column.rows.extend(rows),
                None => columns.push(Column { name: name.clone(), input: input.clone(), rows: rows.collect() }),
            }
        }
    }
    columns.retain(|column| !column.rows.is_empty());
    for column in &mut columns {
        column.rows.sort_by_key(|(time, _)| *time);
        column.rows.dedup();
    }
    for (name, _) in kinds {
        if !columns.is_empty() && !columns.iter().any(|column| column.name == *name) {
            notices.push(Notice::new("capture.json", format!("counter `{name}` has no column in the tables of counters")));
        }
    }
    let kinds: Vec<CounterKind> = columns.iter_mut().map(|column| kind(column, kinds, notices)).collect();
    let times: Vec<i64> = timeline.snapshots.iter().map(|snapshot| snapshot.unix_ms).collect();
    for (i, snapshot) in timeline.snapshots.iter_mut().enumerate() {
        let gaps = [i.checked_sub(1).and_then(|before| times.get(before)), times.get(i + 1)];
        let nearest = gaps.into_iter().flatten().map(|time| time.abs_diff(times[i])).filter(|&gap| gap > 0).min();
        let reach = nearest.map_or(LONE_GAP_MS as u64, |gap| gap / 2);
        snapshot.counters = columns.iter().map(|column| at(&column.rows, times[i], reach)).collect();
    }
    let missing = timeline.snapshots.iter().filter(|snapshot| snapshot.counters.iter().all(Option::is_none)).count();
    if !columns.is_empty() && missing > 0 {
        let total = timeline.snapshots.len();
        notices.push(Notice::new(
            &columns[0].input,
            format!("{missing} of {total} snapshots have no row of counters within half the time to the next snapshot"),
        ));
    }
    timeline.counters = columns.into_iter().zip(kinds).map(|(column, kind)| Counter { name: column.name, kind }).collect();
}

/// As stated, else by behavior: a counter that never falls is cumulative. A cumulative one that falls was
/// reset: it is carried on, so that work done before is not forgotten.
fn kind(column: &mut Column, stated: &[(String, String)], notices: &mut Vec<Notice>) -> CounterKind {
    let stated = stated.iter().find(|(name, _)| *name == column.name).map(|(_, kind)| kind.as_str());
    let falls = column.rows.windows(2).any(|pair| pair[1].1 < pair[0].1);
    match stated {
        Some("cumulative") => {
            let mut carried = 0.0;
            let mut last = f64::NEG_INFINITY;
            for (time, value) in &mut column.rows {
                if *value < last {
                    carried += last;
                    notices.push(Notice::new(
                        &column.input,
                        format!(
                            "counter `{}` falls from {last} to {value} at {time}: taken as a reset, counted on from there",
                            column.name
                        ),
                    ));
                }
                last = *value;
                *value += carried;
            }
            CounterKind::Cumulative
        }
        Some("gauge") => CounterKind::Gauge,
        other => {
            if let Some(other) = other {
                notices.push(Notice::new(
                    "capture.json",
                    format!("counter `{}` is `{other}`: expected `cumulative` or `gauge`; told by its values", column.name),
                ));
            }
            if let Some((time, from, to)) = reset(&column.rows) {
                notices.push(Notice::new(
                    &column.input,
                    format!(
                        "counter `{0}` falls from {from} to {to} at {time}, and at no other time: not used for growth per unit, because it \
                         may go up and down; if it was reset there, put \"counters\": {{\"{0}\": \"cumulative\"}} into capture.json",
                        column.name
                    ),
                ));
            }
            if falls { CounterKind::Gauge } else { CounterKind::Cumulative }
        }
    }
}

/// The one fall of a column that otherwise rises, where it is to next to nothing: the look of a counter that began anew.
fn reset(rows: &[(i64, f64)]) -> Option<(i64, f64, f64)> {
    /// What is left after a reset, as a share of what was counted.
    const LEFT: f64 = 0.1;
    const RISES: usize = 3;
    let pairs = || rows.windows(2).map(|pair| (pair[1].0, pair[0].1, pair[1].1));
    let mut falls = pairs().filter(|(_, from, to)| to < from);
    let fall = falls.next().filter(|(_, from, to)| *to <= LEFT * from)?;
    (falls.next().is_none() && pairs().filter(|(_, from, to)| to > from).count() >= RISES).then_some(fall)
}

/// The value nearest to `time`, at most `reach` away.
fn at(rows: &[(i64, f64)], time: i64, reach: u64) -> Option<f64> {
    let after = rows.partition_point(|(t, _)| *t < time);
    let candidates = [after.checked_sub(1).and_then(|before| rows.get(before)), rows.get(after)];
    let best = candidates.into_iter().flatten().min_by_key(|(t, _)| t.abs_diff(time))?;
    (best.0.abs_diff(time) <= reach).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::snapshot::{Snapshot, TimeSource};

    fn timeline(times: &[i64]) -> Timeline {
        let snapshots = times.iter().map(|&time| Snapshot::empty(time.to_string(), time, TimeSource::Name)).collect();
        Timeline { snapshots, ..Timeline::default() }
    }

    fn table(rows: &[(i64, f64)]) -> Counters {
        Counters { names: vec!["requests".into()], rows: rows.iter().map(|&(time, value)| (time, vec![Some(value)])).collect() }
    }

    #[track_caller]
    fn check(times: &[i64], rows: &[(i64, f64)], stated: &str, expected: &[Option<f64>], kind: CounterKind, notices: usize) {
        let mut timeline = timeline(times);
        let mut said = Vec::new();
        attach(&mut timeline, vec![("counters.csv".into(), table(rows))], &[("requests".into(), stated.into())], &mut said);
        let values: Vec<Option<f64>> = timeline.snapshots.iter().map(|s| s.counters[0]).collect();
        assert_eq!((values.as_slice(), timeline.counters[0].kind, said.len()), (expected, kind, notices), "{said:?}");
    }

    #[test]
    fn the_nearest_row_within_half_a_gap() {
        check(
            &[1000, 2000, 3000],
            &[(990, 1.0), (2400, 2.0), (3600, 3.0)],
            "cumulative",
            &[Some(1.0), Some(2.0), None],
            CounterKind::Cumulative,
            1,
        );
    }

    #[test]
    fn a_reset_is_said_and_counted_on() {
        check(
            &[1000, 2000, 3000],
            &[(1000, 10.0), (2000, 2.0), (3000, 5.0)],
            "cumulative",
            &[Some(10.0), Some(12.0), Some(15.0)],
            CounterKind::Cumulative,
            1,
        );
        check(
            &[1000, 2000, 3000],
            &[(1000, 10.0), (2000, 2.0), (3000, 5.0)],
            "gauge",
            &[Some(10.0), Some(2.0), Some(5.0)],
            CounterKind::Gauge,
            0,
        );
        check(
            &[1000, 2000, 3000],
            &[(1000, 10.0), (2000, 2.0), (3000, 5.0)],
            "?",
            &[Some(10.0), Some(2.0), Some(5.0)],
            CounterKind::Gauge,
            1,
        );
    }

    #[test]
    fn what_looks_like_a_reset_is_said_where_nothing_is_stated() {
        let rows = |values: &[f64]| values.iter().zip(1..).map(|(&value, at)| (at * 1000, value)).collect::<Vec<(i64, f64)>>();
        assert_eq!(reset(&rows(&[10.0, 20.0, 30.0, 1.0, 9.0])), Some((4000, 30.0, 1.0)));
        assert_eq!(reset(&rows(&[10.0, 20.0, 30.0, 25.0, 29.0])), None, "a queue");
        assert_eq!(reset(&rows(&[10.0, 0.0, 30.0, 0.0, 9.0, 10.0])), None, "a queue that is emptied");
        assert_eq!(reset(&rows(&[10.0, 20.0, 30.0])), None);
        let mut said = Vec::new();
        let table = Counters {
            names: vec!["requests".into()],
            rows: rows(&[1.0, 2.0, 3.0, 0.0, 2.0]).into_iter().map(|(t, v)| (t, vec![Some(v)])).collect(),
        };
        attach(&mut timeline(&[1000, 2000]), vec![("counters.csv".into(), table)], &[], &mut said);
        assert!(said[0].to_string().contains("counter `requests` falls from 3 to 0 at 4000, and at no other time"), "{said:?}");
    }
}
