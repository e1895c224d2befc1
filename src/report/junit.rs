//! JUnit XML: gates as test cases, for the test tab of a build server. The format is a convention (Ant's JUnit task,
//! read by Jenkins, GitLab and GitHub actions), not a standard; only the elements that all of them know are written.
//!
//! ```xml
//! <testsuites tests="1" failures="1" errors="0">
//!   <testsuite name="heaptriage check" tests="1" failures="1" errors="0" skipped="0">
//!     <testcase classname="heaptriage" name="--max-growth 5.0 MiB"><failure message="...">...</failure></testcase>
//!   </testsuite>
//! </testsuites>
//! ```

use super::xml::escaped;
use crate::analysis::finding::Suspect;
use crate::analysis::gate::{Checked, State};
use crate::units::signed_iec;

/// The whole document; `suspects` are those that `checked` has positions of.
pub fn render(checked: &Checked, suspects: &[Suspect]) -> String {
    let count = |state: State| checked.gates.iter().filter(|gate| gate.state == state).count();
    let totals = format!("tests=\"{}\" failures=\"{}\" errors=\"{}\"", checked.gates.len(), count(State::Failed), count(State::NotJudged));
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {totals}>\n  <testsuite name=\"heaptriage check\" {totals} skipped=\"0\">\n"
    );
    for gate in &checked.gates {
        out.push_str(&format!("    <testcase classname=\"heaptriage\" name=\"{}\">", escaped(&gate.label)));
        let element = match gate.state {
            State::Passed => None,
            State::Failed => Some("failure"),
            State::NotJudged => Some("error"),
        };
        if let Some(element) = element {
            let mut detail = format!("{}\n", gate.message);
            for suspect in gate.suspects.iter().filter_map(|&index| suspects.get(index)) {
                detail.push_str(&format!(
                    "{} {} {} {}{}\n",
                    suspect.fingerprint,
                    suspect.pattern.unwrap_or(suspect.kind.word()),
                    signed_iec(suspect.growth.estimate),
                    suspect.owner.function,
                    place(suspect)
                ));
            }
            out.push_str(&format!("<{element} message=\"{}\">{}</{element}>", escaped(&gate.message), escaped(&detail)));
        }
        out.push_str("</testcase>\n");
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

fn place(suspect: &Suspect) -> String {
    match (&suspect.owner.file, suspect.owner.line) {
        (Some(file), Some(line)) => format!(" at {file}:{line}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::gate::{Limits, Seen, check};
    use crate::analysis::suppress::tests::suspect;

    #[test]
    fn gates_are_test_cases() {
        let mut one = suspect("a malloc\nu <app::Memo<\"x\"> as app::Keep>::remember\u{1b}");
        one.owner.file = Some("src/memo.rs".into());
        one.owner.line = Some(4);
        let suspects = [one];
        let limits = Limits { growth: Some(50.0), rss: Some(1e9), ..Limits::default() };
        let checked = check(Seen { suspects: &suspects, dumps: 3, rss: &[], exposures: &[] }, &limits);
        insta::assert_snapshot!(render(&checked, &suspects), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites tests="2" failures="1" errors="1">
          <testsuite name="heaptriage check" tests="2" failures="1" errors="1" skipped="0">
            <testcase classname="heaptriage" name="--max-growth 50 B"><failure message="1 suspect grew by 100 B (95 %: 90 B to 110 B)">1 suspect grew by 100 B (95 %: 90 B to 110 B)&#10;a41f09c25b7e11d0 unbounded_map +100 B &lt;app::Memo&lt;&quot;x&quot;&gt; as app::Keep&gt;::remember� at src/memo.rs:4&#10;</failure></testcase>
            <testcase classname="heaptriage" name="--max-rss 953.7 MiB"><error message="the capture has neither smaps nor status: RSS is not known">the capture has neither smaps nor status: RSS is not known&#10;</error></testcase>
          </testsuite>
        </testsuites>
        "#);
    }
}
