//! The directory on a real file system.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;

mod load;
mod watching;

fn namespace(name: &str) -> String {
    format!("---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n")
}

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

/// As careful people write a file.
fn replace(directory: &Path, name: &str, text: &str) {
    let draft = directory.join(".draft");
    fs::write(&draft, text).unwrap();
    fs::rename(draft, directory.join(name)).unwrap();
}

/// Events in short: `+name` and `-name`.
fn short(batch: &Batch) -> Vec<String> {
    let short = |event: &Event| match event {
        Event::Upsert(object) => format!("+{}", object.reference()),
        Event::Delete(object) => format!("-{object}"),
    };
    batch.events.iter().map(short).collect()
}

fn problems(batch: &Batch) -> Vec<String> {
    batch.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_directory_must_be_there() {
    let error = ManifestSource::open("/nowhere/at/all").unwrap_err().to_string();
    assert!(
        error.starts_with("directory of manifests /nowhere/at/all: No such file"),
        "{error}"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(ManifestSource::open(file.path()).is_err());
}

#[test]
fn files_count_by_their_name() {
    let directory = directory(&[
        ("a.yaml", &namespace("a")),
        ("b.yml", &namespace("b")),
        (
            "c.json",
            r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"c"}}"#,
        ),
        (".d.yaml", &namespace("d")),
        ("e.yaml~", &namespace("e")),
        ("f.txt", &namespace("f")),
        ("yaml", &namespace("g")),
    ]);
    fs::create_dir(directory.path().join("h.yaml")).unwrap();
    fs::write(directory.path().join("h.yaml/i.yaml"), namespace("i")).unwrap();
    let batch = ManifestSource::open(directory.path()).unwrap().scan();
    assert_eq!(short(&batch), ["+Namespace a", "+Namespace b", "+Namespace c"]);
    assert_eq!(problems(&batch), [""; 0]);
}

#[test]
fn changes_removals_and_nothing() {
    let directory = directory(&[("a.yaml", &(namespace("a") + &namespace("b")))]);
    let mut source = ManifestSource::open(directory.path()).unwrap();
    assert_eq!(source.scan().events.len(), 2);
    assert_eq!(short(&source.scan()), [""; 0]);
    fs::write(directory.path().join("a.yaml"), namespace("b")).unwrap();
    assert_eq!(short(&source.scan()), ["-Namespace a"]);
    // Of the same size, within the same tick of the clock.
    fs::write(directory.path().join("a.yaml"), namespace("c")).unwrap();
    assert_eq!(short(&source.scan()), ["-Namespace b", "+Namespace c"]);
    fs::remove_file(directory.path().join("a.yaml")).unwrap();
    assert_eq!(short(&source.scan()), ["-Namespace c"]);
}

#[test]
fn half_a_file_heals() {
    let directory = directory(&[("a.yaml", &namespace("a"))]);
    let mut source = ManifestSource::open(directory.path()).unwrap();
    let _ = source.scan();
    fs::write(directory.path().join("a.yaml"), "---\napiVersion: v1\nkind: [").unwrap();
    let batch = source.scan();
    assert_eq!((short(&batch), batch.problems.len()), (vec![], 1));
    fs::write(directory.path().join("a.yaml"), namespace("a")).unwrap();
    let batch = source.scan();
    assert_eq!((short(&batch), batch.problems.len()), (vec![], 0));
}

#[test]
fn a_directory_that_vanishes_keeps_its_state() {
    let directory = directory(&[("a.yaml", &namespace("a"))]);
    let mut source = ManifestSource::open(directory.path()).unwrap();
    let _ = source.scan();
    fs::remove_dir_all(directory.path()).unwrap();
    let batch = source.scan();
    assert_eq!(short(&batch), [""; 0]);
    let expected = format!(
        "{}: cannot be read, so its last state stays",
        directory.path().display()
    );
    assert!(
        problems(&batch)[0].starts_with(&expected),
        "{:?}",
        problems(&batch)
    );
    fs::create_dir(directory.path()).unwrap();
    fs::write(directory.path().join("b.yaml"), namespace("b")).unwrap();
    let batch = source.scan();
    assert_eq!(short(&batch), ["-Namespace a", "+Namespace b"]);
    assert_eq!(problems(&batch), [""; 0]);
}

#[test]
fn links_are_followed_and_a_swap_is_seen() {
    let directory = directory(&[]);
    let at = |name: &str| directory.path().join(name);
    // As the kubelet lays out a ConfigMap.
    for (version, name) in [("..1", "a"), ("..2", "b")] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("web.yaml"), namespace(name)).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/web.yaml", at("web.yaml")).unwrap();
    let mut source = ManifestSource::open(directory.path()).unwrap();
    assert_eq!(short(&source.scan()), ["+Namespace a"]);

    symlink("..2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    assert_eq!(short(&source.scan()), ["-Namespace a", "+Namespace b"]);

    fs::remove_file(at("..data")).unwrap();
    let batch = source.scan();
    assert_eq!(short(&batch), [""; 0], "a link to nowhere takes nothing away");
    assert!(problems(&batch)[0].starts_with("web.yaml: cannot be read"));
}

#[test]
fn large_and_binary_files_are_refused_by_name() {
    let directory = directory(&[("a.yaml", &namespace("a"))]);
    let mut source = ManifestSource::open(directory.path()).unwrap();
    let _ = source.scan();
    let large = fs::File::create(directory.path().join("a.yaml")).unwrap();
    large.set_len(scan::MAX_FILE_BYTES + 1).unwrap();
    fs::write(directory.path().join("b.yaml"), [0xff, 0xfe]).unwrap();
    let batch = source.scan();
    assert_eq!(short(&batch), [""; 0]);
    assert_eq!(
        problems(&batch),
        [
            "a.yaml: has 16777217 bytes, more than the 16777216 a file may have",
            "b.yaml: is not UTF-8 text",
        ]
    );
}
