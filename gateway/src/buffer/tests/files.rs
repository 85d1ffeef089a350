//! The real store, in a real folder, and what may happen to its files.

use std::path::{Path, PathBuf};

use super::*;

const LIMITS: Limits = Limits { max_bytes: 64 << 20, ..super::LIMITS };

fn filled(folder: &Path, batches: i64) -> u64 {
    let (mut buffer, notices) = open(folder, LIMITS, 77).unwrap();
    assert_eq!(notices, []);
    for i in 0..batches {
        buffer.keep(0, &closed_with(&dictionary("V"), i * 1000, 400)).unwrap();
    }
    buffer.stats().stream
}

/// The folders of the chunks, in order.
fn chunks(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("chunk-"));
    found.sort();
    found
}

fn names(folder: &Path, part: &str) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.retain(|name| name.contains(part));
    names.sort();
    names
}

/// Damage of a chunk's files: what is done to which file, and whether its content survives. The other chunks always do.
#[test]
fn a_daemon_starts_whatever_happened_to_the_files() {
    type Case = (&'static str, &'static str, fn(&mut Vec<u8>), bool);
    let cases: [Case; 9] = [
        ("conf zeroed", "conf", |bytes| bytes.fill(0), true),
        ("snapshot cut", "snap.", |bytes| bytes.truncate(bytes.len() / 2), true),
        ("snapshot flipped", "snap.", |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 0x55), true),
        ("db emptied", "db", Vec::clear, false),
        ("db cut", "db", |bytes| bytes.truncate(bytes.len() / 8), false),
        ("db zeroed", "db", |bytes| bytes.fill(0), false),
        ("db overwritten", "db", |bytes| bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = (i * 31 % 251) as u8), false),
        ("conf is something else", "conf", |bytes| *bytes = b"something else".to_vec(), false),
        ("note overwritten", "about", |bytes| bytes.fill(7), true),
    ];
    for (name, prefix, change, survives) in cases {
        let folder = tempfile::tempdir().unwrap();
        let stream = filled(folder.path(), 300);
        let before = chunks(folder.path());
        // sled writes a snapshot when it opens a log, as the buffer does to add to a chunk.
        drop(sled::Config::new().path(&before[1]).segment_size(512 << 10).mode(sled::Mode::LowSpace).flush_every_ms(None).open().unwrap());
        assert!(before.len() > 2, "{before:?}");
        let mut changed = 0;
        for entry in std::fs::read_dir(&before[1]).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                let mut bytes = std::fs::read(entry.path()).unwrap();
                change(&mut bytes);
                std::fs::write(entry.path(), bytes).unwrap();
                changed += 1;
            }
        }
        assert_eq!(changed, 1, "{name}");
        let (mut buffer, _) = open(folder.path(), LIMITS, 78).unwrap();
        assert_eq!(buffer.stats().stream, stream, "{name}");
        let (gaps, readings) = content(&mut buffer);
        let lost: u64 = gaps.iter().map(|gap| gap.readings).sum();
        assert_eq!(readings + lost, 300 * 400, "{name}: {gaps:?}");
        assert_eq!(lost == 0, survives, "{name}: {lost} lost");
        assert!(lost <= 120 * 400, "{name}: {lost} lost");
        assert!(gaps.iter().all(|gap| gap.reason == GapReason::Damaged), "{name}");
        // It stays so.
        drop(buffer);
        let (mut buffer, _) = open(folder.path(), LIMITS, 79).unwrap();
        assert_eq!((content(&mut buffer), buffer.stats().dropped_readings), ((gaps, readings), lost), "{name}");
        assert_eq!(buffer.keep(0, &closed(1)).unwrap(), 301, "{name}");
    }
}

#[test]
fn the_newest_chunk_may_be_damaged_too() {
    for change in [|bytes: &mut Vec<u8>| bytes.clear(), |bytes: &mut Vec<u8>| bytes.fill(3)] {
        let folder = tempfile::tempdir().unwrap();
        let stream = filled(folder.path(), 200);
        let newest = chunks(folder.path()).pop().unwrap().join("db");
        let mut bytes = std::fs::read(&newest).unwrap();
        change(&mut bytes);
        std::fs::write(&newest, bytes).unwrap();
        let (mut buffer, notices) = open(folder.path(), LIMITS, 78).unwrap();
        assert_eq!((buffer.stats().stream, buffer.stats().next), (stream, 201));
        assert!(!notices.is_empty());
        let (gaps, readings) = content(&mut buffer);
        let missing: u64 = gaps.iter().map(|gap| gap.last_seq + 1 - gap.first_seq).sum();
        assert!(missing > 0 && readings == (200 - missing) * 400, "{gaps:?} {readings}");
        assert_eq!(buffer.keep(0, &closed(1)).unwrap(), 201);
    }
}

#[test]
fn what_a_crash_left_half_made_goes() {
    let folder = tempfile::tempdir().unwrap();
    let stream = filled(folder.path(), 3);
    let chunk = chunks(folder.path()).pop().unwrap();
    std::fs::write(chunk.join("snap.0000000000000000.generating"), b"half").unwrap();
    let name = chunk.file_name().unwrap().to_str().unwrap().to_owned();
    let next = folder.path().join(name.replace(".0", ".1.new"));
    std::fs::create_dir(&next).unwrap();
    std::fs::write(next.join("db"), b"half").unwrap();
    std::fs::write(folder.path().join("schema-00000001.new"), b"half").unwrap();
    let (buffer, notices) = open(folder.path(), LIMITS, 78).unwrap();
    assert_eq!((buffer.stats().stream, buffer.stats().batches, notices), (stream, 3, Vec::new()));
    assert_eq!(names(folder.path(), ".new"), [""; 0]);
    drop(buffer);
    // Two generations of a chunk: the older one was about to be removed.
    std::fs::rename(&chunk, folder.path().join(name.replace(".0", ".12"))).unwrap();
    std::fs::create_dir(folder.path().join(name.replace(".0", ".9"))).unwrap();
    let (buffer, notices) = open(folder.path(), LIMITS, 78).unwrap();
    assert_eq!((buffer.stats().batches, notices), (3, Vec::new()));
    assert_eq!(names(folder.path(), "chunk-"), [name.replace(".0", ".12")]);
}

/// The server may have batches that were given out. Those that were only about to be given out are no reason to take numbers for used.
#[test]
fn a_chunk_that_was_only_being_made_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let stream = filled(folder.path(), 3);
    let (mut buffer, _) = open(folder.path(), LIMITS, 78).unwrap();
    buffer.get(1, 0).unwrap().unwrap();
    drop(buffer);
    for file in ["conf", "db"] {
        let half = folder.path().join("chunk-0000000000000004.0");
        std::fs::create_dir(&half).unwrap();
        std::fs::write(half.join(file), b"what a power cut left of it, more than sled takes for a torn end, and nothing of it right")
            .unwrap();
        let (buffer, notices) = open(folder.path(), LIMITS, 79).unwrap();
        let stats = buffer.stats();
        assert_eq!((stats.stream, stats.oldest, stats.next, notices), (stream, 1, 4, Vec::new()), "{file}");
        assert!(!half.exists(), "{file}");
    }
}

#[test]
fn heads_may_be_torn_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let stream = filled(folder.path(), 300);
    for (name, keeps_stream) in [("head.lazy", true), ("head.0", true), ("head.1", false)] {
        std::fs::write(folder.path().join(name), b"torn").unwrap();
        let (buffer, notices) = open(folder.path(), LIMITS, 78).unwrap();
        assert_eq!(buffer.stats().stream == stream, keeps_stream, "{name}");
        assert_eq!(buffer.stats().next, if keeps_stream { 301 } else { 1 }, "{name}");
        assert_eq!(notices.iter().any(|notice| matches!(notice, Notice::SetAside { .. })), !keeps_stream, "{name}: {notices:?}");
        // Now it is written again, unless this buffer had no need to.
        drop(buffer);
        if name == "head.lazy" {
            continue;
        }
        std::fs::write(folder.path().join("head.lazy"), b"torn").unwrap();
    }
    assert_eq!(names(folder.path(), "corrupt-"), ["corrupt-78"]);
}

#[test]
fn only_one_damaged_store_is_kept_and_what_is_not_ours_stays() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("lost+found")).unwrap();
    for opened_ms in 1..=3 {
        filled(folder.path(), 1);
        for head in names(folder.path(), "head.") {
            std::fs::write(folder.path().join(head), b"").unwrap();
        }
        open(folder.path(), LIMITS, opened_ms).unwrap();
    }
    assert_eq!(names(folder.path(), "corrupt-"), ["corrupt-3"]);
    assert_eq!(names(folder.path(), "lost"), ["lost+found"]);
}

#[test]
fn the_layout_before_chunks_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("store")).unwrap();
    std::fs::write(folder.path().join("store/db"), b"old").unwrap();
    let (mut buffer, notices) = open(folder.path(), LIMITS, 5).unwrap();
    assert!(matches!(notices.as_slice(), [Notice::SetAside { .. }]), "{notices:?}");
    assert!(folder.path().join("corrupt-5/store/db").exists());
    assert_eq!(buffer.keep(0, &closed(0)).unwrap(), 1);
}

#[test]
fn a_second_gateway_on_the_same_folder_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut first, _) = open(folder.path(), LIMITS, 0).unwrap();
    first.keep(0, &closed(0)).unwrap();
    let error = open(folder.path(), LIMITS, 0).map(|_| ()).unwrap_err();
    assert_eq!(error, BufferError::Store(StoreError::Locked(folder.path().to_owned())));
    assert!(error.to_string().contains("in use by another process"));
    first.keep(0, &closed(1)).unwrap();
    drop(first);
    assert_eq!(open(folder.path(), LIMITS, 0).unwrap().0.stats().batches, 2);
}

/// Bytes that the folder takes, without the reserve.
fn taken(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let own = |path: &Path| path.symlink_metadata().map_or(0, |meta| meta.blocks() * 512);
    let entries = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).filter(|path| !path.ends_with("ballast"));
    entries.map(|path| if path.is_dir() { taken(&path) } else { own(&path) }).sum::<u64>() + own(folder)
}

#[test]
fn disk_use_follows_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: 1 << 30, ..LIMITS };
    let (mut buffer, _) = open(folder.path(), limits, 0).unwrap();
    let large = closed_with(&dictionary("V"), 0, 700);
    for _ in 0..60 {
        for _ in 0..100 {
            buffer.append(0, &large).unwrap();
        }
        buffer.commit().unwrap();
    }
    let full = buffer.stats();
    assert!(full.bytes > 30 << 20, "{full:?}");
    let mut through = 0;
    while buffer.stats().batches > 0 {
        let (waits, takes) = (buffer.stats().bytes, taken(folder.path()));
        // At most half as much again, and two chunks of which little waits.
        assert!(takes <= waits + waits / 2 + (5 << 20), "{takes} bytes taken for {waits}");
        through += 500;
        buffer.release(through).unwrap();
    }
    assert_eq!((buffer.stats().stream, buffer.stats().next), (full.stream, full.next));
    assert_eq!(buffer.keep(0, &large).unwrap(), full.next);
    drop(buffer);
    let (mut buffer, notices) = open(folder.path(), limits, 0).unwrap();
    assert_eq!((notices, buffer.stats().stream), (Vec::new(), full.stream));
    assert_eq!(content(&mut buffer), (Vec::new(), 700));
}

#[test]
fn the_bound_holds_for_the_folder_itself() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: 8 << 20, ..LIMITS };
    let (mut buffer, _) = open(folder.path(), limits, 0).unwrap();
    for i in 0..1500 {
        let ticks = 1 + (i * 37 % 700);
        buffer.keep(0, &closed_with(&dictionary("V"), i * 1000, ticks as usize)).unwrap();
        if i % 16 == 0 {
            assert!(taken(folder.path()) <= limits.max_bytes, "{} bytes taken after {i} batches", taken(folder.path()));
        }
    }
    // It is a bound, no excuse for keeping little.
    assert!(buffer.stats().bytes > limits.max_bytes * 2 / 3, "{:?}", buffer.stats());
}
