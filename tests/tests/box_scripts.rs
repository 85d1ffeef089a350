//! The scripts of a flashed box, run in a folder of their own with made-up commands: first boot, and what happens around an update.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use pattoo_tests::root;

const CORE: &str = "yocto/meta-pattoo/recipes-core";
/// What the box's own commands are here. `log` in the folder says how they were called.
const FAKES: &[(&str, &str)] = &[
    ("chown", r#"echo "chown $*" >>"$FAKE/log""#),
    ("df", r#"printf 'Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/x 1 1 %s 1%% /data\n' "$(cat "$FAKE/free_kib")""#),
    ("rauc", r#"echo "rauc $*" >>"$FAKE/log"; [ ! -e "$FAKE/rauc_fails" ]"#),
    ("sleep", r#"echo "sleep $*" >>"$FAKE/log""#),
    // A power cut, as far as a script can see one: it ends at that place.
    ("sync", r#"echo "sync" >>"$FAKE/syncs"; [ "$(wc -l <"$FAKE/syncs")" -ne "$(cat "$FAKE/cut_at" 2>/dev/null || echo 0)" ]"#),
    // Says one line of `states` after the other, the last one for ever.
    (
        "systemctl",
        r#"echo "systemctl $*" >>"$FAKE/log"
[ "$1" = show ] || exit 0
line=$(head -n 1 "$FAKE/states")
[ "$(wc -l <"$FAKE/states")" -le 1 ] || sed -i 1d "$FAKE/states"
printf 'ActiveState=%s\nInvocationID=%s\n' "${line% *}" "${line#* }""#,
    ),
];

/// A root folder with commands beside it.
struct Board {
    folder: tempfile::TempDir,
}

impl Board {
    fn new(files: &[(&str, &str)]) -> Result<Self> {
        let made = Self { folder: tempfile::tempdir()? };
        for (name, body) in FAKES {
            let path = made.fake(name);
            std::fs::create_dir_all(path.parent().context("a folder")?)?;
            std::fs::write(&path, format!("#!/bin/sh\n{body}\n"))?;
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755))?;
        }
        std::fs::write(made.folder.path().join("free_kib"), "100000")?;
        files.iter().try_for_each(|(path, content)| made.write(path, content))?;
        Ok(made)
    }

    fn fake(&self, name: &str) -> PathBuf {
        self.folder.path().join("bin").join(name)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path)
    }

    fn write(&self, path: &str, content: &str) -> Result<()> {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        Ok(std::fs::write(path, content)?)
    }

    fn set(&self, name: &str, content: &str) -> Result<()> {
        Ok(std::fs::write(self.folder.path().join(name), content)?)
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.at(path)).unwrap_or_default()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn run(&self, script: &str, environment: &[(&str, &str)]) -> Result<Said> {
        let path = format!("{}:{}", self.folder.path().join("bin").display(), std::env::var("PATH")?);
        let mut command = Command::new("sh");
        command.arg(root().join(CORE).join(script)).env("PATH", path).env("FAKE", self.folder.path());
        command.env("PATTOO_ROOT", self.folder.path().join("root")).envs(environment.iter().copied());
        let Output { status, stdout, stderr } = command.output()?;
        let text = [stdout, stderr].concat();
        Ok(Said { code: status.code(), text: String::from_utf8_lossy(&text).into_owned() })
    }

    /// All files of the data partition, with what is in them and who may read them.
    fn data(&self) -> Result<BTreeMap<PathBuf, (String, u32)>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.at("data")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let mode = path.metadata()?.permissions().mode() & 0o777;
                    found.insert(path.strip_prefix(self.at("data"))?.to_owned(), (std::fs::read_to_string(&path)?, mode));
                }
            }
        }
        Ok(found)
    }
}

struct Said {
    code: Option<i32>,
    text: String,
}

impl Said {
    fn expect(&self, what: &str, code: i32, parts: &[&str]) -> Result<()> {
        ensure!(self.code == Some(code), "{what}: exit status {:?}, expected {code}\n{}", self.code, self.text);
        for part in parts {
            ensure!(self.text.contains(part), "{what}: found {:?}, expected it to say {part:?}", self.text);
        }
        Ok(())
    }
}

const PROVISION: &str = "pattoo-provision/files/pattoo-provision";
const PACKAGED: (&str, &str) =
    ("etc/pattoo/gateway.yaml", "# Name\ngateway: gateway\nuplink: { url: mqtt://127.0.0.1:1883 }\ndevices: []\n");
const SERIAL: (&str, &str) = ("proc/device-tree/serial-number", "10000000ABCD1234\0");
const TOKEN: (&str, &str) = ("boot/pattoo/gateway.token", "plant7:secret\n");
const CONF: &str = "boot/pattoo/provision.conf";

#[test]
fn the_first_boot_gives_a_box_its_name_and_server() -> Result<()> {
    let url = (CONF, "# ours\r\nurl=mqtts://ops.example:8883\r\n");
    let both = (CONF, "name=hut-3\nurl=mqtts://[::1]:8883");
    let mac = ("sys/class/net/eth0/address", "dc:a6:32:00:11:22\n");
    let zeros = ("proc/device-tree/serial-number", "0000000000000000\0");
    let local = r#"uplink: { url: "mqtt://127.0.0.1:1883" }"#;
    let token = r#"uplink: { url: "mqtts://ops.example:8883", credentials: /etc/pattoo/credentials/gateway/gateway.token }"#;
    let certificate = "ca: /etc/pattoo/ca.pem, certificate: /etc/pattoo/gateway.pem, key: /etc/pattoo/credentials/gateway/gateway.key }";
    let pem = [("boot/pattoo/ca.pem", "CA"), ("boot/pattoo/gateway.pem", "OWN"), ("boot/pattoo/gateway.key", "KEY")];
    for (what, files, name, uplink) in [
        ("token and URL", vec![TOKEN, url, SERIAL], r#"gateway: "plant7""#, token),
        ("a name of its own", vec![TOKEN, both], r#"gateway: "hut-3""#, r#"uplink: { url: "mqtts://[::1]:8883", credentials"#),
        ("certificate", [&[url, SERIAL][..], &pem].concat(), r#"gateway: "pattoo-0000abcd1234""#, certificate),
        ("serial number", vec![SERIAL, mac], r#"gateway: "pattoo-0000abcd1234""#, local),
        ("no serial number", vec![zeros, mac], r#"gateway: "pattoo-dca632001122""#, local),
    ] {
        let here = Board::new(&[&[PACKAGED], &files[..]].concat())?;
        here.run(PROVISION, &[])?.expect(what, 0, &["this box is"])?;
        let config = here.read("data/pattoo/etc/gateway.yaml");
        ensure!(config.contains(name) && config.contains(uplink), "{what}: found {config}");
        ensure!(config.starts_with("# Name\n") && config.ends_with("devices: []\n"), "{what}: the rest is gone: {config}");
        ensure!(here.log().contains("chown root:pattoo ") && !here.at("data/pattoo/etc/gateway.yaml.draft").exists(), "{what}");
    }
    Ok(())
}

#[test]
fn the_packaged_configuration_has_the_lines_that_a_first_boot_fills_in() -> Result<()> {
    let packaged = std::fs::read_to_string(root().join("systemd/etc/gateway.yaml"))?;
    let here = Board::new(&[("etc/pattoo/gateway.yaml", packaged.as_str()), TOKEN])?;
    here.run(PROVISION, &[])?.expect("first boot", 0, &["this box is plant7"])
}

#[test]
fn secrets_leave_the_boot_partition_and_are_for_root_only() -> Result<()> {
    let here = Board::new(&[PACKAGED, TOKEN, ("boot/pattoo/gateway.key", "KEY"), ("boot/pattoo/ca.pem", "CA")])?;
    here.run(PROVISION, &[])?.expect("first boot", 0, &[])?;
    let data = here.data()?;
    for (file, content, mode) in [
        ("pattoo/etc/credentials/gateway/gateway.token", "plant7:secret\n", 0o600),
        ("pattoo/etc/credentials/gateway/gateway.key", "KEY", 0o600),
        ("pattoo/etc/ca.pem", "CA", 0o644),
    ] {
        let found = data.get(Path::new(file));
        ensure!(found == Some(&(content.to_owned(), mode)), "{file}: found {found:?}");
    }
    ensure!(data.get(Path::new("pattoo/etc/gateway.yaml")).is_some_and(|(_, mode)| *mode == 0o640));
    let folder = here.at("data/pattoo/etc/credentials").metadata()?.permissions().mode() & 0o777;
    ensure!(folder == 0o700, "credentials: {folder:o}");
    for (file, stays) in [("gateway.token", false), ("gateway.key", false), ("ca.pem", true)] {
        ensure!(here.at("boot/pattoo").join(file).exists() == stays, "{file}");
    }
    Ok(())
}

#[test]
fn later_boots_take_over_new_secrets_and_nothing_else() -> Result<()> {
    let here = Board::new(&[PACKAGED, TOKEN])?;
    here.run(PROVISION, &[])?.expect("first boot", 0, &[])?;
    here.write("data/pattoo/etc/gateway.yaml", "gateway: plant7\n# mine\n")?;
    let before = here.data()?;
    here.run(PROVISION, &[])?.expect("second boot", 0, &[])?;
    ensure!(here.data()? == before, "a boot without anything new changed something");
    here.write(TOKEN.0, "plant7:newer\n")?;
    here.write(CONF, "name=other\n")?;
    here.run(PROVISION, &[])?.expect("third boot", 0, &["name=other changes nothing", "edit /etc/pattoo/gateway.yaml"])?;
    ensure!(here.read("data/pattoo/etc/gateway.yaml") == "gateway: plant7\n# mine\n");
    ensure!(here.read("data/pattoo/etc/credentials/gateway/gateway.token") == "plant7:newer\n");
    Ok(())
}

#[test]
fn what_cannot_be_right_is_refused_and_nothing_is_changed() -> Result<()> {
    let long = "x".repeat(70_000);
    let broken = ("etc/pattoo/gateway.yaml", "nothing: here\n");
    for (what, file, content, said) in [
        ("unknown key", CONF, "name=a\n\ntoken=x\n", "provision.conf:3: found \"token\""),
        ("no key", CONF, "hello\n", "provision.conf:1: found \"hello\""),
        ("name", CONF, "name=../up\n", "\"../up\" is not a name"),
        ("name with a quote", CONF, "name=a\"b\n", "is not a name"),
        ("long name", CONF, &format!("name={}\n", "n".repeat(65)), "longer than 64"),
        ("URL", CONF, "name=a\nurl=http://x\n", "expected mqtts://host:port"),
        ("URL with a bar", CONF, "name=a\nurl=mqtt://x|y\n", "expected mqtts://host:port"),
        ("URL without a host", CONF, "name=a\nurl=mqtts://\n", "expected mqtts://host:port"),
        ("large conf", CONF, &long, "larger than 65536 bytes"),
        ("two tokens", TOKEN.0, "a:b\nc:d\n", "expected one line, name:token"),
        ("token without a name", TOKEN.0, "secret\n", "expected one line, name:token"),
        ("empty token", TOKEN.0, "", "gateway.token is empty"),
        ("large authority", "boot/pattoo/ca.pem", &long, "larger than 65536 bytes"),
        ("packaged file", broken.0, broken.1, "has no lines gateway: and uplink:"),
    ] {
        let here = Board::new(&[PACKAGED, SERIAL, (file, content)])?;
        here.run(PROVISION, &[])?.expect(what, 1, &[said])?;
        ensure!(!here.at("data/pattoo/etc/gateway.yaml").exists(), "{what}: there is a configuration");
        ensure!(file != TOKEN.0 || here.at(TOKEN.0).exists(), "{what}: the token is gone");
    }
    Ok(())
}

#[test]
fn a_first_boot_that_is_cut_anywhere_is_made_up_for_by_the_next() -> Result<()> {
    let files =
        [PACKAGED, TOKEN, (CONF, "url=mqtts://ops.example:8883\n"), ("boot/pattoo/ca.pem", "CA"), ("etc/pattoo/server.yaml", "data: x\n")];
    let whole = Board::new(&files)?;
    whole.run(PROVISION, &[])?.expect("whole", 0, &[])?;
    let (whole, syncs) = (whole.data()?, std::fs::read_to_string(whole.folder.path().join("syncs"))?.lines().count());
    ensure!(syncs >= 9 && whole.len() == 4, "{syncs} places, {whole:?}");
    for cut in 1..syncs {
        let here = Board::new(&files)?;
        here.set("cut_at", &cut.to_string())?;
        here.run(PROVISION, &[])?.expect("cut", 1, &[])?;
        here.run(PROVISION, &[])?.expect(&format!("boot after a cut at {cut}"), 0, &[])?;
        let found = here.data()?;
        ensure!(found == whole, "cut at {cut}: {found:?}");
    }
    Ok(())
}

const MOUNTED: &str = "21 1 179:2 / / ro,relatime - ext4 /dev/mmcblk0p2 ro\n\
    30 21 179:4 / /data rw,noatime shared:5 - ext4 /dev/mmcblk0p4 rw\n\
    31 21 179:4 /pattoo/lib /var/lib/pattoo rw,noatime shared:5 - ext4 /dev/mmcblk0p4 rw\n";

#[test]
fn an_update_is_refused_while_the_buffer_cannot_be_kept() -> Result<()> {
    let unmounted = "21 1 179:2 / / rw - ext4 /dev/mmcblk0p2 rw\n";
    let in_slot = MOUNTED.lines().take(2).fold(String::new(), |text, line| text + line + "\n");
    let covered = format!("{MOUNTED}40 21 0:30 / /var/lib/pattoo rw - tmpfs tmpfs rw\n");
    let read_only = MOUNTED.replace("/data rw", "/data ro");
    let formats = "RAUC_META_PATTOO_BUFFER_FORMATS";
    for (what, mounted, free_kib, errors, formats, refused) in [
        ("all well", MOUNTED, "65536", "0", None, None),
        ("a bundle that reads this format", MOUNTED, "65536", "0", Some((formats, "1 2")), None),
        ("no data partition", unmounted, "65536", "0", None, Some("/data is not mounted")),
        ("buffer in the slot", &in_slot, "65536", "0", None, Some("is not on the data partition")),
        ("buffer in memory", &covered, "65536", "0", None, Some("is not on the data partition")),
        ("read-only", &read_only, "65536", "0", None, Some("mounted read-only")),
        ("full", MOUNTED, "65535", "0", None, Some("has 65535 KiB free, expected at least 65536")),
        ("damaged", MOUNTED, "65536", "3", None, Some("counts 3 errors")),
        ("a bundle that reads another format", MOUNTED, "65536", "0", Some((formats, "2 11")), Some("this box has format 1")),
    ] {
        let errors = ("sys/fs/ext4/mmcblk0p4/errors_count", errors);
        let here = Board::new(&[("proc/self/mountinfo", mounted), errors, ("var/lib/pattoo/buffer/head", "")])?;
        here.set("free_kib", free_kib)?;
        let said = here.run("pattoo-update/files/pattoo-pre-update", formats.as_slice())?;
        match refused {
            None => said.expect(what, 0, &["the buffer stays on /dev/mmcblk0p4"])?,
            Some(why) => said.expect(what, 1, &[why, "no update"])?,
        }
        ensure!(!here.at("var/lib/pattoo/.pre-update").exists(), "{what}: the probe stays");
    }
    // Where it cannot even write: there is no such folder.
    let here = Board::new(&[("proc/self/mountinfo", MOUNTED)])?;
    here.run("pattoo-update/files/pattoo-pre-update", &[])?.expect("no folder", 1, &["cannot be written"])
}

const HEALTH: &str = "pattoo-update/files/pattoo-health";
const TRIAL: &str = "data/pattoo/trial";

#[test]
fn a_slot_is_good_only_once_the_daemon_is_ready_and_stays_so() -> Result<()> {
    let restarting = (0..200).fold(String::new(), |text, run| text + &format!("active {run}\n"));
    let late = "activating -\n".repeat(50) + "active a\n";
    let restarted_once = "active a\n".repeat(10) + "failed a\nactive b\n";
    for (what, states, good, looks) in [
        ("ready at once", "active a\n", true, 12),
        ("ready late", late.as_str(), true, 62),
        ("restarted once, then well", restarted_once.as_str(), true, 23),
        ("never ready", "activating -\n", false, 120),
        ("failed", "failed a\n", false, 120),
        ("restarted again and again, by its watchdog say", restarting.as_str(), false, 120),
    ] {
        let here = Board::new(&[])?;
        here.set("states", states)?;
        here.run(HEALTH, &[])?.expect(what, i32::from(!good), &[])?;
        let log = here.log();
        ensure!(log.contains("rauc status mark-good") == good, "{what}: {log}");
        ensure!(log.matches("sleep 5").count() == looks, "{what}: {} pauses, expected {looks}", log.matches("sleep 5").count());
        ensure!(!log.contains("reboot"), "{what}: a box that is not on trial was rebooted");
        ensure!(log.contains("pattoo-gateway.service"), "{what}: {log}");
    }
    let here = Board::new(&[])?;
    here.set("states", "active a\n")?;
    here.set("rauc_fails", "")?;
    here.run(HEALTH, &[("PATTOO_UNIT", "pattoo-server.service")])?.expect("RAUC fails", 1, &["RAUC did not mark the slot"])?;
    ensure!(here.log().contains("pattoo-server.service"));
    Ok(())
}

#[test]
fn a_slot_on_trial_is_left_after_as_many_boots_as_the_bootloader_gives_it() -> Result<()> {
    let here = Board::new(&[])?;
    here.run("pattoo-update/files/pattoo-post-update", &[])?.expect("after an update", 0, &[])?;
    ensure!(here.read(TRIAL) == "3\n", "{}", here.read(TRIAL));
    here.set("states", "failed a\n")?;
    for (boot, reboots, left) in [(1, 1, "2\n"), (2, 2, "1\n"), (3, 3, "0\n"), (4, 3, "0\n")] {
        here.run(HEALTH, &[])?.expect("unwell", 1, &["not marked good"])?;
        let found = here.log().matches("systemctl reboot").count();
        ensure!(found == reboots && here.read(TRIAL) == left, "boot {boot}: {found} reboots, left {}", here.read(TRIAL));
    }
    for (what, content) in [("well again", "2\n"), ("damaged", "x\n")] {
        let here = Board::new(&[(TRIAL, content)])?;
        here.set("states", if what == "damaged" { "failed a\n" } else { "active a\n" })?;
        here.run(HEALTH, &[])?;
        ensure!(!here.log().contains("reboot"), "{what}: {}", here.log());
        ensure!(here.at(TRIAL).exists() == (what == "damaged"), "{what}: trial {:?}", here.read(TRIAL));
    }
    Ok(())
}
