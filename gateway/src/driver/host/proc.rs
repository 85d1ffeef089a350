//! Texts of `/proc` -> rows. Opens no file and drops nothing in silence: what it leaves out follows from the rules written here.
//!
//! The sysinfo crate is not asked for these. It reads each counter of an interface from a file of its own and says 0 where it
//! cannot, reads disk counters only for what is mounted, says a load of 0 when it cannot read it, and asks all filesystems in one
//! go, so that a dead one would take the others with it; its "available" also leaves the blocks kept for root in "used".
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

/// One line of `/proc/self/mounts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) device: String,
    pub(super) point: String,
    pub(super) kind: String,
}

/// Bytes that a disk moved since boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) name: String,
    pub(super) read: u64,
    pub(super) written: u64,
}

/// What an interface moved since it came up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) mac: Option<String>,
    pub(super) received: u64,
    pub(super) transmitted: u64,
    pub(super) errors: u64,
}

/// Filesystems that hold no data of their own, or only what an image gave them.
const NEVER: &[&str] = &["tmpfs", "ramfs", "devtmpfs", "squashfs", "erofs", "iso9660", "udf", "autofs", "rootfs", "nsfs"];
/// Filesystems whose source need not look like a device or a remote.
const ALWAYS: &[&str] = &["zfs", "virtiofs", "9p", "ceph", "bcachefs"];

/// Mounted filesystems that store data, by mount point.
///
/// Kept: sources that are a device (`/dev/sda1`) or a remote (`host:/path`, `//host/share`, `ubi0:rootfs`), the types of `ALWAYS`,
/// and an overlay at `/`, which is the root of a container or of a read-only image. Left out: everything else, the types of
/// `NEVER`, and all but the shortest mount point of a source that is mounted several times (bind mounts, subvolumes). Of two
/// mounts on one point the later one counts, as it hides the earlier.
pub(super) fn mounts(text: &str) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for line in text.lines() {
        let mut fields = line.split(' ').map(unescape);
        let (Some(device), Some(point), Some(kind)) = (fields.next(), fields.next(), fields.next()) else { continue };
        mounts.retain(|m| m.point != point);
        mounts.push(Mount { device, point, kind });
    }
    mounts.retain(stores_data);
    mounts.sort_by(|a, b| (a.point.len(), &a.point).cmp(&(b.point.len(), &b.point)));
    let mut sources = std::collections::HashSet::new();
    mounts.retain(|m| m.kind == "overlay" || ALWAYS.contains(&m.kind.as_str()) || sources.insert(m.device.clone()));
    mounts
}

fn stores_data(mount: &Mount) -> bool {
    let kind = mount.kind.as_str();
    if kind == "overlay" {
        return mount.point == "/";
    }
    !NEVER.contains(&kind) && (ALWAYS.contains(&kind) || mount.device.starts_with('/') || mount.device.contains(':'))
}

/// The kernel writes space, tab, newline and backslash as a backslash and three octal digits.
fn unescape(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut rest = field;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        match after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if byte.is_ascii() => {
                out.push(char::from(byte));
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out + rest
}

/// The kernel counts in sectors of 512 bytes, whatever the disk has.
const SECTOR_BYTES: u64 = 512;

/// Whole disks of `/proc/diskstats`, those that `is_whole` says are none but a part of one left out; also left out: loop
/// devices, RAM disks, compressed RAM, optical and floppy drives. Device mapper and RAID count beside what they are made of.
pub(super) fn disks(text: &str, is_whole: impl Fn(&str) -> bool) -> Vec<Disk> {
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let bytes = |field: usize| Some(fields.get(field)?.parse::<u64>().ok()?.wrapping_mul(SECTOR_BYTES));
        Some(Disk { name: (*fields.get(2)?).to_owned(), read: bytes(5)?, written: bytes(9)? })
    };
    let drive = |name: &str| !["loop", "ram", "zram", "sr", "fd"].iter().any(|kind| numbered(name, kind));
    text.lines().filter_map(row).filter(|disk| drive(&disk.name) && is_whole(&disk.name)).collect()
}

/// `sr0` is an `sr`, `srv` is none.
fn numbered(name: &str, kind: &str) -> bool {
    name.strip_prefix(kind).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Interfaces of `/proc/net/dev`, which gives all counters in one look. Left out: `veth…`, the host's ends of containers, which
/// come and go under random names, each of which would be a series for ever.
pub(super) fn interfaces(text: &str) -> Vec<Interface> {
    let row = |line: &str| {
        let (name, counters) = line.rsplit_once(": ").or_else(|| line.rsplit_once(':'))?;
        let counters: Vec<u64> = counters.split_ascii_whitespace().map_while(|n| n.parse().ok()).collect();
        let count = |field: usize| counters.get(field).copied();
        let errors = count(2)?.wrapping_add(count(10)?);
        Some(Interface { name: name.trim().to_owned(), mac: None, received: count(0)?, transmitted: count(8)?, errors })
    };
    text.lines().filter_map(row).filter(|interface| !interface.name.starts_with("veth")).collect()
}

/// Load averages of `/proc/loadavg` in hundredths, which is what the kernel gives.
pub(super) fn load_hundredths(text: &str) -> Option<[i64; 3]> {
    let mut fields = text.split(' ').map(|field| {
        let (whole, hundredths) = field.split_once('.')?;
        let digits = hundredths.len() == 2 && hundredths.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| whole.parse::<u32>().ok().map(|n| i64::from(n) * 100))?.and_then(|n| Some(n + hundredths.parse::<i64>().ok()?))
    });
    Some([fields.next()??, fields.next()??, fields.next()??])
}

/// Processes among the names in `/proc`, none where process 1 is hidden: then others are as well, and the number would be wrong
/// (`hidepid`, `ProtectProc=invisible`). Cheaper than reading every process, which is what sysinfo does to count them.
pub(super) fn processes(names: impl Iterator<Item = String>) -> Option<u64> {
    let mut first = false;
    let count =
        names.filter(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit())).inspect(|name| first |= name == "1").count();
    first.then_some(count as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stores_data_is_a_filesystem() {
        let text = "\
proc /proc proc rw 0 0
/dev/root / ext4 rw,relatime 0 0
devtmpfs /dev devtmpfs rw 0 0
tmpfs /run tmpfs rw 0 0
/dev/loop3 /snap/core/1 squashfs ro 0 0
overlay /var/lib/docker/overlay2/abc/merged overlay rw 0 0
/dev/sda1 /var/lib/long/bind ext4 rw 0 0
/dev/sda1 /data ext4 rw 0 0
/dev/sdb1 /mnt/USB\\040stick\\134x vfat rw 0 0
nas:/export /mnt/nas nfs4 rw 0 0
//nas/share /mnt/share cifs rw 0 0
me@box:/ /mnt/ssh fuse.sshfs rw 0 0
ubi0:rootfs /flash ubifs rw 0 0
tank/home /tank zfs rw 0 0
tank/media /tank/media zfs rw 0 0
/etc/auto.misc /misc autofs rw 0 0
portal /run/user/1/doc fuse.portal rw 0 0
cgroup2 /sys/fs/cgroup cgroup2 rw 0 0
short line
";
        let found: Vec<_> = mounts(text).into_iter().map(|m| m.point).collect();
        let expected =
            ["/", "/data", "/tank", "/flash", "/mnt/nas", "/mnt/ssh", "/mnt/share", "/tank/media", "/mnt/USB stick\\x"].map(str::to_owned);
        assert_eq!(found, expected);
    }

    #[test]
    fn an_overlay_is_a_filesystem_where_it_is_the_root_and_a_later_mount_hides_an_earlier() {
        let found = mounts("overlay / overlay rw 0 0\n/dev/vda1 /etc/hosts ext4 rw 0 0\n");
        assert_eq!(found.iter().map(|m| m.point.as_str()).collect::<Vec<_>>(), ["/", "/etc/hosts"]);
        let found = mounts("/dev/sda1 /mnt ext4 rw 0 0\n/dev/sdb1 /mnt xfs rw 0 0\n");
        assert_eq!(found, [Mount { device: "/dev/sdb1".into(), point: "/mnt".into(), kind: "xfs".into() }]);
        assert_eq!(mounts("/dev/sda1 /mnt ext4 rw 0 0\ntmpfs /mnt tmpfs rw 0 0\n"), []);
    }

    #[test]
    fn escapes_of_mount_points_are_undone() {
        for (field, expected) in [
            ("/a\\040b\\011c", "/a b\tc"),
            ("\\134", "\\"),
            ("/x\\", "/x\\"),
            ("/x\\04", "/x\\04"),
            ("/x\\999", "/x\\999"),
            ("/ü\\040ß", "/ü ß"),
            ("\\ü40", "\\ü40"),
        ] {
            assert_eq!(unescape(field), expected, "{field}");
        }
    }

    #[test]
    fn disks_are_whole_drives_in_bytes_since_boot() {
        let text = "   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
 254       0 vda 63722 13772 6059626 182589 11433 40889 5846760 37540 0 23632 221657 7698 36 1201208 1430 1176 96
 254       1 vda1 1 1 1 1 1 1 1 1 0 1 1
   8       0 sda 1 2 18446744073709551615 4 5 6 7 8
  11       0 sr0 1 1 1 1 1 1 1 1 0 1 1
 253       0 zram0 1 1 1 1 1 1 1 1 0 1 1
 179       0 mmcblk0 5 0 10 0 5 0 20 0 0 0 0
   9       0 srv 5 0 2 0 5 0 3 0 0 0 0
   8      16 sdb 1 2
";
        let disk = |name: &str, read, written| Disk { name: name.into(), read, written };
        let expected = [
            disk("vda", 6_059_626 * 512, 5_846_760 * 512),
            disk("sda", u64::MAX.wrapping_mul(512), 7),
            disk("mmcblk0", 5120, 10_240),
            disk("srv", 1024, 1536),
        ];
        let expected = expected.map(|d| if d.name == "sda" { Disk { written: 7 * 512, ..d } } else { d });
        assert_eq!(disks(text, |name| name != "vda1"), expected);
    }

    #[test]
    fn interfaces_keep_all_digits() {
        let text = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 1403671    5249    0    0    0     0          0         0  1403671    5249    0    0    0     0       0          0
  eth0:18446744073709551615 15675 3 0 0 0 0 0 1055179 9414 4 0 0 0 0 0
eth0:1: 5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0
veth12ab: 5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0
 wlan0: 1 2 3
";
        let interface =
            |name: &str, received, transmitted, errors| Interface { name: name.into(), mac: None, received, transmitted, errors };
        let expected = [interface("lo", 1_403_671, 1_403_671, 0), interface("eth0", u64::MAX, 1_055_179, 7), interface("eth0:1", 5, 6, 0)];
        assert_eq!(interfaces(text), expected);
    }

    #[test]
    fn a_load_that_cannot_be_read_is_none() {
        for (text, expected) in [
            ("3.57 4.04 2.64 6/137 9181\n", Some([357, 404, 264])),
            ("0.00 0.00 0.00 1/1 1", Some([0, 0, 0])),
            ("100.05 0.10 12.00 1/1 1", Some([10_005, 10, 1200])),
            ("", None),
            ("1.00 1.00", None),
            ("1.0 1.00 1.00 x", None),
            ("1.-5 1.00 1.00 x", None),
        ] {
            assert_eq!(load_hundredths(text), expected, "{text}");
        }
    }

    #[test]
    fn processes_are_not_counted_where_some_are_hidden() {
        let count = |names: &[&str]| processes(names.iter().map(|n| (*n).to_owned()));
        assert_eq!(count(&["1", "2", "4711", "acpi", "self", "12x"]), Some(3));
        assert_eq!(count(&["4711", "4712", "self"]), None);
        assert_eq!(count(&[]), None);
    }
}
