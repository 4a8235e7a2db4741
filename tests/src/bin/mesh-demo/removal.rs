//! The end: everything goes.

use anyhow::{Result, ensure};
use harness::Census;

use crate::narrator::Narrator;
use crate::town::Town;

/// Removes everything and looks whether it is gone.
pub fn show(town: Town, narrator: &mut Narrator) -> Result<()> {
    narrator.step("Clean-up")?;
    let witness = town.sandbox.witness();
    narrator.output(&line("before", &witness.census()?))?;
    drop(town);
    let after = witness.census()?;
    narrator.output(&line("after", &after))?;
    ensure!(after.is_empty(), "left behind: {after:?}");
    Ok(())
}

fn line(when: &str, census: &Census) -> String {
    format!(
        "{when:<7}{:>3} cgroups {:>3} mounts {:>3} interfaces {:>3} pins {:>3} files of the agent\n",
        census.cgroups.len(),
        census.mounts.len(),
        census.links.len(),
        census.pins.len(),
        census.files.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted() {
        let census = Census {
            pins: vec!["a".into(), "b".into()],
            ..Census::default()
        };
        assert_eq!(
            line("after", &census),
            "after    0 cgroups   0 mounts   0 interfaces   2 pins   0 files of the agent\n"
        );
    }
}
