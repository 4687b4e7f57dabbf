//! The report as one page that needs nothing else.

use std::fmt::Write as _;

use crate::report::{Report, Verdict};

const STYLE: &str = "
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
body { max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8884; vertical-align: top; }
thead th { position: sticky; top: 0; background: Canvas; }
td.ok { color: #17803d; } td.gap { color: #96690b; } td.failed { color: #c02626; font-weight: 600; }
.claim { display: block; } .rules, .name { color: GrayText; font-size: .85em; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #8881; padding: .6rem; }
";

/// The page.
pub fn render(report: &Report) -> String {
    let mut page = String::new();
    let totals = escape(&report.totals());
    let mut add = |text: &str| page.push_str(text);
    add(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Conformance of Everstream's clients</title>\n",
    );
    add(&format!("<style>{STYLE}</style>\n<h1>Conformance of the clients</h1>\n<p>{totals}</p>\n"));
    add("<table>\n<thead><tr><th>Case</th>");
    for (language, server) in &report.columns {
        add(&format!("<th>{}<br><small>{} server</small></th>", escape(language), escape(server)));
    }
    add("</tr></thead>\n<tbody>\n");
    for row in report.rows() {
        let Some(first) = row.cases.first() else { continue };
        let ids = first.rules.iter().chain(&first.defects).cloned().collect::<Vec<_>>().join(", ");
        add(&format!(
            "<tr><td><span class=\"claim\">{}</span><span class=\"name\">{}</span> <span class=\"rules\">{}</span></td>",
            escape(&first.claim),
            escape(&row.name),
            escape(&ids)
        ));
        for (language, server) in &report.columns {
            let cell = report.cell(&row, language, server);
            let class = match cell {
                cell if cell.failed + cell.missing > 0 => "failed",
                cell if cell.gaps > 0 => "gap",
                _ => "ok",
            };
            add(&format!("<td class=\"{class}\">{}</td>", escape(&cell.shown())));
        }
        add("</tr>\n");
    }
    add("</tbody>\n</table>\n");
    add(&failures(report));
    add(&gaps(report));
    page
}

fn failures(report: &Report) -> String {
    let mut text = String::new();
    for outcome in report.failures() {
        let Verdict::Failed(why) = &outcome.verdict else { continue };
        let (case, language, server) = (escape(&outcome.case), escape(&outcome.language), escape(&outcome.server));
        writeln!(
            text,
            "<details open><summary>{case} with {language} on {server}</summary><pre>{}</pre></details>",
            escape(why)
        )
        .expect("a string takes everything");
    }
    if text.is_empty() { text } else { format!("<h2>Failures</h2>\n{text}") }
}

fn gaps(report: &Report) -> String {
    let mut reasons: Vec<(&str, &str, &str)> = report
        .outcomes
        .iter()
        .filter_map(|outcome| match &outcome.verdict {
            Verdict::Gap(reason) => Some((outcome.server.as_str(), outcome.case.as_str(), reason.as_str())),
            _ => None,
        })
        .collect();
    reasons.sort_unstable();
    reasons.dedup();
    if reasons.is_empty() {
        return String::new();
    }
    let mut text = "<h2>Known gaps</h2>\n<ul>\n".to_owned();
    for (server, case, reason) in reasons {
        writeln!(text, "<li>{} on {}: {}</li>", escape(case), escape(server), escape(reason))
            .expect("a string takes everything");
    }
    text + "</ul>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Outcome;
    use std::time::Duration;

    #[test]
    fn a_failure_is_told_in_full_and_escaped() {
        let outcome = Outcome {
            case: "a/b".into(),
            language: "rust".into(),
            server: "ours".into(),
            verdict: Verdict::Failed("expected <x>".into()),
            time: Duration::ZERO,
        };
        let report =
            Report { columns: vec![("rust".into(), "ours".into())], outcomes: vec![outcome], ..Report::default() };
        let page = render(&report);
        assert!(page.contains("expected &lt;x&gt;"), "{page}");
        assert!(page.contains("1 failed"), "{page}");
    }
}
