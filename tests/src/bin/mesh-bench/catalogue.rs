//! Ten thousand Services with a hundred thousand endpoints, as YAML.
//!
//! Each has an `EndpointSlice`; a hundred of both lie in a file. The first is the one that is watched and has one
//! endpoint, which is ready or not; the next 256 have one, the server; all others have those left between them.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::side::SERVER;
use crate::workload::Workload;

/// Services.
pub const SERVICES: u32 = 10_000;
/// Endpoints of all of them.
pub const ENDPOINTS: u32 = 100_000;
/// Services in a file.
pub const PER_FILE: u32 = 100;
/// Services that the server is behind.
pub const REAL: u32 = 256;

/// Address of a service.
pub fn address(service: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 96, 0, 0).to_bits() + 1 + service)
}

/// The services that the server is behind begin here.
pub const FIRST_REAL: u32 = 1;

/// The text of a file; the watched service's endpoint is ready or not.
pub fn file(number: u32, watched_is_ready: bool) -> String {
    let services = number * PER_FILE..(number + 1) * PER_FILE;
    let mut text = String::new();
    for service in services {
        write_service(&mut text, service);
        write_slice(&mut text, service, service > 0 || watched_is_ready);
    }
    text
}

/// The first so many services, each with ten endpoints.
pub fn few(services: u32) -> String {
    let mut text = String::new();
    for service in SERVICES - services..SERVICES {
        write_service(&mut text, service);
        write_slice(&mut text, service, true);
    }
    text
}

/// Endpoints of a service.
fn endpoints(service: u32) -> u32 {
    const ONE_EACH: u32 = FIRST_REAL + REAL;
    const OTHERS: u32 = SERVICES - ONE_EACH;
    const LEFT: u32 = ENDPOINTS - ONE_EACH;
    match service.checked_sub(ONE_EACH) {
        None => 1,
        Some(other) => LEFT / OTHERS + u32::from(other < LEFT % OTHERS),
    }
}

fn write_service(text: &mut String, service: u32) {
    let (address, port) = (address(service), Workload::Connects.port());
    let _ = write!(
        text,
        "---
apiVersion: v1
kind: Service
metadata:
  name: s{service}
  namespace: shop
  uid: service-{service}
spec:
  clusterIP: {address}
  selector:
    app: s{service}
  ports:
  - name: http
    port: {port}
"
    );
}

fn write_slice(text: &mut String, service: u32, ready: bool) {
    let port = Workload::Connects.port();
    let _ = write!(
        text,
        "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: s{service}-abcde
  namespace: shop
  uid: slice-{service}
  labels:
    kubernetes.io/service-name: s{service}
addressType: IPv4
ports:
- name: http
  port: {port}
  protocol: TCP
endpoints:
"
    );
    for endpoint in 0..endpoints(service) {
        let address = if service < FIRST_REAL + REAL {
            SERVER
        } else {
            let base = Ipv4Addr::new(10, 128, 0, 0).to_bits();
            Ipv4Addr::from_bits(base + service * 16 + endpoint)
        };
        let _ = write!(
            text,
            "- addresses:
  - {address}
  conditions:
    ready: {ready}
    serving: {ready}
    terminating: false
  nodeName: node-{}
",
            endpoint % 5
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_it_says() {
        let total: u32 = (0..SERVICES).map(endpoints).sum();
        assert_eq!(total, ENDPOINTS);
        assert!((0..SERVICES).all(|service| endpoints(service) <= 16));
        let kinds = |text: &str, kind: &str| text.matches(&format!("kind: {kind}\n")).count();
        let text = file(3, true);
        assert_eq!(
            (kinds(&text, "Service"), kinds(&text, "EndpointSlice")),
            (100, 100)
        );
        assert_eq!(few(10).matches("- addresses:\n").count(), 100);
    }

    #[test]
    fn only_the_watched_endpoint_changes() {
        let [with, without] = [true, false].map(|ready| file(0, ready));
        assert_eq!(without.matches("ready: false").count(), 1);
        assert_eq!(
            without.replace("false\n    serving: false", "true\n    serving: true"),
            with
        );
        assert_eq!(file(1, true), file(1, false));
    }
}
