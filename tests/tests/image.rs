//! The container image: the same twice, true to its digests, and at work as a root file system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use harness::require;
use serde_json::Value;

/// `cargo xtask` itself, beside the tests that it builds.
fn xtask() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).context("no directory of the profile")?;
    Ok(profile.join("xtask"))
}

/// Makes an image of the binaries that are there; returns what it said.
fn make(output: &Path) -> Result<String> {
    let mut command = Command::new(xtask()?);
    command
        .args(["image", "--debug", "--no-build", "--output"])
        .arg(output);
    said(&mut command)
}

/// What a command prints; an error where it fails.
fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

fn json(path: &Path) -> Result<Value> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_slice(&bytes)?)
}

fn can() -> Result<(), String> {
    require::root()?;
    require::programs(&["tar", "chroot", "sha256sum"])?;
    let xtask = xtask().map_err(|error| error.to_string())?;
    require::that(xtask.is_file(), "xtask, which `cargo xtask test` builds")
}

#[test]
fn the_image_is_reproducible_and_runs() -> Result<()> {
    require!(can());
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    let outputs = ["one.tar", "two.tar"].map(|name| directory.join(name));
    let made = thread::scope(|scope| {
        let makers = outputs.each_ref().map(|output| scope.spawn(|| make(output)));
        makers.map(|maker| maker.join().expect("the maker panicked"))
    });
    let [first, second] = made;
    let last_line = |text: &str| text.lines().last().map(str::to_owned);
    assert_eq!(last_line(&first?), last_line(&second?), "name and digest");
    let [one, two] = &outputs;
    ensure!(fs::read(one)? == fs::read(two)?, "the archives differ");
    ensure!(fs::read(one.with_extension("spdx.json"))? == fs::read(two.with_extension("spdx.json"))?);

    let layout = directory.join("layout");
    fs::create_dir(&layout)?;
    said(Command::new("tar").arg("-xf").arg(one).arg("-C").arg(&layout))?;
    let blob = |descriptor: &Value| -> Result<PathBuf> {
        let digest = descriptor["digest"].as_str().context("no digest")?;
        let path = layout.join("blobs").join(digest.replace(':', "/"));
        let sum = said(Command::new("sha256sum").arg(&path))?;
        ensure!(
            digest.ends_with(sum.split(' ').next().unwrap_or("?")),
            "{digest}: {sum}"
        );
        ensure!(descriptor["size"] == fs::metadata(&path)?.len(), "{descriptor}");
        Ok(path)
    };
    let index = json(&layout.join("index.json"))?;
    let manifest = json(&blob(&index["manifests"][0])?)?;
    let config = json(&blob(&manifest["config"])?)?;
    let version = &config["config"]["Labels"]["org.opencontainers.image.version"];
    assert_eq!(version, env!("CARGO_PKG_VERSION"));

    let root = directory.join("root");
    fs::create_dir(&root)?;
    let layer = blob(&manifest["layers"][0])?;
    said(Command::new("tar").arg("-xzf").arg(layer).arg("-C").arg(&root))?;
    let inside = |args: &[&str]| said(Command::new("chroot").arg(&root).args(args));
    let entry = config["config"]["Entrypoint"][0]
        .as_str()
        .context("no entry point")?;
    assert_eq!(
        inside(&[entry, "--version"])?.trim(),
        concat!("mesh-agent ", env!("CARGO_PKG_VERSION"))
    );
    let client = inside(&["/usr/bin/meshctl", "version"])?;
    assert!(client.contains(env!("CARGO_PKG_VERSION")), "{client}");
    assert!(inside(&["/usr/bin/kubectl-mesh", "--help"])?.contains("kubectl mesh"));
    let bill = json(&root.join("usr/share/doc/mesh-agent/sbom.spdx.json"))?;
    assert_eq!(bill, json(&one.with_extension("spdx.json"))?);
    // Debug binaries are large.
    fs::remove_dir_all(&directory)?;
    Ok(())
}

#[test]
fn a_tag_that_may_move_is_refused() -> Result<()> {
    require!(can());
    let output = Command::new(xtask()?)
        .args(["image", "--no-build", "--tag", "mesh-agent:latest"])
        .output()?;
    let said = String::from_utf8(output.stderr)?;
    assert!(!output.status.success() && said.contains("NAME:TAG"), "{said}");
    Ok(())
}
