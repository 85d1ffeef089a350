//! Packages and units, as far as that is quick: units verified and scored, packages built from the programs that the tests use and looked
//! into, manuals compared with the command lines. What boots a system is in `packaging_system`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};
use pattoo_tests::program::binary;
use pattoo_tests::root;
use tempfile::TempDir;

/// The newest libc that programs may ask for: that of Debian 12 has 2.36, Yocto's LTS more.
const LIBC: (u32, u32) = (2, 34);

/// What a command says; an error where it fails.
fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    Ok(text)
}

/// The folder of the packages; made once.
fn packages() -> Result<&'static Path> {
    static MADE: OnceLock<Result<TempDir, String>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let make = || -> Result<TempDir> {
            let folder = TempDir::new()?;
            let binaries = binary("pattoo-gateway")?;
            let binaries = binaries.parent().context("a program without a folder")?;
            said(Command::new(root().join("systemd/package")).arg(binaries).arg(folder.path()).args(["--fast"]))?;
            Ok(folder)
        };
        make().map_err(|error| format!("{error:#}"))
    });
    made.as_ref().map(TempDir::path).map_err(|why| anyhow::anyhow!("{why}"))
}

fn package(name: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(packages()?)? {
        let path = entry?.path();
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if file.starts_with(&format!("{name}_")) && file.ends_with(".deb") {
            found.push(path);
        }
    }
    match <[PathBuf; 1]>::try_from(found) {
        Ok([path]) => Ok(path),
        Err(found) => bail!("{name}: expected one package, found {found:?}"),
    }
}

/// Files of a package with their rights and owner; folders left out.
fn content(name: &str) -> Result<BTreeMap<String, String>> {
    let listed = said(Command::new("dpkg-deb").arg("-c").arg(package(name)?))?;
    let files = listed.lines().filter(|line| !line.starts_with('d')).filter_map(|line| {
        let mut words = line.split_whitespace();
        let (rights, owner, path) = (words.next()?, words.next()?, words.nth(3)?);
        // Not each archive has names for its numbers.
        let owner = if owner == "0/0" { "root/root" } else { owner };
        Some((path.trim_start_matches('.').to_owned(), format!("{rights} {owner}")))
    });
    Ok(files.collect())
}

#[test]
fn units_are_as_closed_as_promised() -> Result<()> {
    // Tenths, as `systemd-analyze` counts.
    for (unit, most) in [("pattoo-gateway", 13), ("pattoo-server", 11)] {
        let file = root().join(format!("systemd/{unit}.service"));
        let score = |threshold: u32| {
            let mut command = Command::new("systemd-analyze");
            command.args(["security", "--no-pager", "--offline=yes", &format!("--threshold={threshold}")]).arg(&file);
            command.output()
        };
        let told = score(most)?;
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        ensure!(told.status.success() && text.contains("Overall exposure level"), "{unit} is more open than {most} tenths:\n{text}");
        ensure!(!score(most - 4)?.status.success(), "the threshold is not looked at");
    }
    Ok(())
}

#[test]
fn units_and_their_configuration_are_valid() -> Result<()> {
    // Below a root of their own, with the programs and the manual that they name.
    let folder = TempDir::new()?;
    let at = folder.path();
    for unit in ["pattoo-gateway", "pattoo-server"] {
        let bin = at.join("usr/bin");
        std::fs::create_dir_all(&bin)?;
        std::fs::copy("/bin/true", bin.join(unit))?;
        let units = at.join("usr/lib/systemd/system");
        std::fs::create_dir_all(&units)?;
        std::fs::copy(root().join(format!("systemd/{unit}.service")), units.join(format!("{unit}.service")))?;
        let told = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(format!("--root={}", at.display()))
            .arg(format!("{unit}.service"))
            .output()?;
        let text = String::from_utf8_lossy(&told.stderr).into_owned();
        let own: Vec<_> = text.lines().filter(|line| line.contains(unit)).collect();
        ensure!(told.status.success() && own.is_empty(), "{unit}: {}\n{text}", told.status);
        for kind in ["sysusers", "tmpfiles"] {
            std::fs::create_dir_all(at.join("etc"))?;
            let file = root().join(format!("systemd/{kind}.d/{unit}.conf"));
            ensure!(file.exists(), "{}", file.display());
        }
        said(
            Command::new("systemd-sysusers")
                .arg(format!("--root={}", at.display()))
                .arg(root().join(format!("systemd/sysusers.d/{unit}.conf"))),
        )?;
    }
    let (users, groups) = (std::fs::read_to_string(at.join("etc/passwd"))?, std::fs::read_to_string(at.join("etc/group"))?);
    ensure!(users.contains("pattoo:x:") && users.contains("pattoo-server:x:") && !users.contains("/bin/sh"), "{users}");
    ensure!(groups.lines().any(|line| line.starts_with("dialout:") && line.ends_with(":pattoo")), "{groups}");

    // The configurations that packages bring are good ones.
    let etc = root().join("systemd/etc");
    let mut gateway = Command::new(binary("pattoo-gateway")?);
    gateway.arg("--config").arg(etc.join("gateway.yaml")).arg("--profiles").arg(root().join("hw-profiles"));
    said(gateway.arg("check"))?;
    said(Command::new(binary("pattoo-server")?).arg("check").arg("--config").arg(etc.join("server.yaml")))?;
    Ok(())
}

#[test]
fn packages_hold_what_they_should_and_lintian_has_nothing_to_say() -> Result<()> {
    for unit in ["gateway", "server"] {
        let name = format!("pattoo-{unit}");
        let files = content(&name)?;
        for (path, rights) in [
            (format!("/usr/bin/{name}"), "-rwxr-xr-x root/root"),
            (format!("/usr/lib/systemd/system/{name}.service"), "-rw-r--r-- root/root"),
            (format!("/usr/lib/sysusers.d/{name}.conf"), "-rw-r--r-- root/root"),
            (format!("/usr/lib/tmpfiles.d/{name}.conf"), "-rw-r--r-- root/root"),
            (format!("/etc/pattoo/{unit}.yaml"), "-rw-r--r-- root/root"),
            (format!("/usr/share/man/man1/{name}.1.gz"), "-rw-r--r-- root/root"),
            (format!("/usr/share/man/man1/{name}-run.1.gz"), "-rw-r--r-- root/root"),
            (format!("/usr/share/bash-completion/completions/{name}"), "-rw-r--r-- root/root"),
            (format!("/usr/share/zsh/vendor-completions/_{name}"), "-rw-r--r-- root/root"),
            (format!("/usr/share/fish/vendor_completions.d/{name}.fish"), "-rw-r--r-- root/root"),
            (format!("/usr/share/doc/{name}/copyright"), "-rw-r--r-- root/root"),
            (format!("/usr/share/doc/{name}/changelog.Debian.gz"), "-rw-r--r-- root/root"),
            (format!("/usr/share/doc/{name}/sbom.cdx.json"), "-rw-r--r-- root/root"),
            (format!("/usr/share/doc/{name}/licences.gz"), "-rw-r--r-- root/root"),
        ] {
            ensure!(files.get(&path).is_some_and(|found| found == rights), "{name}: {path} is {:?}\n{files:#?}", files.get(&path));
        }
        let control = TempDir::new()?;
        said(Command::new("dpkg-deb").arg("-e").arg(package(&name)?).arg(control.path()))?;
        let read = |file: &str| std::fs::read_to_string(control.path().join(file)).with_context(|| format!("{name}: {file}"));
        ensure!(read("conffiles")?.trim() == format!("/etc/pattoo/{unit}.yaml"), "{}", read("conffiles")?);
        for script in ["postinst", "prerm", "postrm"] {
            ensure!(read(script)? == std::fs::read_to_string(root().join(format!("systemd/debian/{name}/{script}")))?, "{script}");
        }
        look_at_parts(&name)?;
    }
    let files = content("pattoo-hw-profiles")?;
    for entry in std::fs::read_dir(root().join("hw-profiles"))? {
        let file = entry?.file_name();
        let path = format!("/usr/share/pattoo/hw-profiles/{}", file.to_string_lossy());
        ensure!(files.contains_key(&path), "{path} is not in its package");
    }
    let all: Vec<_> = ["pattoo-gateway", "pattoo-server", "pattoo-hw-profiles"].into_iter().map(package).collect::<Result<_>>()?;
    // Quick packages are not compressed well, which is all that differs.
    let told = said(Command::new("lintian").args(["--fail-on", "error,warning", "--allow-root"]).args(&all))?;
    ensure!(told.trim().is_empty(), "{told}");
    Ok(())
}

/// The bill of materials is whole, each part has a licence, and none is without a text.
fn look_at_parts(name: &str) -> Result<()> {
    let bom: serde_json::Value = serde_json::from_slice(&std::fs::read(packages()?.join(format!("{name}.cdx.json")))?)?;
    ensure!(bom["bomFormat"] == "CycloneDX" && bom["metadata"]["component"]["name"] == *name, "{bom:#}");
    let parts = bom["components"].as_array().context("no components")?;
    let names: BTreeSet<_> = parts.iter().filter_map(|part| part["name"].as_str()).collect();
    let own = if name == "pattoo-gateway" { "sled" } else { "redb" };
    let other = if name == "pattoo-gateway" { "redb" } else { "sled" };
    ensure!(names.contains(own) && names.contains("ring") && names.contains("pattoo-wire") && !names.contains(other), "{names:?}");
    ensure!(!names.contains("proptest") && !names.contains("insta"), "tests are no part of it: {names:?}");
    let texts = std::fs::read_to_string(packages()?.join(format!("{name}.licences")))?;
    for part in parts {
        let (part_name, version) = (part["name"].as_str().unwrap_or_default(), part["version"].as_str().unwrap_or_default());
        ensure!(part["licenses"][0]["expression"].is_string(), "{part:#}");
        ensure!(part_name.starts_with("pattoo-") || part["hashes"][0]["content"].is_string(), "{part:#}");
        ensure!(texts.contains(&format!("{part_name} {version} (")), "no word of {part_name} {version} among the licences");
    }
    Ok(())
}

#[test]
fn programs_ask_for_no_newer_libc_than_their_packages_say() -> Result<()> {
    for name in ["pattoo-gateway", "pattoo-server"] {
        let symbols = said(Command::new("objdump").arg("-T").arg(binary(name)?))?;
        let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
            let digits: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
            let mut parts = digits.split('.').filter_map(|part| part.parse::<u32>().ok());
            Some((parts.next()?, parts.next()?))
        });
        let newest = versions.max().context("no symbol of libc")?;
        ensure!(newest <= LIBC, "{name} asks for glibc {newest:?}; `depends` in its Cargo.toml says {LIBC:?}");
        let manifest = std::fs::read_to_string(root().join(name.trim_start_matches("pattoo-")).join("Cargo.toml"))?;
        ensure!(manifest.contains(&format!("libc6 (>= {}.{})", LIBC.0, LIBC.1)), "{name}");
    }
    Ok(())
}

#[test]
fn manuals_tell_of_each_command_and_read_without_complaint() -> Result<()> {
    let folder = TempDir::new()?;
    said(Command::new(binary("manuals")?).arg(folder.path()))?;
    let man = folder.path().join("man");
    let mut pages = 0;
    for command in [pattoo_gateway::cli::command(), pattoo_server::cli::command()] {
        for sub in command.get_subcommands() {
            let page = man.join(format!("{}-{}.1", command.get_name(), sub.get_name()));
            let text = std::fs::read_to_string(&page).with_context(|| page.display().to_string())?;
            let about = sub.get_about().context("a command that says nothing of itself")?.to_string();
            let first: String = about.split([' ', '\n']).take(3).collect::<Vec<_>>().join(" ");
            ensure!(text.contains(&first), "{}: {first:?}", page.display());
        }
    }
    for entry in std::fs::read_dir(&man)? {
        let told = Command::new("mandoc").args(["-W", "error"]).arg(entry?.path()).output()?;
        ensure!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        pages += 1;
    }
    ensure!(pages >= 15, "only {pages} pages");
    // A shell takes its completions.
    for name in ["pattoo-gateway", "pattoo-server"] {
        said(Command::new("bash").arg("-n").arg(folder.path().join(format!("completions/{name}.bash"))))?;
    }
    Ok(())
}

#[test]
fn scripts_of_packages_are_plain_shell() -> Result<()> {
    for unit in ["pattoo-gateway", "pattoo-server"] {
        for script in ["postinst", "prerm", "postrm"] {
            said(Command::new("dash").arg("-n").arg(root().join(format!("systemd/debian/{unit}/{script}"))))?;
        }
    }
    said(Command::new("bash").arg("-n").arg(root().join("systemd/package")))?;
    Ok(())
}
