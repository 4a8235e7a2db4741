//! A large directory in small: several files, in portions, in both formats.

use std::fmt::Write as _;

use super::*;
use crate::model::cluster::Cluster;
use crate::model::desired::ServicePorts;

const SERVICES: usize = 40;
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

/// The texts of the files. White space makes the first one larger than a portion.
fn texts(format: &str) -> Vec<String> {
    let each = SERVICES / FILES;
    let file = |file: usize| {
        let objects = file * each..(file + 1) * each;
        let yaml: String = objects.map(|it| service(it) + &slice(it)).collect();
        if format == "yaml" { yaml } else { as_json(&yaml) }
    };
    let mut texts: Vec<_> = (0..FILES).map(file).collect();
    texts[0].push_str(&"\n".repeat(scan::PORTION));
    texts
}

#[test]
fn a_large_directory_is_read_in_full_and_then_only_where_it_changed() {
    for format in ["yaml", "json"] {
        let directory = directory(&[]);
        let texts = texts(format);
        for (index, text) in texts.iter().enumerate() {
            fs::write(directory.path().join(format!("{index}.{format}")), text).unwrap();
        }
        let mut source = ManifestSource::open(directory.path()).unwrap();
        let batch = source.scan();
        assert_eq!((batch.events.len(), batch.problems.len()), (2 * SERVICES, 0));

        let mut cluster = Cluster::for_manifests("here");
        for event in batch.events {
            let _ = cluster.apply(event);
        }
        let endpoints = cluster
            .services()
            .filter_map(|name| cluster.service(name))
            .flat_map(ServicePorts::into_values)
            .map(|port| port.endpoints.len());
        assert_eq!(endpoints.sum::<usize>(), 10 * SERVICES);
        assert_eq!(source.scan().events, []);

        // One endpoint of one file.
        let text = texts[1].replacen("10.100.12.3", "10.200.12.3", 1);
        replace(directory.path(), &format!("1.{format}"), &text);
        assert_eq!(short(&source.scan()), ["+EndpointSlice shop/s12-abcde"]);
    }
}
