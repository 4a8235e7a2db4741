//! All manifests below a directory.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::finding::Finding;

/// The name of the file that says what belongs together.
pub const KUSTOMIZATION: &str = "kustomization.yaml";

/// All manifests.
#[derive(Debug, Default)]
pub struct World {
    /// Every file.
    pub files: Vec<File>,
}

/// A file of documents.
#[derive(Debug)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// Its documents.
    pub documents: Vec<Value>,
}

/// A document of a file.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    /// The file.
    pub file: &'a File,
    /// Which document, counted from 1.
    pub document: usize,
    /// The document.
    pub value: &'a Value,
}

impl World {
    /// Reads them; what is no YAML is a finding.
    pub fn load(directory: &Path) -> Result<(Self, Vec<Finding>)> {
        let (mut world, mut findings) = (Self::default(), Vec::new());
        let mut paths = Vec::new();
        collect(directory, &mut paths)?;
        paths.sort();
        for path in paths {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            match File::parse(path, text) {
                Ok(file) => world.files.push(file),
                Err(finding) => findings.push(finding),
            }
        }
        Ok((world, findings))
    }

    /// What an API server would be given.
    pub fn objects(&self) -> impl Iterator<Item = Object<'_>> {
        self.files
            .iter()
            .filter(|file| !file.is_kustomization())
            .flat_map(File::objects)
    }

    /// The objects of a kind.
    pub fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = Object<'a>> {
        self.objects().filter(move |object| object.kind() == kind)
    }
}

impl File {
    fn parse(path: PathBuf, text: String) -> Result<Self, Finding> {
        match serde_saphyr::from_multiple(&text) {
            Ok(documents) => Ok(Self {
                path,
                text,
                documents,
            }),
            Err(error) => Err(Finding {
                file: path,
                document: 0,
                field: String::new(),
                what: format!("not YAML: {error}"),
            }),
        }
    }

    /// Whether it says what belongs together.
    pub fn is_kustomization(&self) -> bool {
        self.path.file_name().is_some_and(|name| name == KUSTOMIZATION)
    }

    /// Its documents.
    pub fn objects(&self) -> impl Iterator<Item = Object<'_>> {
        (1..).zip(&self.documents).map(|(document, value)| Object {
            file: self,
            document,
            value,
        })
    }
}

impl<'a> Object<'a> {
    /// Its kind; empty where it has none.
    pub fn kind(self) -> &'a str {
        self.text("/kind")
    }

    /// Its name.
    pub fn name(self) -> &'a str {
        self.text("/metadata/name")
    }

    /// Its namespace; empty where it has none.
    pub fn namespace(self) -> &'a str {
        self.text("/metadata/namespace")
    }

    /// The value at a JSON pointer.
    pub fn get(self, pointer: &str) -> Option<&'a Value> {
        self.value.pointer(pointer)
    }

    /// The text at a JSON pointer; empty where there is none.
    pub fn text(self, pointer: &str) -> &'a str {
        self.get(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// The items at a JSON pointer, each with its own pointer.
    pub fn items(self, pointer: &str) -> impl Iterator<Item = (String, &'a Value)> {
        let items = self.get(pointer).and_then(Value::as_array);
        let items = items.into_iter().flatten().enumerate();
        items.map(move |(number, item)| (format!("{pointer}/{number}"), item))
    }

    /// Something is wrong at a JSON pointer.
    pub fn finding(self, pointer: &str, what: impl Into<String>) -> Finding {
        Finding {
            file: self.file.path.clone(),
            document: self.document,
            field: field(pointer),
            what: what.into(),
        }
    }
}

impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.namespace().is_empty() { "" } else { "/" };
        let (kind, file) = (self.kind(), self.file.path.display());
        write!(f, "{kind} {}{slash}{} ({file})", self.namespace(), self.name())
    }
}

/// `/spec/ports/0/name` as people write it: `spec.ports[0].name`.
fn field(pointer: &str) -> String {
    let parts = pointer.split('/').skip(1).map(|part| {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            format!("[{part}]")
        } else {
            format!(".{}", part.replace("~1", "/"))
        }
    });
    parts
        .collect::<Vec<_>>()
        .concat()
        .trim_start_matches('.')
        .to_owned()
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            paths.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
impl World {
    /// One file.
    pub fn of_text(text: &str) -> Self {
        let file = File::parse("test.yaml".into(), text.to_owned());
        Self {
            files: vec![file.expect("YAML")],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_people_do() {
        assert_eq!(field("/spec/ports/0/name"), "spec.ports[0].name");
        assert_eq!(field("/metadata/labels/a.io~1b"), "metadata.labels.a.io/b");
        assert_eq!(field(""), "");
    }

    #[test]
    fn a_file_may_have_documents() {
        let world = World::of_text("kind: A\n---\nkind: B\nmetadata: {name: b, namespace: ns}\n");
        let shown: Vec<_> = world.objects().map(|object| object.to_string()).collect();
        assert_eq!(shown, ["A  (test.yaml)", "B ns/b (test.yaml)"]);
    }
}
