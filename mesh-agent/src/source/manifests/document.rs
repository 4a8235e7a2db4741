//! Cuts a file into its documents, so that a mistake in one does not hide the others.

/// One document of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Document<'a> {
    /// Counted from 1, documents without content left out.
    pub(super) number: usize,
    /// How many lines of the file come before [`Self::text`].
    pub(super) lines_before: u64,
    /// Line of the file where the content begins, counted from 1.
    pub(super) line: u64,
    /// The document, its `---` included.
    pub(super) text: &'a str,
}

/// The documents of a YAML stream. `---` at the begin of a line starts a document whatever surrounds it,
/// and `...` ends one (YAML 1.2, section 9.1.2), so no parser is needed to find them.
pub(super) fn documents(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut content) = (0, 0, None);
    let (mut at, mut line_number) = (0, 0);
    for line in text.split_inclusive('\n') {
        let (opens, closes) = (is_marker(line, "---"), is_marker(line, "..."));
        if opens {
            push(&mut documents, &text[start..at], start_line, content.take());
            (start, start_line) = (at, line_number);
        }
        at += line.len();
        line_number += 1;
        if closes {
            push(&mut documents, &text[start..at], start_line, content.take());
            (start, start_line) = (at, line_number);
        } else if has_content(if opens { &line[3..] } else { line }) {
            content.get_or_insert(line_number);
        }
    }
    push(&mut documents, &text[start..], start_line, content);
    documents
}

fn push<'a>(documents: &mut Vec<Document<'a>>, text: &'a str, lines_before: u64, line: Option<u64>) {
    if let Some(line) = line {
        documents.push(Document {
            number: documents.len() + 1,
            lines_before,
            line,
            text,
        });
    }
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether a line is more than white space, a comment or a directive such as `%YAML 1.2`.
fn has_content(line: &str) -> bool {
    let text = line.trim_start();
    !(text.is_empty() || text.starts_with('#') || line.starts_with('%'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<(usize, u64, u64, &str)> {
        let documents = documents(text).into_iter();
        documents
            .map(|it| (it.number, it.lines_before, it.line, it.text))
            .collect()
    }

    #[test]
    fn documents_are_cut_at_their_markers() {
        for (text, expected) in [
            ("", vec![]),
            ("# nothing\n\n---\n# still nothing\n---\n", vec![]),
            ("a: 1", vec![(1, 0, 1, "a: 1")]),
            ("a: 1\n", vec![(1, 0, 1, "a: 1\n")]),
            ("---\na: 1\n", vec![(1, 0, 2, "---\na: 1\n")]),
            (
                "a: 1\n---\nb: 1\n",
                vec![(1, 0, 1, "a: 1\n"), (2, 1, 3, "---\nb: 1\n")],
            ),
            (
                "a: 1\r\n---\r\nb: 1\r\n",
                vec![(1, 0, 1, "a: 1\r\n"), (2, 1, 3, "---\r\nb: 1\r\n")],
            ),
            ("---\n---\n# c\nb: 1\n", vec![(1, 1, 4, "---\n# c\nb: 1\n")]),
            ("--- {a: 1}\n", vec![(1, 0, 1, "--- {a: 1}\n")]),
            ("--- # why\na: 1\n", vec![(1, 0, 2, "--- # why\na: 1\n")]),
            ("%YAML 1.2\n---\na: 1\n", vec![(1, 1, 3, "---\na: 1\n")]),
            (
                "a: 1\n...\nb: 1\n",
                vec![(1, 0, 1, "a: 1\n...\n"), (2, 2, 3, "b: 1\n")],
            ),
            (
                "a: ---\nb: x---\n ---\n",
                vec![(1, 0, 1, "a: ---\nb: x---\n ---\n")],
            ),
            ("----\n", vec![(1, 0, 1, "----\n")]),
            ("\u{feff}a: 1\n", vec![(1, 0, 1, "a: 1\n")]),
        ] {
            assert_eq!(cut(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_block_of_text_ends_at_a_marker() {
        assert_eq!(cut("a: |\n  x\n---\nb: 1\n").len(), 2);
        assert_eq!(cut("a: |\n  x\n  ---\n  y\n").len(), 1);
    }
}
