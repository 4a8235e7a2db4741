//! Readers that are preempted between their reads.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use mesh_common::decide::pick::is_mine;

use super::kernel::Kernel;
use super::world::{Reach, reachable};
use crate::model::desired::{ObjectName, PortKey, ServicePorts};
use crate::model::ledger::{Ledger, REST};

type Owners = BTreeMap<u32, (ObjectName, PortKey)>;
type Desired = BTreeMap<ObjectName, ServicePorts>;

/// Everything the kernel ever held.
#[derive(Default)]
pub struct History {
    owners: Rc<Owners>,
    desired: Rc<Desired>,
    moments: Vec<Moment>,
}

struct Moment {
    now: Duration,
    kernel: Kernel,
    owners: Rc<Owners>,
    desired: Rc<Desired>,
}

impl History {
    /// Whose each service id is or was last; a restart of the agent changes nothing in that.
    pub fn owners(&self) -> &Owners {
        &self.owners
    }

    pub fn learn(&mut self, ledger: &Ledger, kernel: &Kernel, desired: &Desired) {
        let mut owners = Owners::clone(&self.owners);
        for value in kernel.frontends.values() {
            if let Some((name, key, _)) = ledger.service(value.id()) {
                owners.insert(value.id(), (name.clone(), key));
            }
        }
        self.owners = Rc::new(owners);
        self.desired = Rc::new(desired.clone());
    }

    pub fn record(&mut self, now: Duration, kernel: &Kernel) {
        self.moments.push(Moment {
            now,
            kernel: kernel.clone(),
            owners: Rc::clone(&self.owners),
            desired: Rc::clone(&self.desired),
        });
    }

    /// Lets a reader begin at every moment and go on at chosen ones; how many reached a backend.
    pub fn preempt(&self, seed: u64) -> usize {
        let mut chance = Chance(seed);
        let mut arrived = 0;
        for first in 0..self.moments.len() {
            let start = &self.moments[first];
            let window = self.moments[first..].iter();
            let window = window.take_while(|moment| moment.now < start.now + REST).count();
            for value in start.kernel.frontends.values() {
                let mut pauses = [0; 3].map(|_| first + chance.below(window));
                pauses.sort_unstable();
                arrived += usize::from(self.read(first, value.id(), pauses, &mut chance));
            }
        }
        arrived
    }

    /// One reader that found a service id at the first moment; whether it reached a backend.
    fn read(&self, first: usize, service: u32, pauses: [usize; 3], chance: &mut Chance) -> bool {
        let [info, slot, backend] = pauses.map(|at| &self.moments[at].kernel);
        let region = info.infos[&service].region;
        if region.is_empty() {
            return false;
        }
        let len = usize::try_from(region.len()).unwrap();
        let number = region.offset() + u32::try_from(chance.below(len)).unwrap();
        let slot = slot.slots[&number];
        if !is_mine(slot, service) {
            return false;
        }
        let reached = backend.endpoint(slot.backend);
        let allowed = self.allowed(first, pauses[2], service);
        assert!(
            allowed.contains(&reached),
            "service {service}: {reached:?}, {allowed:?}"
        );
        true
    }

    /// The endpoints of the service that has the id at the first moment, from then until the last.
    fn allowed(&self, first: usize, last: usize, service: u32) -> Reach {
        let start = &self.moments[first];
        let (name, key) = &start.owners[&service];
        let mut allowed = start.kernel.endpoints(service);
        for moment in &self.moments[first..=last] {
            let owner = moment.owners.get(&service);
            assert_eq!(
                owner,
                Some(&(name.clone(), *key)),
                "an id given to another within the rest"
            );
            let port = moment.desired.get(name).and_then(|ports| ports.get(key));
            allowed.extend(port.map(reachable).unwrap_or_default());
        }
        allowed
    }
}

/// Numbers that only need to vary.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }
}
