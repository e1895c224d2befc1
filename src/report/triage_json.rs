//! `report --format json`: schema `heaptriage/report/1`. Keys may be added, never renamed or removed; integers are
//! bytes, addresses are hex strings (JavaScript loses 64-bit integers).

use super::wire::{TOOL, symbol, warning};
use crate::analysis::estimate::Interval;
use crate::analysis::finding::{Cleared, FrameView, Suspect};
use crate::analysis::triage::Triage;
use crate::model::frame::Symbols;
use crate::origin::Notice;
use serde_json::{Value, json};

/// The schema's name and version.
pub const SCHEMA: &str = "heaptriage/report/1";

/// The whole report.
pub fn value(triage: &Triage, symbols: &Symbols, notices: &[Notice]) -> Value {
    let summary = &triage.summary;
    let ledger = &triage.ledger;
    let coverage = ledger.coverage.map(|c| json!({"estimate": c.estimate, "low": c.low, "high": c.high}));
    let rss = &ledger.rss;
    let ends = (rss.first().copied().unwrap_or(0), rss.last().copied().unwrap_or(0));
    json!({
        "schema": SCHEMA,
        "tool": TOOL,
        "capture": {
            "process": summary.process,
            "pid": summary.pid,
            "snapshots": summary.snapshots,
            "first_unix_ms": summary.timed.then_some(summary.first_unix_ms),
            "last_unix_ms": summary.timed.then_some(summary.last_unix_ms),
            "sources": summary.sources,
            "sampling_interval_bytes": summary.sampling_interval,
            "allocator": summary.allocator,
        },
        "verdict": {
            "kind": triage.verdict.kind.word(),
            "also": triage.verdict.also.iter().map(|k| k.word()).collect::<Vec<_>>(),
            "confidence": triage.verdict.confidence.word(),
            "summary": triage.verdict.summary,
        },
        "ledger": {
            "rows": ledger.rows.iter().map(|row| json!({
                "kind": row.kind.word(),
                "label": row.label,
                "basis": row.basis.to_string(),
                "source": row.source,
                "first_bytes": row.first(),
                "last_bytes": row.last(),
                "growth_bytes": row.growth(),
            })).collect::<Vec<_>>(),
            "rss": {
                "first_bytes": ends.0,
                "last_bytes": ends.1,
                "growth_bytes": ends.1 as i64 - ends.0 as i64,
                "source": ledger.rss_source.to_string(),
            },
            "coverage": coverage,
            "beside": ledger.notes,
        },
        "suspects": triage.suspects.iter().filter(|s| s.suppressed.is_none()).map(suspect).collect::<Vec<_>>(),
        "suppressed": triage.suspects.iter().filter(|s| s.suppressed.is_some()).map(|s| json!({
            "fingerprint": s.fingerprint, "kind": s.kind.word(), "growth_bytes": interval(&s.growth),
            "owner": owner(&s.owner), "reason": s.suppressed,
        })).collect::<Vec<_>>(),
        "cleared": triage.cleared.iter().map(cleared).collect::<Vec<_>>(),
        "advice": super::advice::value(triage),
        "slabs": triage.slabs.as_ref().map(super::slabs::value),
        "suppression_remarks": triage.suppression.remarks(),
        "blind_spot": triage.blind_spot,
        "missing": triage.missing.iter().map(|m| json!({"fact": m.fact, "consequence": m.consequence, "remedy": m.remedy})).collect::<Vec<_>>(),
        "symbols": symbols.modules.iter().map(symbol).collect::<Vec<_>>(),
        "warnings": notices.iter().map(warning).collect::<Vec<_>>(),
    })
}

/// Whole bytes with the interval.
pub fn interval(interval: &Interval) -> Value {
    let whole = |v: f64| if v.is_finite() { json!(v.round() as i64) } else { Value::Null };
    json!({"estimate": whole(interval.estimate), "low": whole(interval.low), "high": whole(interval.high)})
}

/// The same with fractions, for rates.
pub fn fractional(interval: &Interval) -> Value {
    let finite = |v: f64| if v.is_finite() { json!((v * 1000.0).round() / 1000.0) } else { Value::Null };
    json!({"estimate": finite(interval.estimate), "low": finite(interval.low), "high": finite(interval.high)})
}

/// One suspect.
pub fn suspect(s: &Suspect) -> Value {
    let rate = |r: &crate::analysis::finding::Rate| json!({"per": r.per, "bytes": fractional(&r.bytes), "r2": r.r2});
    json!({
        "fingerprint": s.fingerprint,
        "kind": s.kind.word(),
        "pattern": s.pattern,
        "confidence": s.confidence.word(),
        "growth_bytes": interval(&s.growth),
        "fitted_bytes": s.fitted.as_ref().map(interval),
        "shape": s.shape.word(),
        "grew_in_intervals": s.rises.0,
        "intervals": s.rises.1,
        "rate": s.rates.first().map(rate),
        "rates": s.rates.iter().map(rate).collect::<Vec<_>>(),
        "survival": s.survival,
        "owner": owner(&s.owner),
        "operation": s.operation,
        "stack": s.stack.iter().map(frame).collect::<Vec<_>>(),
        "stacks": s.stacks,
        "live_bytes": s.levels.iter().map(|l| l.round() as i64).collect::<Vec<_>>(),
        "sites": s.sites.iter().map(|site| json!({
            "kind": site.kind, "type": site.type_name, "function": site.function,
            "file": site.file, "line": site.line, "tier": site.tier,
            "owns_via": site.owns_via, "via": site.via, "complete": site.complete, "binary": site.binary,
            "addresses": site.addresses.iter().map(|address| format!("{address:#x}")).collect::<Vec<_>>(),
            "explains": if site.explains { "yes" } else { "possibly" },
        })).collect::<Vec<_>>(),
        "holder": s.holder,
        "cycle": s.cycle,
        "evidence": s.evidence.iter().map(|e| json!({"claim": e.claim, "source": e.source})).collect::<Vec<_>>(),
        "source_lines": s.source.iter().map(|(line, text)| json!({"line": line, "text": text})).collect::<Vec<_>>(),
        "refuted_by": s.refuted_by,
        "remedy": s.remedy,
        "keywords": s.keywords,
    })
}

fn cleared(c: &Cleared) -> Value {
    json!({
        "kind": c.kind.word(),
        "growth_bytes": interval(&c.growth),
        "owner": c.owner.as_ref().map(owner),
        "reason": c.reason,
        "live_bytes": c.levels.iter().map(|l| l.round() as i64).collect::<Vec<_>>(),
    })
}

fn owner(o: &FrameView) -> Value {
    json!({"function": o.function, "file": o.file, "line": o.line, "crate": o.krate})
}

fn frame(f: &FrameView) -> Value {
    let hex = |address: Option<u64>| address.map(|a| format!("{a:#x}"));
    json!({
        "function": f.function,
        "file": f.file,
        "line": f.line,
        "module": f.module,
        "address": hex(f.address),
        "svma": hex(f.svma),
        "inlined": f.inlined,
        "hidden": f.hidden,
        "crate": f.krate,
    })
}
