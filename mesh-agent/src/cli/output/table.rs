//! Tables as kubectl writes them: columns, no frame.

use comfy_table::{Cell, CellAlignment, Table, presets::NOTHING};

/// A column.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Column {
    /// Its head.
    pub head: &'static str,
    /// Where its cells stand.
    pub align: Align,
}

/// Where a cell stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Writes a table; every line ends with a newline and without blanks.
pub fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).force_no_tty();
    table.set_header(columns.iter().map(|column| cell(column, column.head)));
    for row in rows {
        table.add_row(columns.iter().zip(row).map(|(column, text)| cell(column, &text)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.trim_fmt() + "\n"
}

/// Names and values below each other.
pub fn facts(facts: &[(&str, String)]) -> String {
    let width = facts
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0)
        + 1;
    facts
        .iter()
        .map(|(name, value)| format!("{:width$}  {value}\n", format!("{name}:")))
        .collect::<Vec<_>>()
        .concat()
}

/// Moves every line to the right.
pub fn indented(text: &str, by: usize) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("{:by$}{line}\n", "")).collect();
    lines.concat()
}

fn cell(column: &Column, text: &str) -> Cell {
    // One line a row, whatever a name holds: control characters could also make a terminal do things.
    let text: String = text
        .chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect();
    Cell::new(text).set_alignment(match column.align {
        Align::Left => CellAlignment::Left,
        Align::Right => CellAlignment::Right,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::{number, text};

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["a".into(), "10".into(), "x".into()],
            vec!["long".into(), "9".into(), String::new()],
        ];
        let shown = table(&[text("NAME"), number("N"), text("LAST")], rows);
        assert_eq!(shown, "NAME    N   LAST\na      10   x\nlong    9\n");
        assert_eq!(table(&[text("NAME"), number("N")], []), "NAME   N\n");
    }

    #[test]
    fn a_name_cannot_speak_to_the_terminal() {
        let shown = table(&[text("NAME")], [vec!["a\u{1b}[31m\nb".into()]]);
        assert_eq!(shown, "NAME\na?[31m?b\n");
    }

    #[test]
    fn facts_line_up() {
        assert_eq!(
            facts(&[("A", "1".into()), ("Long", "2".into())]),
            "A:     1\nLong:  2\n"
        );
        assert_eq!(indented("a\nb\n", 2), "  a\n  b\n");
    }
}
