//! What kustomizations list, and what they make.

use std::path::Path;

use serde_json::Value;

use crate::finding::Finding;
use crate::pods;
use crate::world::{File, KUSTOMIZATION, Object, World};

/// The kinds, each with the version that has it.
const KINDS: [(&str, &str); 2] = [
    ("Kustomization", "kustomize.config.k8s.io/v1beta1"),
    ("Component", "kustomize.config.k8s.io/v1alpha1"),
];

const FIELDS: [&str; 7] = [
    "apiVersion",
    "kind",
    "resources",
    "components",
    "configMapGenerator",
    "generatorOptions",
    "patches",
];

/// The only key of a `ConfigMap` that anything reads: the agent's `--config`.
const SETTINGS: &str = "config.yaml";

/// Checks that what is listed is there, and that what is there is listed.
pub fn check(world: &World) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &world.files {
        if file.is_kustomization() {
            findings.extend(file.objects().flat_map(|object| judge(world, object)));
        } else if !is_listed(world, file) {
            findings.push(Finding {
                file: file.path.clone(),
                document: 0,
                field: String::new(),
                what: format!("no {KUSTOMIZATION} beside it lists it"),
            });
        }
    }
    findings
}

/// Namespace and name of the `ConfigMap`s that are made.
pub fn config_maps(world: &World) -> impl Iterator<Item = (&str, &str)> {
    let files = world.files.iter().filter(|file| file.is_kustomization());
    let generators = files.flat_map(File::objects);
    let generators = generators.flat_map(|object| object.items("/configMapGenerator"));
    generators.filter_map(|(_, it)| Some((it["namespace"].as_str()?, it["name"].as_str()?)))
}

fn judge(world: &World, object: Object<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let kind = (object.kind(), object.text("/apiVersion"));
    if !KINDS.contains(&kind) {
        findings.push(object.finding("/kind", format!("none of {KINDS:?}")));
    }
    let fields = object.value.as_object();
    for unknown in fields
        .into_iter()
        .flat_map(|fields| fields.keys())
        .filter(|key| !FIELDS.contains(&key.as_str()))
    {
        let pointer = format!("/{unknown}");
        findings.push(object.finding(&pointer, "a field that is not checked: teach mesh-manifests"));
    }
    let directory = object.file.path.parent().unwrap_or(Path::new("."));
    for list in ["/resources", "/components"] {
        for (pointer, entry) in object.items(list) {
            let path = directory.join(entry.as_str().unwrap_or_default());
            if !path.is_file() && !path.join(KUSTOMIZATION).is_file() {
                findings.push(object.finding(&pointer, format!("{} is not there", path.display())));
            }
        }
    }
    findings.extend(
        object
            .items("/configMapGenerator")
            .flat_map(|(pointer, it)| judge_generator(object, &pointer, it)),
    );
    findings.extend(
        object
            .items("/patches")
            .filter_map(|(pointer, it)| judge_patch(world, object, &pointer, it)),
    );
    findings
}

/// A patch is a list of changes (RFC 6902) of what is there.
fn judge_patch(world: &World, object: Object<'_>, pointer: &str, patch: &Value) -> Option<Finding> {
    let (kind, name) = (patch["target"]["kind"].as_str(), &patch["target"]["name"]);
    let Some(target) = kind.and_then(|kind| world.of(kind).find(|it| name == it.name())) else {
        return Some(object.finding(&format!("{pointer}/target"), "no such object"));
    };
    let changes = patch["patch"].as_str().unwrap_or_default();
    let changes: Vec<Value> = match serde_saphyr::from_str(changes) {
        Ok(changes) => changes,
        Err(error) => {
            let what = format!("not a list of changes: {error}");
            return Some(object.finding(&format!("{pointer}/patch"), what));
        }
    };
    let mut patched = target.value.clone();
    for change in &changes {
        if make(&mut patched, change).is_none() {
            let what = format!("{} {} has no place for {change}", target.kind(), target.name());
            return Some(object.finding(&format!("{pointer}/patch"), what));
        }
    }
    let what = pods::rollout(&patched)?;
    Some(object.finding(&format!("{pointer}/patch"), what))
}

/// Makes one change of those that are in use; none where its place is not there.
fn make(object: &mut Value, change: &Value) -> Option<()> {
    let (path, value) = (change["path"].as_str()?, change["value"].clone());
    let (parent, key) = path.rsplit_once('/')?;
    match change["op"].as_str()? {
        "add" if key == "-" => object.pointer_mut(parent)?.as_array_mut()?.push(value),
        "replace" => *object.pointer_mut(path)? = value,
        "remove" => drop(object.pointer_mut(parent)?.as_object_mut()?.remove(key)?),
        _ => return None,
    }
    Some(())
}

fn judge_generator(object: Object<'_>, pointer: &str, generator: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    for field in ["name", "namespace"] {
        if generator[field].as_str().is_none() {
            findings.push(object.finding(&format!("{pointer}/{field}"), "missing"));
        }
    }
    for (pointer, literal) in object.items(&format!("{pointer}/literals")) {
        match literal.as_str().and_then(|text| text.split_once('=')) {
            None => findings.push(object.finding(&pointer, "not KEY=VALUE")),
            Some((SETTINGS, _)) => {}
            Some((key, _)) => {
                findings.push(object.finding(&pointer, format!("{key}: the agent reads only {SETTINGS}")));
            }
        }
    }
    findings
}

fn is_listed(world: &World, file: &File) -> bool {
    let mut beside = world
        .files
        .iter()
        .filter(|other| other.is_kustomization() && other.path.parent() == file.path.parent());
    beside.any(|kustomization| {
        let mut lists = kustomization.objects().flat_map(|it| it.items("/resources"));
        lists.any(|(_, entry)| entry.as_str().map(Path::new) == file.path.file_name().map(Path::new))
    })
}
