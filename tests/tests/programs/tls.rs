//! TLS: what the application asked for is what the certificate names.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use harness::manifest::Port;
use harness::scene::vips;
use harness::{Pod, Program, Spread, require, require_root, server};

use crate::carried::{self, Carried};
use crate::output;

const NAME: &str = "web.shop.svc.cluster.local";
const TLS: u16 = 9443;
const SIZE: usize = 200_000;

/// A certificate that vouches for itself, its key, and a certificate of somebody else.
struct Certificates {
    key: PathBuf,
    certificate: PathBuf,
    stranger: PathBuf,
}

impl Certificates {
    fn make(pod: &Pod) -> Result<Self> {
        let dir = server::directory(pod, "certificates")?;
        let make = |name: &str| {
            let [key, certificate] = ["key", "crt"].map(|kind| dir.join(format!("{name}.{kind}")));
            let [v4, v6] = vips(10, 0).map(|vip| vip.ip());
            let names = format!("subjectAltName=DNS:{NAME},IP:{v4},IP:{v6}");
            let openssl = pod
                .command("openssl")
                .args(["req", "-x509", "-nodes", "-days", "1"]);
            let openssl = openssl.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
            let openssl = openssl.args(["-subj", &format!("/CN={name}"), "-addext", &names]);
            let openssl = openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
            output::of(openssl).map(|_| (key, certificate))
        };
        let (key, certificate) = make("web")?;
        let (_, stranger) = make("stranger")?;
        Ok(Self {
            key,
            certificate,
            stranger,
        })
    }
}

/// Serves the files of a directory.
fn start_nginx(pod: &Pod, files: &Path, tls: &Certificates) -> Result<Program> {
    let (key, certificate) = (tls.key.display(), tls.certificate.display());
    let block = format!(
        "listen {TLS} ssl;\nlisten [::]:{TLS} ssl;\nssl_certificate {certificate};\nssl_certificate_key {key};\n\
         root {};",
        files.display()
    );
    server::nginx(pod, TLS, &block)
}

/// As [`start_nginx`]; it serves the files of its working directory.
fn start_openssl(pod: &Pod, files: &Path, tls: &Certificates) -> Result<Program> {
    let shell = pod.command("env").arg("-C").arg(files);
    let openssl = shell.args([
        "openssl",
        "s_server",
        "-WWW",
        "-quiet",
        "-accept",
        &TLS.to_string(),
    ]);
    let openssl = openssl
        .arg("-key")
        .arg(&tls.key)
        .arg("-cert")
        .arg(&tls.certificate);
    server::start(pod, openssl, TLS)
}

#[test]
fn curl_verifies_nginx_and_openssl() -> Result<()> {
    const ROUNDS: u32 = 16;
    require_root!();
    require!(harness::require::programs(&["nginx", "openssl", "curl"]));
    let webs = ["web-1", "web-2"];
    let shop = crate::open("tls", &webs)?;
    shop.sell("web", 10, &[Port::tcp(443).to(TLS)], &webs)?;
    let certificates = Certificates::make(&shop.client)?;
    let body = "0123456789abcdef".repeat(SIZE / 16);
    let mut files = Vec::new();
    for name in webs {
        let dir = server::directory(shop.backend(name), "files")?;
        fs::write(dir.join("large"), format!("{name}\n{body}"))?;
        files.push(dir);
    }
    let [one, two] = webs.map(|name| shop.backend(name));
    let _servers = [
        start_nginx(one, &files[0], &certificates)?,
        start_openssl(two, &files[1], &certificates)?,
    ];
    let agent = shop.start()?;
    let curl = |url: &str, ip: &str, trusted: &Path| {
        let curl = shop.client.command("curl").args(["-sS", "--max-time", "5"]);
        let curl = curl
            .args(["--resolve", &format!("{NAME}:443:{ip}")])
            .arg("--cacert");
        curl.arg(trusted).arg(url).output()
    };
    let mut spread = Spread::default();
    for ip in vips(10, 0).map(|vip| vip.ip()) {
        let bare = if ip.is_ipv4() {
            ip.to_string()
        } else {
            format!("[{ip}]")
        };
        for round in 0..ROUNDS {
            // By name and by address: the certificate has both.
            let host = if round % 2 == 0 { NAME } else { &bare };
            let output = curl(&format!("https://{host}/large"), &bare, &certificates.certificate)?;
            assert!(
                output.status.success(),
                "{host}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            let text = output::text(&output);
            let (name, rest) = text.split_once('\n').context("a name")?;
            assert!(rest == body, "another body from {name}");
            spread.add(name);
        }
    }
    assert!(spread.names().eq(webs), "{spread}");
    let refused = curl(
        &format!("https://{NAME}/large"),
        "10.96.0.10",
        &certificates.stranger,
    )?;
    assert_eq!(refused.status.code(), Some(60), "not to be trusted: {refused:?}");
    let asked = u64::from(spread.total());
    let least = Carried {
        connections: asked + 1,
        up: asked * 100,
        down: asked * SIZE as u64,
    };
    carried::at_least(&agent, "web", &webs, least)?;
    carried::none_lives(&shop)
}
