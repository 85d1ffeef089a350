//! Every command in the README is run here, as it stands there; the demo among them, so this is also its test.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pattoo_tests::api::Api;
use pattoo_tests::program::{PATIENCE, Program, signal};
use pattoo_tests::{root, wait_for};

/// Where the README's commands expect the page; the demo may have had to take another port.
const README_ADDRESS: &str = "127.0.0.1:8080";
/// A build of everything may come before the demo's first line.
const BUILD_WITHIN: Duration = Duration::from_secs(1200);

/// The lines of all shell blocks.
fn commands(readme: &str) -> Vec<&str> {
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[test]
fn every_command_works() -> Result<()> {
    let readme = std::fs::read_to_string(root().join("README.md"))?;
    let commands = commands(&readme);
    ensure!(commands.len() >= 4, "found only {commands:?}");
    let before = untracked()?;
    let mut demo = None;
    for command in commands {
        match command.split_once(' ').unwrap_or((command, "")) {
            ("cargo", "demo") => demo = Some(Demo::start()?),
            // It is what runs this test; running it from here would never end.
            ("tests/run", _) => {
                ensure!(std::fs::read_to_string(root().join(".ci/run"))?.contains("tests/run"), "CI does not run tests/run")
            }
            ("cargo" | "curl", _) => {
                let address = demo.as_ref().context("the demo comes first in the README")?.address.as_str();
                run(&command.replace(README_ADDRESS, address))?;
            }
            _ => bail!("no test runs the README's {command:?}"),
        }
    }
    demo.context("the README does not show the demo")?.stop()?;
    let after = untracked()?;
    ensure!(after == before, "git sees new files: {after:?}");
    Ok(())
}

struct Demo {
    program: Program,
    address: String,
    home: tempfile::TempDir,
}

impl Demo {
    /// Starts it with an empty home and an empty folder for temporary files, to see that it leaves both alone.
    fn start() -> Result<Self> {
        let home = tempfile::tempdir()?;
        let mut command = Command::new("cargo");
        command.arg("demo").current_dir(root());
        for (key, default) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            let value =
                std::env::var_os(key).unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(default).into());
            command.env(key, value);
        }
        for variable in ["HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"] {
            command.env(variable, home.path());
        }
        let program = Program::start("demo", &mut command)?;
        let up = wait_for("the demo to be up", BUILD_WITHIN, || {
            program.output().into_iter().find(|line| line.contains("Up after") || line.starts_with("error") || line.starts_with("demo: "))
        })
        .with_context(|| program.output().join("\n"))?;
        let address = up.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.with_context(|| program.output().join("\n"))?.to_owned();
        let link = up.split("#link=").nth(1).with_context(|| format!("{up}: no link"))?;
        let link = serde_json::json!({ "link": link.trim() });
        let (status, cookie, session) = Api { address: address.parse()? }.send("POST", "/api/v1/session/link", &[], Some(&link))?;
        ensure!(
            status == 200 && cookie.is_some() && session.contains("\"admin\"") && session.contains("\"must_choose\":false"),
            "{session}"
        );
        Ok(Self { program, address, home })
    }

    /// Ctrl-C, as a terminal sends it.
    fn stop(mut self) -> Result<()> {
        let child = wait_for("the demo below cargo", PATIENCE, || demo_below(self.program.id()))?;
        signal(child, "INT")?;
        let status = self.program.wait()?;
        let output = self.program.output().join("\n");
        ensure!(status.success() && output.contains("stopped"), "the demo ended with {status}:\n{output}");
        ensure!(!output.contains("did not stop"), "{output}");
        let strays: Vec<_> = std::fs::read_dir(self.home.path())?.flatten().map(|entry| entry.path()).collect();
        ensure!(strays.is_empty(), "the demo wrote outside the checkout: {strays:?}");
        Ok(())
    }
}

/// The demo itself: cargo replaces itself by it, or has it as its child.
fn demo_below(cargo: u32) -> Option<u32> {
    let name = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if name(cargo).trim() == "demo" {
        return Some(cargo);
    }
    let children = std::fs::read_to_string(format!("/proc/{cargo}/task/{cargo}/children")).ok()?;
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid| name(*pid).trim() == "demo")
}

fn run(command: &str) -> Result<()> {
    let Output { status, stdout, stderr } = Command::new("sh").args(["-c", command]).current_dir(root()).output()?;
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    ensure!(status.success() && !stdout.trim().is_empty(), "{command}\n{status}\n{stdout}\n{stderr}");
    Ok(())
}

/// Files that git neither tracks nor ignores.
fn untracked() -> Result<Vec<String>> {
    let output = Command::new("git").args(["ls-files", "--others", "--exclude-standard"]).current_dir(root()).output()?;
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}
