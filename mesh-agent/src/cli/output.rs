//! How answers are written.

pub mod document;
pub mod style;
pub mod table;
pub mod unit;

use serde::Serialize;

use self::table::{Align, Column, table};
use super::{args::Format, failure::Failure};

/// An object of a list.
pub trait Item: Serialize {
    /// The kind, as JSON and YAML name it.
    const KIND: &'static str;
    /// The kind, as the command line names it.
    const NOUN: &'static str;
    /// Columns of the table.
    const COLUMNS: &'static [Column];
    /// Columns that `-o wide` adds.
    const WIDE: &'static [Column] = &[];

    /// The name, as the command line takes it.
    fn name(&self) -> String;
    /// A cell for each of [`Self::COLUMNS`].
    fn cells(&self) -> Vec<String>;
    /// A cell for each of [`Self::WIDE`].
    fn wide_cells(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A thing that is shown alone.
pub trait Detail: Serialize {
    /// The kind, as JSON and YAML name it.
    const KIND: &'static str;

    /// `kind/name`; `None` for what is no object of its own.
    fn name(&self) -> Option<String> {
        None
    }
    /// For people; ends with a newline.
    fn text(&self) -> String;
}

/// Writes a list.
///
/// # Errors
/// Where the list can't be serialised.
pub fn list<T: Item>(items: &[T], format: Format) -> Result<String, Failure> {
    match format {
        Format::Table => Ok(items_table(items, false)),
        Format::Wide => Ok(items_table(items, true)),
        Format::Name => Ok(names(items)),
        Format::Json => document::json(&document::List::new(T::KIND, items)),
        Format::Yaml => document::yaml(&document::List::new(T::KIND, items)),
    }
}

/// Writes one thing.
///
/// # Errors
/// A usage error for the name of what has none; otherwise where it can't be serialised.
pub fn one<T: Detail>(value: &T, format: Format) -> Result<String, Failure> {
    match format {
        Format::Table | Format::Wide => Ok(value.text()),
        Format::Json => document::json(&document::One::new(T::KIND, value)),
        Format::Yaml => document::yaml(&document::One::new(T::KIND, value)),
        Format::Name => {
            let no_name = || Failure::usage("-o name is for objects: choose table, wide, json or yaml");
            value.name().map(|name| name + "\n").ok_or_else(no_name)
        }
    }
}

/// The table of a list, as a part of a longer text.
pub fn items_table<T: Item>(items: &[T], wide: bool) -> String {
    let columns = if wide {
        [T::COLUMNS, T::WIDE].concat()
    } else {
        T::COLUMNS.to_vec()
    };
    let cells = |item: &T| {
        let mut cells = item.cells();
        if wide {
            cells.extend(item.wide_cells());
        }
        cells
    };
    table(&columns, items.iter().map(cells))
}

/// Each name once: a service with several ports is one service.
fn names<T: Item>(items: &[T]) -> String {
    let mut lines: Vec<String> = items
        .iter()
        .map(|item| format!("{}/{}\n", T::NOUN, item.name()))
        .collect();
    lines.dedup();
    lines.concat()
}

/// A column of text.
pub const fn text(head: &'static str) -> Column {
    Column {
        head,
        align: Align::Left,
    }
}

/// A column of numbers.
pub const fn number(head: &'static str) -> Column {
    Column {
        head,
        align: Align::Right,
    }
}

/// A cell for what may not be there.
pub fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Items separated by commas, or a dash.
pub fn joined<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    or_dash((!items.is_empty()).then(|| items.join(",")))
}
