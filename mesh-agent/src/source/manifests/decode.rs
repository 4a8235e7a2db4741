//! From the text of files to objects, on as many threads as there are processors: parsing YAML is what a
//! large directory costs.

use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;
use serde_saphyr::{Options, alias_limits, budget};

use super::document::{Document, documents};
use super::kind::{Item, items};
use super::locate;
use super::problem::{Fault, Note, Place, Problem};
use crate::model::object::Object;

#[cfg(test)]
mod tests;

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// Its objects and where they are.
    pub objects: Vec<(Object, Place)>,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
    /// What is in it besides.
    pub notes: Vec<Note>,
}

/// A file to decode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Its text.
    pub(super) text: &'a str,
}

/// Lines are looked up for the first mistakes of a document only.
const MAX_LINES: usize = 8;

/// Less text than this is not worth a thread.
const BYTES_PER_THREAD: usize = 128 * 1024;

/// Most threads used.
const MAX_THREADS: usize = 8;

/// Decodes files, in their order.
pub(super) fn decode(files: &[Source<'_>]) -> Vec<Contents> {
    let mut contents: Vec<Contents> = files.iter().map(|_| Contents::default()).collect();
    let mut tasks = Vec::new();
    for (index, file) in files.iter().enumerate() {
        if is_json(file.name) {
            contents[index] = decode_json(file);
        } else {
            tasks.extend(documents(file.text).into_iter().map(|it| (index, it)));
        }
    }
    let parts = in_parallel(&tasks, |(index, document)| {
        decode_yaml(files[*index].name, document)
    });
    for ((index, _), part) in tasks.iter().zip(parts) {
        contents[*index].append(part);
    }
    contents
}

fn is_json(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|it| it == "json")
}

fn decode_yaml(file: &str, document: &Document<'_>) -> Contents {
    match serde_saphyr::from_str_with_options::<Value>(document.text, options(document.text)) {
        Ok(tree) => Contents::of(file, document, &tree),
        Err(error) => {
            let line = error.location().map(|at| document.lines_before + at.line());
            Contents::broken(file, document.number, line, Fault::Syntax(explain(&error)))
        }
    }
}

/// The message of the parser without what is for programmers, and without the line: it counts from the
/// begin of the document, where one of the file is of more use.
fn explain(error: &serde_saphyr::Error) -> String {
    let error = error.without_snippet();
    if let serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } = error {
        return format!("the key {key:?} is there twice");
    }
    let text = error.to_string();
    let place = error.location();
    let place = place.map(|at| format!(" at line {}, column {}", at.line(), at.column()));
    let stripped = place.and_then(|place| text.strip_suffix(&place).map(str::to_owned));
    stripped.unwrap_or(text)
}

/// JSON is ten times as fast to read. There may be several values, one after the other.
fn decode_json(file: &Source<'_>) -> Contents {
    let mut contents = Contents::default();
    let mut values = serde_json::Deserializer::from_str(file.text).into_iter::<Value>();
    let (mut start, mut lines) = (0, 0);
    for number in 1.. {
        match values.next() {
            None => break,
            Some(Ok(tree)) => {
                let text = &file.text[start..values.byte_offset()];
                let blank = text.len() - text.trim_start().len();
                let lines_before = lines + count_lines(&text[..blank]);
                let document = Document {
                    number,
                    lines_before,
                    line: lines_before + 1,
                    text: &text[blank..],
                };
                contents.append(Contents::of(file.name, &document, &tree));
                start = values.byte_offset();
                lines += count_lines(text);
            }
            Some(Err(error)) => {
                let text = error.to_string();
                let place = format!(" at line {} column {}", error.line(), error.column());
                let text = text.strip_suffix(&place).unwrap_or(&text);
                let line = u64::try_from(error.line()).ok();
                contents.append(Contents::broken(
                    file.name,
                    number,
                    line,
                    Fault::Syntax(text.to_owned()),
                ));
                break;
            }
        }
    }
    contents
}

fn count_lines(text: &str) -> u64 {
    text.bytes().map(|byte| u64::from(byte == b'\n')).sum()
}

impl Contents {
    fn of(file: &str, document: &Document<'_>, tree: &Value) -> Self {
        let mut contents = Self::default();
        let place = Place {
            document: Some(document.number),
            line: Some(document.line),
        };
        for item in items(tree) {
            match item {
                Item::Object(object) => contents.objects.push((object, place)),
                Item::Other { api_version, kind } => contents.notes.push(Note {
                    file: file.to_owned(),
                    place,
                    api_version,
                    kind,
                }),
                Item::Wrong(wrong) => {
                    let wanted = contents.problems.len() < MAX_LINES;
                    let line = wanted
                        .then(|| locate::line(document.text, &wrong.field))
                        .flatten();
                    contents.problems.push(Problem {
                        file: file.to_owned(),
                        place: Place {
                            line: line.map(|line| document.lines_before + line),
                            ..place
                        },
                        fault: wrong.fault,
                    });
                }
            }
        }
        contents
    }

    fn broken(file: &str, document: usize, line: Option<u64>, fault: Fault) -> Self {
        Self {
            problems: vec![Problem {
                file: file.to_owned(),
                place: Place {
                    document: Some(document),
                    line,
                },
                fault,
            }],
            ..Self::default()
        }
    }

    fn append(&mut self, mut other: Self) {
        self.objects.append(&mut other.objects);
        self.problems.append(&mut other.problems);
        self.notes.append(&mut other.notes);
    }
}

/// Limits in proportion to the text: what aliases blow up is refused, what was written out is not.
pub(super) fn options(text: &str) -> Options {
    let size = text.len();
    serde_saphyr::options! {
        with_snippet: false,
        // As in YAML 1.2: a pod may be called `n` and a label may say `on`.
        strict_booleans: true,
        budget: budget! {
            max_events: 2 * size + 1_000,
            max_nodes: size + 1_000,
            max_total_scalar_bytes: 2 * size + 65_536,
            max_total_comment_bytes: size,
        },
        alias_limits: alias_limits! {
            max_total_replayed_events: 100_000,
        },
    }
}

/// Maps a list, in its order, on several threads where that pays.
fn in_parallel<'a, R: Send>(
    tasks: &[(usize, Document<'a>)],
    work: impl Fn(&(usize, Document<'a>)) -> R + Sync,
) -> Vec<R> {
    let bytes: usize = tasks.iter().map(|(_, document)| document.text.len()).sum();
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = processors.min(MAX_THREADS).min(1 + bytes / BYTES_PER_THREAD);
    if threads < 2 {
        return tasks.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = tasks.get(index) else { break done };
            done.push((index, work(task)));
        }
    };
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(worker)).collect();
        let mut results = worker();
        for other in others {
            match other.join() {
                Ok(done) => results.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
