//! The schema of dashboards, as an editor uses it: what the server takes is good, and common slips are not. Held against the same texts
//! as the server's own reader.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pattoo_server::dashboard::Dashboard;
use pattoo_tests::{python, root};

const GOOD: &str = "\
version: 1
title: Pumps
range: 6h
variables:
  - { name: site, label: site, default: north }
panels:
  - { title: Flow of $site, type: chart, width: 12, counter: day, repeat: device, series: [{ device: 'pump-*', labels: { site: $site } }] }
  - { type: stat, series: [{ gateway: plant7, point: 'a\\*\\$' }] }
  - { type: state, series: [{ device: pump-1 }] }
  - { type: text, text: Call the plant }
";

/// What stands in [`GOOD`], what stands there instead, and whether that is still good.
const CASES: &[(&str, &str, bool)] = &[
    ("version: 1", "version: 2", false),
    ("title: Pumps", "titel: Pumps", false),
    ("title: Pumps", "title: \"\"", false),
    ("title: Pumps", "title: \"a\\nb\"", false),
    ("title: Pumps", "title: 'Pümps #1'", true),
    ("range: 6h", "range: 6 hours", false),
    ("range: 6h", "range: 0h", false),
    ("range: 6h", "range: 15m", true),
    ("name: site", "name: Site", false),
    ("name: site", "name: device", false),
    ("label: site, ", "", false),
    (", default: north", "", true),
    ("type: chart", "type: graph", false),
    ("width: 12", "width: 13", false),
    ("width: 12", "width: 0", false),
    ("counter: day", "counter: week", false),
    ("repeat: device", "repeat: site", false),
    ("repeat: device", "text: x", false),
    ("type: stat, ", "type: stat, counter: day, ", false),
    ("type: stat, ", "type: stat, repeat: device, ", true),
    ("[{ device: pump-1 }]", "[]", false),
    ("[{ device: pump-1 }]", "[{}]", false),
    ("[{ device: pump-1 }]", "[{ device: pump-1, points: x }]", false),
    ("[{ device: pump-1 }]", "[{ device: pump$ }]", false),
    ("[{ device: pump-1 }]", "[{ labels: { site: '*' } }]", true),
    ("type: state, series: [{ device: pump-1 }]", "type: state", false),
    ("type: text, text: Call the plant", "type: text", false),
    ("text: Call", "series: [{ device: x }], text: Call", false),
    ("gateway: plant7, ", "", true),
];

#[test]
fn schema_and_reader_agree() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let readme = std::fs::read_to_string(root().join("README.md"))?;
    let shown =
        readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).find(|block| block.starts_with("version: 1\n"));
    let mut texts = vec![(GOOD.to_owned(), true), (shown.context("README shows no dashboard")?.to_owned(), true)];
    for (from, to, good) in CASES {
        ensure!(GOOD.contains(from), "the good dashboard has no {from}");
        texts.push((GOOD.replacen(from, to, 1), *good));
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for (n, (text, _)) in texts.iter().enumerate() {
        files.push(folder.path().join(format!("{n}.yaml")));
        std::fs::write(&files[n], text)?;
    }
    let script = root().join("tests/peers/validate_profiles.py");
    let out = Command::new(python()?).arg(script).arg(root().join("server/src/dashboard/schema.json")).args(&files).output()?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let lines = String::from_utf8(out.stdout)?;
    ensure!(lines.lines().count() == texts.len(), "{lines}");
    for ((text, good), line) in texts.iter().zip(lines.lines()) {
        let read = Dashboard::parse(text);
        ensure!(read.is_ok() == *good, "the reader says {read:?} of\n{text}");
        ensure!(line.ends_with(": good") == *good, "the schema says {line} of\n{text}");
    }
    Ok(())
}
