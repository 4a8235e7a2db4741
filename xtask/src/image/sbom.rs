//! What the image is made of, as SPDX 2.3 writes it: the crates in the binaries, and the packages of the libraries.
//! <https://spdx.github.io/spdx-spec/v2.3/>

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::about::{self, About};
use super::blob::sha256;
use super::package;

/// What is linked: the agent with meshctl, and the kernel programs inside.
const ROOTS: [&str; 2] = ["mesh-agent", "mesh-ebpf"];

/// Writes the document for an image with these files of this machine.
pub fn write(about: &About, files: &[PathBuf]) -> Result<Vec<u8>> {
    let mut packages = vec![package(
        "Image",
        "mesh-agent-image",
        &about.version,
        &about.licenses,
        None,
    )];
    packages.extend(crates(&about.metadata)?.into_iter().map(of_crate));
    packages.extend(of_files(files)?);
    let relationships: Vec<_> = packages
        .iter()
        .skip(1)
        .map(|package| {
            json!({
                "spdxElementId": "SPDXRef-Image",
                "relationshipType": "CONTAINS",
                "relatedSpdxElement": package["SPDXID"],
            })
        })
        .collect();
    let revision = about.revision.as_deref().unwrap_or("unknown");
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("mesh-agent-{}", about.version),
        "documentNamespace": format!("https://mesh-agent.io/spdx/mesh-agent-{}-{revision}", about.version),
        "creationInfo": { "created": about.created_text()?, "creators": ["Tool: cargo-xtask-image"] },
        "documentDescribes": ["SPDXRef-Image"],
        "packages": packages,
        "relationships": relationships,
    });
    let mut text = serde_json::to_vec_pretty(&document)?;
    text.push(b'\n');
    Ok(text)
}

/// What is reached from the roots by normal dependencies. Macros run while building and are not in the binary.
fn crates(metadata: &Value) -> Result<Vec<&Value>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages: BTreeMap<&str, &Value> = metadata["packages"]
        .as_array()
        .context("no packages in what cargo says")?
        .iter()
        .filter_map(|package| Some((package["id"].as_str()?, package)))
        .collect();
    let nodes: BTreeMap<String, Vec<Value>> = list(&metadata["resolve"]["nodes"])
        .iter()
        .filter_map(|node| Some((node["id"].as_str()?.to_owned(), list(&node["deps"]))))
        .collect();
    let mut waiting: Vec<String> = Vec::new();
    for root in ROOTS {
        let package = about::package(metadata, root).with_context(|| format!("no package {root}"))?;
        waiting.extend(package["id"].as_str().map(str::to_owned));
    }
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        let is_macro = packages.get(id.as_str()).is_some_and(|package| is_macro(package));
        if is_macro || !seen.insert(id.clone()) {
            continue;
        }
        let dependencies = nodes
            .get(&id)
            .into_iter()
            .flatten()
            .filter(|dependency| is_normal(dependency));
        waiting.extend(dependencies.filter_map(|dependency| dependency["pkg"].as_str().map(str::to_owned)));
    }
    Ok(seen
        .iter()
        .filter_map(|id| packages.get(id.as_str()).copied())
        .collect())
}

fn is_normal(dependency: &Value) -> bool {
    let kinds = dependency["dep_kinds"].as_array();
    kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
}

fn is_macro(package: &Value) -> bool {
    let targets = package["targets"].as_array();
    targets.is_some_and(|targets| targets.iter().any(|target| target["kind"][0] == "proc-macro"))
}

fn of_crate(krate: &Value) -> Value {
    let text = |field: &str| krate[field].as_str().unwrap_or_default();
    let (name, version) = (text("name"), text("version"));
    // The old way of writing a choice.
    let license = text("license").replace('/', " OR ");
    let url = krate["source"]
        .is_string()
        .then(|| format!("pkg:cargo/{name}@{version}"));
    package(&format!("Crate-{name}-{version}"), name, version, &license, url)
}

/// The packages of files, or the files themselves where they are from none.
fn of_files(files: &[PathBuf]) -> Result<Vec<Value>> {
    let (mut installed, mut others) = (BTreeSet::new(), Vec::new());
    for file in files {
        match package::of(file) {
            Some(package) => drop(installed.insert(package)),
            None => others.push(of_file(file)?),
        }
    }
    let installed = installed.into_iter().map(|it| {
        // purl wants what is not plain written as %XX; of what versions have, that is the plus sign.
        let version = it.version.replace('+', "%2B");
        let url = format!("pkg:deb/debian/{}@{version}?arch={}", it.name, it.architecture);
        package(
            &format!("Debian-{}", it.name),
            &it.name,
            &it.version,
            "",
            Some(url),
        )
    });
    Ok(installed.chain(others).collect())
}

fn of_file(file: &Path) -> Result<Value> {
    let bytes = fs::read(file).with_context(|| file.display().to_string())?;
    let name = file.display().to_string();
    let mut described = package(&format!("File{name}"), &name, "", "", None);
    described["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": sha256(&bytes) }]);
    Ok(described)
}

fn package(id: &str, name: &str, version: &str, license: &str, url: Option<String>) -> Value {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' {
            c
        } else {
            '-'
        }
    };
    let id: String = id.chars().map(plain).collect();
    let or_nothing = |text: &str| if text.is_empty() { "NOASSERTION" } else { text }.to_owned();
    let mut package = json!({
        "SPDXID": format!("SPDXRef-{id}"),
        "name": name,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": or_nothing(license),
        "copyrightText": "NOASSERTION",
    });
    if !version.is_empty() {
        package["versionInfo"] = version.into();
    }
    if let Some(url) = url {
        package["externalRefs"] = json!([{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": url,
        }]);
    }
    package
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    #[test]
    fn what_is_linked_is_listed_and_what_builds_and_tests_is_not() {
        let about = About::look(&Workspace::find().unwrap()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes = write(&about, &[file.path().to_owned()]).unwrap();
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        let packages = document["packages"].as_array().unwrap();
        let names: BTreeSet<_> = packages.iter().filter_map(|it| it["name"].as_str()).collect();
        for inside in [
            "mesh-agent",
            "mesh-common",
            "aya",
            "aya-ebpf",
            "tokio",
            "mesh-agent-image",
        ] {
            assert!(names.contains(inside), "{inside}");
        }
        for outside in ["proptest", "serde_derive", "mesh-tests", "tempfile"] {
            assert!(!names.contains(outside), "{outside}");
        }
        let ids: BTreeSet<_> = packages.iter().map(|it| it["SPDXID"].as_str()).collect();
        assert_eq!(ids.len(), packages.len(), "ids are unique");
        assert_eq!(
            document["relationships"].as_array().unwrap().len(),
            packages.len() - 1
        );
        let path = file.path().display().to_string();
        let of_file = packages.iter().find(|it| it["name"] == path.as_str()).unwrap();
        assert!(
            of_file["checksums"][0]["checksumValue"]
                .as_str()
                .unwrap()
                .starts_with("e3b0c442")
        );
        assert_eq!(bytes, write(&about, &[file.path().to_owned()]).unwrap());
    }
}
