//! Tables that are full.

use std::time::Duration;

use anyhow::Result;
use harness::twins::{Path, Twins};
use harness::{eventually, require_root, until};
use mesh_common::abi::map;
use mesh_common::accel::Enrolment::{self, Enrolled, TableFull};

use crate::seen::{enrolments, entries, redirected};
use crate::stamped::{Traffic, connect, echo};

#[test]
fn a_full_table_costs_the_redirect_and_nothing_else() -> Result<()> {
    require_root!();
    for map in [map::SOCKETS, map::SPLICES] {
        // Room for three connections, and for one end of another.
        let twins = Twins::with_args("full", Path::Redirect, &["--map-size", &format!("{map}=7")])?;
        let mut open = Vec::new();
        let mut found = Vec::new();
        for _ in 0..6 {
            let (near, far) = connect(&twins)?;
            echo(&near, &far, 10)?;
            found.push(enrolments(&twins.sandbox, &near, &far)?);
            open.push((near, far));
        }
        let count = |of: Enrolment| found.iter().flatten().filter(|one| **one == of).count();
        assert_eq!(count(Enrolled), 7, "{map}: {found:?}");
        assert_eq!(count(TableFull), 5, "{map}: {found:?}");
        assert_eq!(found[..3], [[Enrolled; 2]; 3], "{map}");
        assert_eq!(found[4..], [[TableFull; 2]; 2], "{map}");
        assert_eq!(
            entries(&twins.sandbox)?,
            [7; 2],
            "{map}: a refused socket leaves nothing"
        );
        for (number, (near, far)) in open.iter().enumerate() {
            let traffic = Traffic::start(near, far)?;
            std::thread::sleep(Duration::from_millis(30));
            assert!(traffic.finish()? > 0);
            let moved = redirected(&twins, near)?.messages;
            assert_eq!(moved > 0, number < 3, "{map}: connection {number}: {moved}");
        }
        // One that could be enrolled goes, and a new one takes its room.
        drop(open.remove(0));
        let room = || entries(&twins.sandbox).is_ok_and(|left| left == [5; 2]);
        assert!(
            until(Duration::from_secs(5), room),
            "{:?}",
            entries(&twins.sandbox)?
        );
        eventually(Duration::from_secs(5), || {
            let (near, far) = connect(&twins)?;
            echo(&near, &far, 10)?;
            let found = enrolments(&twins.sandbox, &near, &far)?;
            anyhow::ensure!(found == [Enrolled; 2], "{map}: {found:?}");
            anyhow::ensure!(redirected(&twins, &near)?.messages == 10, "{map}");
            Ok(())
        })?;
        for (near, far) in &open {
            echo(near, far, 10)?;
        }
    }
    Ok(())
}
