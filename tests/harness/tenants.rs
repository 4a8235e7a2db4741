//! Who lives in a place, so that its end is theirs.

use crate::lock::lock;
use std::sync::{Arc, Mutex, Weak};

/// Something that runs somewhere and can be ended, more than once without harm.
pub trait Tenant: Send + Sync {
    /// Ends it and waits until it is gone.
    fn stop(&self);
}

/// The servers and programs of a place.
#[derive(Default)]
pub struct Tenants(Mutex<Vec<Weak<dyn Tenant>>>);

impl Tenants {
    /// One more.
    pub fn add<T: Tenant + 'static>(&self, tenant: &Arc<T>) {
        let tenant = Arc::downgrade(tenant);
        let mut list = lock(&self.0);
        list.retain(|other| other.strong_count() > 0);
        list.push(tenant);
    }

    /// Ends all that still live, the newest first.
    pub fn stop(&self) {
        let tenants = std::mem::take(&mut *lock(&self.0));
        for tenant in tenants.iter().rev().filter_map(Weak::upgrade) {
            tenant.stop();
        }
    }
}
