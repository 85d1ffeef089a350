//! The schema beside the profiles, as an editor uses it: every profile that we ship is good, and common slips are not.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use pattoo_tests::{profiles, python, root};

const GOOD: &str = "\
schema: 1
id: meter
manufacturer: Someone
model: M1
modbus: { max_registers: 10, invalid: { i16: [0x8000, 0x7FFF] }, blocks: [[0, 99]], serial: { baud: 9600, parity: even } }
match: { identity: { vendor: Some }, registers: [ { holding: 11, type: u16, between: [[1, 2], [5, 6]] }, { input: 3, type: u16, equals: 7 } ] }
points:
  - { name: voltage, unit: V, read: { input: 0, type: u16, scale: 0.1, invalid: 0xFFFF }, range: [0, 500.5] }
  - { name: step, read: { holding: 16, type: u16, bits: [4, 6] }, states: { 0: off, 0x5: full }, every: 60s }
  - { name: outside, read: { modicon: 40031, type: i8_low, offset: -40 } }
  - { name: label, kind: text, read: { holding: 20, type: text, registers: 5, bytes: low_first } }
  - { name: limit, read: { holding: 30, type: u16 }, writable: { min: 0, max: 90, function: 16, settle: 200ms } }
  - { name: pump, read: { coil: 0 }, writable: true }
";

/// What stands in [`GOOD`], what stands there instead, and where that is wrong.
const BAD: &[(&str, &str, &str)] = &[
    ("manufacturer:", "manufacterer:", "$"),
    ("id: meter", "id: My meter", "$.id"),
    ("schema: 1", "schema: 2", "$.schema"),
    ("max_registers: 10", "max_registers: 126", "$.modbus.max_registers"),
    ("i16: [", "int16: [", "$.modbus.invalid"),
    ("vendor:", "vender:", "$.match.identity"),
    ("equals: 7", "equal: 7", "$.match.registers[1]"),
    ("equals: 7", "equals: seven", "$.match.registers[1].equals"),
    ("holding: 11", "holding: 70000", "$.match.registers[0].holding"),
    ("parity: even", "parity: evn", "$.modbus.serial.parity"),
    ("[0, 99]", "[0, 99, 100]", "$.modbus.blocks[0]"),
    ("type: u16, scale", "type: uint16, scale", "$.points[0].read.type"),
    ("input: 0,", "input: 70000,", "$.points[0].read.input"),
    ("input: 0,", "input: 0, holding: 0,", "$.points[0].read"),
    ("input: 0,", "", "$.points[0].read"),
    ("scale: 0.1", "scale: 0", "$.points[0].read.scale"),
    ("name: step", "name: Step 1", "$.points[1].name"),
    ("0x5: full", "five: full", "$.points[1].states"),
    ("every: 60s", "every: 60", "$.points[1].every"),
    ("modicon: 40031", "modicon: 0", "$.points[2].read.modicon"),
    ("kind: text", "kind: words", "$.points[3].kind"),
    ("registers: 5", "registers: 126", "$.points[3].read.registers"),
    ("bytes: low_first", "bytes: last_first", "$.points[3].read.bytes"),
    ("function: 16", "function: 7", "$.points[4].writable"),
    ("writable: true", "writable: false", "$.points[5].writable"),
];

/// A line for each file, without its path.
fn validate(files: &[PathBuf]) -> Result<Vec<String>> {
    let script = root().join("tests/peers/validate_profiles.py");
    let out = Command::new(python()?).arg(script).arg(profiles().join("profile.schema.json")).args(files).output()?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let lines: Vec<_> = String::from_utf8(out.stdout)?.lines().map(str::to_owned).collect();
    ensure!(lines.len() == files.len(), "{} lines for {} files: {lines:?}", lines.len(), files.len());
    let of = |(line, file): (&String, &PathBuf)| {
        line.strip_prefix(&format!("{}: ", file.display()))
            .map(str::to_owned)
            .with_context(|| format!("{line:?} is not about {}", file.display()))
    };
    lines.iter().zip(files).map(of).collect()
}

#[test]
fn every_profile_that_we_ship_is_good() -> Result<()> {
    let entries = std::fs::read_dir(profiles())?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let files: Vec<_> = entries.into_iter().filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    ensure!(files.len() > 20, "only {} profiles", files.len());
    for (file, line) in files.iter().zip(validate(&files)?) {
        ensure!(line == "good", "{}: {line}", file.display());
    }
    Ok(())
}

#[test]
fn slips_are_found_where_they_are() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |number: usize, text: &str| -> Result<PathBuf> {
        let path: PathBuf = Path::new(folder.path()).join(format!("{number}.yaml"));
        std::fs::write(&path, text)?;
        Ok(path)
    };
    let mut files = vec![file(0, GOOD)?];
    for (number, (from, to, _)) in BAD.iter().enumerate() {
        ensure!(GOOD.contains(from), "the good profile has no {from}");
        files.push(file(number + 1, &GOOD.replacen(from, to, 1))?);
    }
    let lines = validate(&files)?;
    ensure!(lines.first().is_some_and(|line| line == "good"), "{lines:?}");
    for ((_, to, place), line) in BAD.iter().zip(lines.iter().skip(1)) {
        ensure!(line.starts_with(&format!("{place}: ")), "{to}: {line}, expected something about {place}");
    }
    Ok(())
}
