//! The same on files.

use std::fs::{self, OpenOptions};

use super::super::files::Files;
use super::*;

fn open(folder: &std::path::Path) -> (Log<Files>, Recovered, Read) {
    let mut read = Read::new();
    let disk = Files::open(folder).unwrap();
    let (log, recovered) = Log::open(disk, FULL_BYTES, &mut |number, content| read.push((number, content.to_vec()))).unwrap();
    (log, recovered, read)
}

#[test]
fn records_on_files_survive_torn_ends_and_damage() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("data/log");
    let (log, ..) = open(&folder);
    for n in 0..30u8 {
        assert_eq!(log.commit(vec![n; 40]).unwrap(), u64::from(n) + 1);
    }
    drop(log);
    let newest = || {
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().unwrap() == "log").max().unwrap()
    };
    // The end of the last record never came to the disk.
    let file = OpenOptions::new().write(true).open(newest()).unwrap();
    file.set_len(file.metadata().unwrap().len() - 7).unwrap();
    let (log, recovered, read) = open(&folder);
    assert_eq!((recovered.last, recovered.damage.len(), read.len()), (29, 0, 29));
    assert!(recovered.torn_bytes > 0);
    assert_eq!(log.commit(vec![77]).unwrap(), 30);
    drop(log);
    let first = folder.join(format!("{:020}.log", 1));
    let mut bytes = fs::read(&first).unwrap();
    bytes[100] ^= 1;
    fs::write(&first, bytes).unwrap();
    let (log, recovered, read) = open(&folder);
    assert_eq!((read.len(), read.last()), (29, Some(&(30, vec![77]))));
    assert_eq!(recovered.damage.iter().map(|damage| damage.records).collect::<Vec<_>>(), [(2, 2)]);
    assert!(std::path::Path::new(&recovered.damage[0].kept).exists());
    log.release(30).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "the last segment and the damage");
}
