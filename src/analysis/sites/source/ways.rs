//! What becomes of a variable on the ways out of a function, told from its text.
//!
//! Blocks are followed in their order. A block that ends in a way out (`return`, `break` is none) says nothing of what follows
//! it; any other block counts as run, so that a conditional taking back clears: what is said is never more than "some way".

use super::arguments;
use super::items::Function;
use super::tokens::{Kind, Tokens};
use crate::binary::catalogue::SiteKind;
use std::ops::Range;

/// What becomes of a pointer, or of a value in a `ManuallyDrop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Every way out takes it back.
    TakenBack,
    /// Some way out neither takes it back nor hands it on.
    Lost,
    /// Some way out hands it to someone else.
    HandedOn,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    taken: bool,
    handed: bool,
}

struct Walk<'w, 't> {
    tokens: &'w Tokens<'t>,
    variable: &'w str,
    kind: SiteKind,
    lost: bool,
    handed: bool,
}

/// Follows `variable` from the token `from` to the end of the function.
pub fn fate(tokens: &Tokens<'_>, function: &Function, from: usize, variable: &str, kind: SiteKind) -> Fate {
    let mut walk = Walk { tokens, variable, kind, lost: false, handed: false };
    let mut state = State::default();
    let mut start = from;
    let mut ended = false;
    // From the innermost block outwards: the rest of each.
    loop {
        let open = tokens.enclosing(start, function.body.start.saturating_sub(1)).unwrap_or(function.body.start.saturating_sub(1));
        let outermost = open < function.body.start;
        let end = if outermost { function.body.end } else { tokens.partner[open] };
        ended |= walk.block(start..end, &mut state);
        if outermost || ended {
            break;
        }
        start = end + 1;
    }
    if !ended {
        walk.leave(state);
    }
    match (walk.lost, walk.handed) {
        (true, _) => Fate::Lost,
        (false, true) => Fate::HandedOn,
        (false, false) => Fate::TakenBack,
    }
}

impl Walk<'_, '_> {
    fn leave(&mut self, state: State) {
        if !state.taken {
            self.lost |= !state.handed;
            self.handed |= state.handed;
        }
    }

    /// Follows a block; whether every way through it leaves the function.
    fn block(&mut self, range: Range<usize>, state: &mut State) -> bool {
        let tokens = self.tokens;
        let mut at = range.start;
        while at < range.end {
            match tokens.text(at) {
                "{" if tokens.partner[at] > at && tokens.list[at].kind == Kind::Punct => {
                    let close = tokens.partner[at];
                    let mut inner = *state;
                    if !self.block(at + 1..close, &mut inner) {
                        *state = inner;
                    }
                    at = close;
                }
                "return" => {
                    let end = (at..range.end).find(|&end| tokens.is(end, ";")).unwrap_or(range.end);
                    let mut last = *state;
                    self.uses(at + 1..end, &mut last);
                    self.leave(last);
                    return true;
                }
                "?" => self.leave(*state),
                _ => self.token(at, state),
            }
            at += 1;
        }
        false
    }

    fn uses(&mut self, range: Range<usize>, state: &mut State) {
        for at in range {
            self.token(at, state);
        }
    }

    fn token(&mut self, at: usize, state: &mut State) {
        let tokens = self.tokens;
        // A call that takes it back: the variable stands in its arguments.
        let takes = matches!(
            (self.kind, tokens.text(at)),
            (SiteKind::ManuallyDrop, "into_inner" | "take" | "drop" | "drop_in_place" | "from_raw_parts" | "read")
                | (_, "from_raw" | "from_raw_in" | "from_non_null" | "from_raw_parts" | "decrement_strong_count")
        );
        if takes
            && let Some(inside) = arguments(tokens, at)
            && inside.clone().any(|part| tokens.is(part, self.variable))
            && (self.kind != SiteKind::ManuallyDrop || tokens.text(at) != "drop" || tokens.is_path_sign(at.wrapping_sub(2)))
        {
            state.taken = true;
        }
        if !tokens.is(at, self.variable) || !tokens.is_word(at) {
            return;
        }
        let before = tokens.text(at.wrapping_sub(1));
        let borrowed = before == "&" || before == "mut" && tokens.is(at.wrapping_sub(2), "&") || before == "*";
        // A field of something else, a name in a declaration or a struct's field.
        let other = before == "." || before == "let" || before == "mut" && tokens.is(at.wrapping_sub(2), "let");
        let is_label = tokens.is(at + 1, ":") && !tokens.is_path_sign(at + 1);
        if borrowed || other || is_label {
            return;
        }
        if tokens.is(at + 1, ".") {
            let pointer = matches!(
                tokens.text(at + 2),
                "as_mut_ptr"
                    | "as_ptr"
                    | "into_raw_parts"
                    | "as_mut_slice"
                    | "cast"
                    | "add"
                    | "offset"
                    | "cast_mut"
                    | "cast_const"
                    | "expose_provenance"
            );
            state.handed |= pointer;
            return;
        }
        state.handed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::super::items::Items;
    use super::*;

    #[track_caller]
    fn check(body: &str, kind: SiteKind, expected: Fate) {
        let text = format!("fn f() {{ let p = START; {body} }}");
        let tokens = Tokens::new(&text);
        let items = Items::read(&tokens);
        let from = (0..tokens.len()).find(|&at| tokens.is(at, "START")).unwrap() + 1;
        assert_eq!(fate(&tokens, &items.functions[0], from, "p", kind), expected, "{body}");
    }

    #[test]
    fn raw_pointers() {
        let check = |body, expected| check(body, SiteKind::BoxLeak, expected);
        check("unsafe { drop(Box::from_raw(p)) };", Fate::TakenBack);
        check("let p = black_box(p); let d = unsafe { Box::from_raw(p) }; d.len()", Fate::TakenBack);
        check("if bad() { return; } unsafe { drop(Box::from_raw(p)) };", Fate::Lost);
        check("work()?; unsafe { drop(Box::from_raw(p)) };", Fate::Lost);
        check("if register(p) == 0 { drop(Box::from_raw(p)); return; } count();", Fate::HandedOn);
        check("p.is_null(); (*p).x", Fate::Lost);
        check("self.p = p;", Fate::HandedOn);
        check("p as usize", Fate::HandedOn);
    }

    #[test]
    fn values_that_are_kept() {
        let check = |body, expected| check(body, SiteKind::ManuallyDrop, expected);
        check(
            "if p.len() < 6 { let v = ManuallyDrop::into_inner(p); return Err(v) } if sum(&p) != x { return Err(p.len()); } Ok((p.as_mut_ptr(), p.len()))",
            Fate::Lost,
        );
        check("if p.len() < 6 { let v = ManuallyDrop::into_inner(p); return Err(v) } Ok((p.as_mut_ptr(), p.len()))", Fate::HandedOn);
        check("unsafe { ManuallyDrop::drop(&mut p) }", Fate::TakenBack);
        check("unsafe { Vec::from_raw_parts(p.as_mut_ptr(), p.len(), p.capacity()) }", Fate::TakenBack);
        check("p.len()", Fate::Lost);
    }
}
