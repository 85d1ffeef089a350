//! Temperature sensors of `/sys/class`. Shell. A sensor may take a while to answer, so this runs in a [`super::probe::Probe`].
//!
//! The sysinfo crate is not asked: it joins sensors of the same label into one (two drives of one model) and keeps the old value
//! of one that fails.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use pattoo_wire::Reason;

use super::snapshot::Sensor;

/// Most sensors that are looked at; far above the most rows of a metric.
const MAX_SENSORS: usize = 512;

/// A sensor as the kernel shows it.
struct Found {
    /// `coretemp`, `nvme`.
    chip: String,
    /// `Core 0`, or `temp1` where it has no label.
    label: String,
    /// The device that the chip belongs to, `nvme0`: stays the same when the kernel numbers its chips anew.
    device: Option<String>,
    millidegrees: Result<i64, Reason>,
}

/// All sensors of `hwmon`; where there is none, the thermal zones.
pub(super) fn read(class: &Path) -> Vec<Sensor> {
    let mut found = entries(&class.join("hwmon"), "hwmon").iter().flat_map(|folder| chip(folder)).take(MAX_SENSORS).collect::<Vec<_>>();
    if found.is_empty() {
        found = entries(&class.join("thermal"), "thermal_zone").iter().filter_map(|folder| zone(folder)).take(MAX_SENSORS).collect();
    }
    named(found)
}

/// Folders of this prefix in the order of their numbers.
fn entries(folder: &Path, prefix: &str) -> Vec<std::path::PathBuf> {
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix(prefix)?.parse::<u32>().ok();
    let mut found: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| Some((number(&entry.path())?, entry.path()))).collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

fn chip(folder: &Path) -> Vec<Found> {
    let Some(name) = line(&folder.join("name")) else { return Vec::new() };
    let device = fs::canonicalize(folder.join("device")).ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let channel = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix("temp")?.strip_suffix("_input")?.parse::<u32>().ok();
    let mut channels: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().filter_map(channel).collect();
    channels.sort_unstable();
    let sensor = |channel: u32| Found {
        chip: name.clone(),
        label: line(&folder.join(format!("temp{channel}_label"))).unwrap_or_else(|| format!("temp{channel}")),
        device: device.clone(),
        millidegrees: millidegrees(&folder.join(format!("temp{channel}_input"))),
    };
    channels.into_iter().map(sensor).collect()
}

fn zone(folder: &Path) -> Option<Found> {
    let label = folder.file_name()?.to_str()?.to_owned();
    Some(Found { chip: line(&folder.join("type"))?, label, device: None, millidegrees: millidegrees(&folder.join("temp")) })
}

/// A sensor that is there and gives no number is unavailable at the moment: it is asleep or has no probe.
fn millidegrees(file: &Path) -> Result<i64, Reason> {
    line(file).and_then(|text| text.parse().ok()).ok_or(Reason::Unavailable)
}

fn line(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// `chip label`; where several have the same, their device in brackets; where that does not help either, a number.
fn named(found: Vec<Found>) -> Vec<Sensor> {
    let short = |f: &Found| format!("{} {}", f.chip, f.label);
    let long = |f: &Found| f.device.as_ref().map_or_else(|| short(f), |device| format!("{} ({device})", short(f)));
    let mut same: HashMap<String, usize> = HashMap::new();
    found.iter().for_each(|f| *same.entry(short(f)).or_default() += 1);
    let mut used: HashMap<String, usize> = HashMap::new();
    let name = |f: Found| {
        let name = if same.get(&short(&f)).is_some_and(|n| *n > 1) { long(&f) } else { short(&f) };
        let times = used.entry(name.clone()).or_default();
        *times += 1;
        let identity = if *times > 1 { format!("{name} #{times}") } else { name };
        Sensor { identity, millidegrees: f.millidegrees }
    };
    found.into_iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    fn found(root: &Path) -> Vec<(String, Result<i64, Reason>)> {
        read(root).into_iter().map(|s| (s.identity, s.millidegrees)).collect()
    }

    #[test]
    fn two_drives_of_one_model_are_two_sensors_and_a_failing_one_is_bad() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path(),
            &[
                ("hwmon/hwmon0/name", "coretemp\n"),
                ("hwmon/hwmon0/temp2_input", "45000\n"),
                ("hwmon/hwmon0/temp2_label", "Core 0\n"),
                ("hwmon/hwmon0/temp10_input", "-500\n"),
                ("hwmon/hwmon0/temp1_crit", "99000\n"),
                ("hwmon/hwmon0/fan1_input", "1200\n"),
                ("hwmon/hwmon1/name", "nvme\n"),
                ("hwmon/hwmon1/temp1_input", "30850\n"),
                ("hwmon/hwmon1/temp1_label", "Composite\n"),
                ("hwmon/hwmon10/name", "nvme\n"),
                ("hwmon/hwmon10/temp1_input", "not now\n"),
                ("hwmon/hwmon10/temp1_label", "Composite\n"),
                ("hwmon/hwmon10/device/x", ""),
                ("hwmon/hwmon2/temp1_input", "1\n"),
                ("thermal/thermal_zone0/type", "cpu-thermal\n"),
                ("thermal/thermal_zone0/temp", "1000\n"),
                ("devices/nvme0/x", ""),
            ],
        );
        std::os::unix::fs::symlink(root.path().join("devices/nvme0"), root.path().join("hwmon/hwmon1/device")).unwrap();
        let expected = [
            ("coretemp Core 0", Ok(45_000)),
            ("coretemp temp10", Ok(-500)),
            ("nvme Composite (nvme0)", Ok(30_850)),
            ("nvme Composite (device)", Err(Reason::Unavailable)),
        ];
        assert_eq!(found(root.path()), expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn thermal_zones_stand_in_where_there_is_no_hwmon() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(found(root.path()), []);
        write(
            root.path(),
            &[
                ("thermal/thermal_zone0/type", "cpu-thermal\n"),
                ("thermal/thermal_zone0/temp", "48312\n"),
                ("thermal/cooling_device0/type", "x\n"),
            ],
        );
        assert_eq!(found(root.path()), [("cpu-thermal thermal_zone0".to_owned(), Ok(48_312))]);
    }

    #[test]
    fn sensors_that_cannot_be_told_apart_are_numbered() {
        let same = || Found { chip: "tmp102".into(), label: "temp1".into(), device: None, millidegrees: Ok(1) };
        let names: Vec<_> = named(vec![same(), same()]).into_iter().map(|s| s.identity).collect();
        assert_eq!(names, ["tmp102 temp1", "tmp102 temp1 #2"]);
    }
}
