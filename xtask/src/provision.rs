//! What the interop suites and the benches need on the machine: installed if it is missing and we may, named clearly if not.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::process::{self, command};

/// A command, or a file below a folder of libraries (`*` stands for one folder), and the Debian package that brings it.
const NEEDED: &[(&str, &str)] = &[
    ("prosody", "prosody"),
    ("erl", "ejabberd"),
    ("ejabberdctl", "ejabberd"),
    ("profanity", "profanity"),
    ("tmux", "tmux"),
    ("knotd", "knot"),
    ("keymgr", "knot"),
    ("unbound", "unbound"),
    ("/usr/lib/*/lua/5.4/lunbound.so", "lua-unbound"),
    ("setpriv", "util-linux"),
    ("openssl", "openssl"),
    ("kamailio", "kamailio"),
    ("/usr/lib/*/kamailio/modules/tls.so", "kamailio-tls-modules"),
    ("tshark", "tshark"),
    ("python3", "python3"),
];

/// Keeps Debian from starting the services that a package brings; removed afterwards.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs missing packages and makes the virtual environment; the environment's Python.
pub(crate) fn all(root: &Path) -> Result<PathBuf> {
    tools(root, NEEDED)?;
    python(root)
}

/// Installs the packages of those commands that are missing; an error names them where that may not be done.
pub(crate) fn tools(root: &Path, needed: &[(&str, &str)]) -> Result<()> {
    let mut missing: Vec<&str> =
        needed.iter().filter(|(tool, _)| !on_path(tool)).map(|(_, package)| *package).collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() {
        bail!("missing: install the Debian packages {} (as root: apt-get install {0})", missing.join(" "));
    }
    println!("installing {}", missing.join(" "));
    let _policy = ServicePolicy::deny()?;
    let limit = Duration::from_secs(900);
    let apt = |words: &[&str]| {
        process::shown(command("apt-get", words, root).env("DEBIAN_FRONTEND", "noninteractive"), limit)
    };
    if !apt(&["update", "-q"])?.good {
        println!("apt-get update failed; going on with the package lists that are there");
    }
    let words = [&["install", "-y", "-q", "--no-install-recommends"], missing.as_slice()].concat();
    if !apt(&words)?.good {
        bail!("apt-get could not install {}", missing.join(" "));
    }
    match needed.iter().find(|(tool, _)| !on_path(tool)) {
        Some((tool, package)) => bail!("the package {package} is installed, but there is no {tool}"),
        None => Ok(()),
    }
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

/// The Python of `target/peers/venv` with what `tests/requirements.txt` pins; made anew when that file changes.
pub(crate) fn python(root: &Path) -> Result<PathBuf> {
    let venv = root.join("target/peers/venv");
    let python = venv.join("bin/python");
    let wanted = std::fs::read_to_string(root.join("tests/requirements.txt"))?;
    let stamp = venv.join("requirements.txt");
    if python.exists() && std::fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return Ok(python);
    }
    println!("making the Python environment of the interop suites");
    std::fs::create_dir_all(root.join("target/peers"))?;
    let limit = Duration::from_secs(600);
    let make = || {
        process::said(
            command("python3", &["-m", "venv", "--clear", "target/peers/venv"], root)
                .env_remove("PYTHONHOME"),
        )
    };
    if make().is_err() {
        // Debian keeps the module in a package of its own.
        if !is_root() {
            bail!("python3 has no module venv: install the Debian package python3-venv");
        }
        process::shown(&mut command("apt-get", &["install", "-y", "-q", "python3-venv"], root), limit)?;
        make().context("python3-venv is installed, but python3 -m venv fails")?;
    }
    let pip = [
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--no-input",
        "-r",
        "tests/requirements.txt",
    ];
    let mut install = Command::new(&python);
    install.args(pip).current_dir(root);
    if !process::shown(&mut install, limit)?.good {
        bail!("pip could not install tests/requirements.txt");
    }
    std::fs::write(stamp, wanted)?;
    Ok(python)
}

fn on_path(tool: &str) -> bool {
    if let Some((before, after)) = tool.split_once("/*/") {
        let folders = std::fs::read_dir(before).into_iter().flatten().flatten();
        return folders.into_iter().any(|folder| folder.path().join(after).is_file());
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .any(|folder| folder.join(tool).is_file())
}

fn is_root() -> bool {
    process::said(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}
