//! What the run needs on the machine: Debian packages of the rivals, installed if they are missing and we may; our own binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::subject::Kind;

/// Keeps Debian from starting the services that a package brings; removed afterwards.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// The commands and the Debian packages that bring them.
fn needed(kind: Kind) -> &'static [(&'static str, &'static str)] {
    match kind {
        Kind::Prosody => &[("prosody", "prosody")],
        Kind::Ejabberd => &[("erl", "ejabberd"), ("ejabberdctl", "ejabberd")],
        Kind::Nuncio | Kind::Relay => &[],
    }
}

/// Installs what is missing for these subjects.
pub(super) fn packages(kinds: &[Kind]) -> Result<()> {
    let mut missing: Vec<&str> = kinds
        .iter()
        .flat_map(|&kind| needed(kind))
        .filter(|(tool, _)| on_path(tool).is_none())
        .map(|(_, package)| *package)
        .collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() || on_path("apt-get").is_none() {
        bail!("{}", cannot_install(&missing));
    }
    eprintln!("installing {}", missing.join(" "));
    let _policy = ServicePolicy::deny()?;
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(words).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        // What apt says belongs to the progress, not to the table.
        command.stdout(std::io::stderr()).status().is_ok_and(|status| status.success())
    };
    if !apt(&["update", "-q"]) {
        eprintln!("apt-get update failed; going on with the package lists that are there");
    }
    let words = [&["install", "-y", "-q", "--no-install-recommends"], missing.as_slice()].concat();
    if !apt(&words) {
        bail!("apt-get could not install {}; {}", missing.join(" "), leave_out(&missing));
    }
    Ok(())
}

fn cannot_install(missing: &[&str]) -> String {
    let names = missing.join(" ");
    format!("missing: the Debian packages {names} (as root: apt-get install {names}); {}", leave_out(missing))
}

fn leave_out(missing: &[&str]) -> String {
    let rest: Vec<_> = Kind::ALL
        .into_iter()
        .filter(|kind| !missing.contains(&kind.name()))
        .map(|kind| format!("--subject {}", kind.name()))
        .collect();
    format!("or compare without: {}", rest.join(" "))
}

/// While it lives, packages that are installed start no services.
struct ServicePolicy {
    ours: bool,
}

impl ServicePolicy {
    fn deny() -> Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;

        let ours = !Path::new(POLICY).exists();
        if ours {
            std::fs::write(POLICY, "#!/bin/sh\nexit 101\n")
                .with_context(|| format!("cannot write {POLICY}"))?;
            std::fs::set_permissions(POLICY, std::fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { ours })
    }
}

impl Drop for ServicePolicy {
    fn drop(&mut self) {
        if self.ours {
            let _removed = std::fs::remove_file(POLICY);
        }
    }
}

/// Where a command is.
pub(super) fn on_path(tool: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(tool))
        .find(|file| file.is_file())
}

/// Whether packages can be installed and other users' processes started.
pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The release binary of the server: the one that is named, else built by the cargo that runs us, else the one beside us.
pub(super) fn binary(named: Option<&Path>) -> Result<PathBuf> {
    if let Some(named) = named {
        if !named.is_file() {
            bail!("--binary {}: there is no such file", named.display());
        }
        return Ok(std::path::absolute(named)?);
    }
    if let (Some(cargo), Some(manifest)) = (std::env::var_os("CARGO"), std::env::var_os("CARGO_MANIFEST_DIR"))
    {
        let root = Path::new(&manifest).ancestors().nth(2).context("the checkout has no root")?;
        eprintln!("building the release binary of nuncio");
        let mut build = Command::new(cargo);
        build.args(["build", "--release", "--quiet", "--package", "nuncio", "--bin", "nuncio"]);
        build.args(["--message-format", "json-render-diagnostics"]).current_dir(root).stdin(Stdio::null());
        let output = build.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
        if !output.status.success() {
            bail!("cargo build --release -p nuncio failed");
        }
        return built(&String::from_utf8_lossy(&output.stdout))
            .context("cargo does not say where it put the binary nuncio");
    }
    let beside = std::env::current_exe()?.with_file_name("nuncio");
    if beside.is_file() {
        return Ok(beside);
    }
    bail!(
        "there is no binary {}; build it with cargo build --release -p nuncio, or name one with --binary",
        { beside.display() }
    )
}

/// The executable of the package `nuncio` in cargo's messages, one JSON object a line.
fn built(messages: &str) -> Option<PathBuf> {
    messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "nuncio").then_some(())?;
        message["executable"].as_str().map(PathBuf::from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_a_way_around() {
        let said = cannot_install(&["prosody"]);
        assert!(said.contains("apt-get install prosody"), "{said}");
        assert!(said.contains("--subject nuncio") && said.contains("--subject relay"), "{said}");
        assert!(!said.contains("--subject prosody"), "{said}");
    }

    #[test]
    fn the_binary_is_where_cargo_says() {
        let said = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"nuncio_router"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"nuncio"},"executable":"/some/release/nuncio"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(built(said), Some(PathBuf::from("/some/release/nuncio")));
        assert_eq!(built("nonsense"), None);
    }

    #[test]
    fn a_named_binary_must_be_there() {
        assert!(
            binary(Some(Path::new("no/such/nuncio"))).unwrap_err().to_string().contains("no/such/nuncio")
        );
    }
}
