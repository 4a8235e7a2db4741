//! Processors: which there are, who runs where, and who used how much of them.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, setpriority_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Those this process may use.
pub fn available() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None).context("asking for the processors")?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Keeps all threads of a process on one processor.
pub fn pin(process: u32, cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    for thread in threads(process)? {
        sched_setaffinity(Some(thread), &set).with_context(|| format!("pinning to processor {cpu}"))?;
    }
    Ok(())
}

/// Puts a process before what else the machine does, by as much as ten to one.
pub fn prefer(process: u32) -> Result<()> {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    setpriority_process(process, -10).context("raising the priority")
}

/// What this process used so far, all its threads.
pub fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

/// What another process used so far, all its threads that live.
pub fn used_by(process: u32) -> Result<Duration> {
    let mut nanos = 0;
    for thread in threads(process)? {
        let path = format!("/proc/{process}/task/{}/schedstat", thread.as_raw_nonzero());
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        let first = text.split(' ').next().unwrap_or_default();
        nanos += first.parse::<u64>().with_context(|| format!("{path}: {text}"))?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// A process and its children.
pub fn family(process: u32) -> Result<Vec<u32>> {
    let path = format!("/proc/{process}/task/{process}/children");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let children = text.split_whitespace().map(str::parse);
    let children: Result<Vec<_>, _> = children.collect();
    Ok([vec![process], children.with_context(|| path)?].concat())
}

fn threads(process: u32) -> Result<Vec<Pid>> {
    let path = format!("/proc/{process}/task");
    let entries = fs::read_dir(&path).with_context(|| path.clone())?;
    let id = |name: &str| Pid::from_raw(name.parse().ok()?);
    Ok(entries
        .flatten()
        .filter_map(|entry| id(entry.file_name().to_str()?))
        .collect())
}
