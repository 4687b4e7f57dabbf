//! What one page has in it: places to link to, links, and samples of code.

use std::collections::BTreeSet;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// One page.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) name: String,
    pub(super) anchors: BTreeSet<String>,
    pub(super) links: Vec<String>,
    pub(super) samples: Vec<Sample>,
}

/// A block of code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) language: String,
    pub(super) code: String,
    /// The block of `text` that follows at once: what it prints.
    pub(super) printed: Option<String>,
}

impl Page {
    pub(super) fn parse(name: String, text: &str) -> Self {
        let mut page = Self { name, anchors: BTreeSet::new(), links: Vec::new(), samples: Vec::new() };
        let mut heading = None::<String>;
        let mut block = None::<Sample>;
        // Whether the last thing on the page is a sample whose output may follow.
        let mut open = false;
        for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    page.anchors.extend(heading.take().map(|text| anchor(&text)));
                }
                Event::Start(Tag::Link { dest_url, .. }) => page.links.push(dest_url.into_string()),
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                    block = Some(Sample { language: language.into_string(), code: String::new(), printed: None });
                    continue;
                }
                Event::End(TagEnd::CodeBlock) => {
                    let Some(sample) = block.take() else { continue };
                    match page.samples.last_mut() {
                        Some(last) if open && sample.language == "text" => last.printed = Some(sample.code),
                        _ => page.samples.push(sample),
                    }
                    open = true;
                    continue;
                }
                Event::Text(text) | Event::Code(text) => {
                    if let Some(sample) = &mut block {
                        sample.code.push_str(&text);
                        continue;
                    }
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                _ => {}
            }
            open = false;
        }
        page
    }
}

/// What mdBook makes of a heading, and GitHub as well.
fn anchor(heading: &str) -> String {
    heading
        .chars()
        .filter_map(|char| match char {
            ' ' => Some('-'),
            char if char.is_alphanumeric() || matches!(char, '-' | '_') => Some(char.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_its_headings_links_and_samples() {
        let text = "# The `log`, and why\n[a](b.md#c)\n```js\none\n```\n```text\nprinted\n```\n\n```py\ntwo\n```\nwords\n```text\nno output\n```\n";
        let page = Page::parse("p.md".to_owned(), text);
        assert_eq!(page.anchors.iter().collect::<Vec<_>>(), ["the-log-and-why"]);
        assert_eq!(page.links, ["b.md#c"]);
        let sample = |language: &str, code: &str, printed: Option<&str>| Sample {
            language: language.to_owned(),
            code: code.to_owned(),
            printed: printed.map(str::to_owned),
        };
        assert_eq!(
            page.samples,
            [
                sample("js", "one\n", Some("printed\n")),
                sample("py", "two\n", None),
                sample("text", "no output\n", None)
            ]
        );
    }
}
