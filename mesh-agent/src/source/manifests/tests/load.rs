//! Ten thousand Services with a hundred thousand endpoints. To measure:
//! `cargo test --release -p mesh-agent manifests::tests::load -- --ignored --nocapture`.

use std::fmt::Write as _;

use super::*;
use crate::model::cluster::Cluster;
use crate::model::desired::ServicePorts;

const SERVICES: usize = 10_000;
const FILES: usize = 4;

fn service(number: usize) -> String {
    let (a, b) = (number >> 8, number & 255);
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: s{number}\n  namespace: shop\nspec:\n  clusterIP: 10.96.{a}.{b}\n  selector:\n    app: s{number}\n  ports:\n  - name: http\n    port: 80\n    targetPort: 8080\n"
    )
}

fn slice(number: usize) -> String {
    let (a, b) = (number >> 8, number & 255);
    let mut text = format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: s{number}-abcde\n  namespace: shop\n  labels:\n    kubernetes.io/service-name: s{number}\naddressType: IPv4\nports:\n- name: http\n  port: 8080\n  protocol: TCP\nendpoints:\n"
    );
    for pod in 1..=10 {
        let node = pod % 5;
        writeln!(text, "- addresses:\n  - 10.{}.{b}.{pod}\n  conditions:\n    ready: true\n    serving: true\n    terminating: false\n  nodeName: node-{node}", 100 + a).unwrap();
    }
    text
}

fn as_json(yaml: &str) -> String {
    let documents = document::documents(yaml).into_iter();
    let values = documents.map(|it| serde_saphyr::from_str::<serde_json::Value>(it.text).unwrap());
    values.map(|value| value.to_string() + "\n").collect()
}

#[test]
#[ignore = "takes its time; a measurement"]
fn a_large_directory_is_read_fast() {
    let each = SERVICES / FILES;
    let files: Vec<String> = (0..FILES)
        .map(|file| {
            (file * each..(file + 1) * each)
                .map(|it| service(it) + &slice(it))
                .collect()
        })
        .collect();
    for format in ["yaml", "json"] {
        let directory = directory(&[]);
        let mut bytes = 0;
        for (index, yaml) in files.iter().enumerate() {
            let text = if format == "yaml" {
                yaml.clone()
            } else {
                as_json(yaml)
            };
            bytes += text.len();
            fs::write(directory.path().join(format!("{index}.{format}")), text).unwrap();
        }
        let mut source = ManifestSource::open(directory.path()).unwrap();
        let start = Instant::now();
        let batch = source.scan();
        let read = start.elapsed();
        assert_eq!((batch.events.len(), batch.problems.len()), (2 * SERVICES, 0));

        let start = Instant::now();
        let mut cluster = Cluster::for_manifests("here");
        for event in batch.events {
            let _ = cluster.apply(event);
        }
        let applied = start.elapsed();
        let start = Instant::now();
        let endpoints: usize = cluster
            .services()
            .filter_map(|name| cluster.service(name))
            .flat_map(ServicePorts::into_values)
            .map(|port| port.endpoints.len())
            .sum();
        assert_eq!(endpoints, 10 * SERVICES);
        let computed = start.elapsed();

        std::thread::sleep(Duration::from_millis(200));
        let _ = source.scan();
        let start = Instant::now();
        assert!(source.scan().events.is_empty());
        let idle = start.elapsed();

        // One endpoint of one file.
        let mut text = fs::read_to_string(directory.path().join(format!("0.{format}"))).unwrap();
        text = text.replacen("10.100.7.3", "10.200.7.3", 1);
        replace(directory.path(), &format!("0.{format}"), &text);
        let start = Instant::now();
        assert_eq!(source.scan().events.len(), 1);
        let one = start.elapsed();
        eprintln!(
            "{format}: {} kB read in {read:?}, applied in {applied:?}, computed in {computed:?}; \
             nothing new {idle:?}, one endpoint of a quarter {one:?}",
            bytes / 1000
        );
    }
}
