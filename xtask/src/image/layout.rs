//! The image as one archive: an OCI image layout, and docker's index of it.
//! <https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md>

use std::env;

use anyhow::Result;
use serde_json::{Value, json};

use super::about::About;
use super::blob::Blob;
use super::layer::{self, Layer};
use super::root::{Entry, Root};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The archive, and the digest by which the image is known.
pub fn archive(layer: &Layer, tag: &str, about: &About) -> Result<(Vec<u8>, String)> {
    let config = Blob::json(&config(layer, about)?);
    let manifest = Blob::json(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(CONFIG),
        "layers": [layer.blob.descriptor(LAYER)],
        "annotations": about.labels()?,
    }));
    let mut described = manifest.descriptor(MANIFEST);
    described["platform"] = json!({ "architecture": architecture(), "os": "linux" });
    // OCI names the tag alone; containerd wants all of the name, and podman takes that, too.
    described["annotations"] = json!({
        "io.containerd.image.name": tag,
        "org.opencontainers.image.ref.name": tag.rsplit(':').next(),
    });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [described] });
    let docker = json!([{ "Config": config.path(), "RepoTags": [tag], "Layers": [layer.blob.path()] }]);

    let mut root = Root::default();
    let mut put = |path: &str, bytes: Vec<u8>| root.insert(path, Entry::File(bytes, 0o644));
    for (path, value) in [
        ("oci-layout", json!({ "imageLayoutVersion": "1.0.0" })),
        ("index.json", index),
        ("manifest.json", docker),
    ] {
        put(path, value.to_string().into_bytes());
    }
    for blob in [&layer.blob, &config, &manifest] {
        put(&blob.path(), blob.bytes.clone());
    }
    Ok((layer::archive(&root, about.created)?, manifest.digest()))
}

fn config(layer: &Layer, about: &About) -> Result<Value> {
    let created = about.created_text()?;
    Ok(json!({
        "created": created,
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": ["/usr/bin/mesh-agent"],
            "Env": ["PATH=/usr/bin"],
            "WorkingDir": "/",
            "Labels": about.labels()?,
        },
        "rootfs": { "type": "layers", "diff_ids": [layer.diff_id] },
        "history": [{ "created": created, "created_by": "cargo xtask image" }],
    }))
}

/// As Go calls it.
fn architecture() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::super::blob::sha256;
    use super::*;

    fn build() -> (Vec<u8>, String) {
        let mut root = Root::default();
        root.insert("usr/bin/mesh-agent", Entry::File(b"agent".to_vec(), 0o755));
        let about = About::for_test();
        let layer = layer::pack(&root, about.created, flate2::Compression::fast()).unwrap();
        archive(&layer, "localhost:5000/mesh-agent:1.2.3", &about).unwrap()
    }

    fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (entry.path().unwrap().display().to_string(), bytes)
        });
        entries.collect()
    }

    #[test]
    fn every_descriptor_leads_to_what_it_says() {
        let (archive, digest) = build();
        let files = files(&archive);
        let read = |path: &str| serde_json::from_slice::<Value>(&files[path]).unwrap();
        let follow = |descriptor: &Value, media_type: &str| -> Vec<u8> {
            assert_eq!(descriptor["mediaType"], media_type);
            let digest = descriptor["digest"].as_str().unwrap().to_owned();
            let bytes = files[&format!("blobs/{}", digest.replace(':', "/"))].clone();
            assert_eq!(descriptor["size"], bytes.len());
            assert_eq!(digest, format!("sha256:{}", sha256(&bytes)));
            bytes
        };
        assert_eq!(read("oci-layout")["imageLayoutVersion"], "1.0.0");
        let index = read("index.json");
        let described = &index["manifests"][0];
        assert_eq!(described["digest"], digest);
        assert_eq!(
            described["annotations"],
            json!({
                "io.containerd.image.name": "localhost:5000/mesh-agent:1.2.3",
                "org.opencontainers.image.ref.name": "1.2.3",
            })
        );
        let manifest: Value = serde_json::from_slice(&follow(described, MANIFEST)).unwrap();
        let config: Value = serde_json::from_slice(&follow(&manifest["config"], CONFIG)).unwrap();
        follow(&manifest["layers"][0], LAYER);
        assert_eq!(config["config"]["Entrypoint"], json!(["/usr/bin/mesh-agent"]));
        let docker = read("manifest.json");
        assert!(files.contains_key(docker[0]["Config"].as_str().unwrap()));
        assert!(files.contains_key(docker[0]["Layers"][0].as_str().unwrap()));
        assert_eq!(docker[0]["RepoTags"], json!(["localhost:5000/mesh-agent:1.2.3"]));
    }

    #[test]
    fn the_same_again_is_the_same_to_the_byte() {
        assert_eq!(build(), build());
    }
}
