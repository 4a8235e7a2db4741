//! What programs print: kept in files, shown when the test fails.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};

/// Lines shown of a log.
const TAIL: usize = 200;

/// The file that a program writes to.
#[derive(Debug)]
pub struct Log {
    title: String,
    path: PathBuf,
}

impl Log {
    /// A new file for a program that runs in a place.
    pub fn create(run_dir: &Path, place: &str, program: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let program = Path::new(program)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = run_dir
            .join("logs")
            .join(format!("{number:03}-{place}-{program}.log"));
        File::create_new(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self {
            title: format!("{program} in {place}"),
            path,
        })
    }

    /// The file, to be appended to.
    pub fn open(&self) -> Result<File> {
        let file = File::options().append(true).open(&self.path);
        file.with_context(|| format!("opening {}", self.path.display()))
    }

    /// Everything printed so far.
    pub fn text(&self) -> String {
        let bytes = fs::read(&self.path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines, under a title.
    pub fn tail(&self) -> String {
        let text = self.text();
        let lines: Vec<_> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL)..];
        format!(
            "--- log of {} ({} of {} lines)\n{}\n---",
            self.title,
            tail.len(),
            lines.len(),
            tail.join("\n")
        )
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
    }
}
