//! The same on files.

use std::fs;

use super::super::files::Files;
use super::*;

#[test]
fn parts_on_files_are_added_merged_expired_and_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("data/shelf");
    let open = || Shelf::open(Files::open(&folder).unwrap()).unwrap();
    let (shelf, _) = open();
    let mut model = Model::new();
    for part in 0..6i64 {
        let more: Model = (0..500).map(|n| ((SeriesId(1 + (n % 3) as u32), n * 300_000), int(n * part))).collect();
        shelf.add(grouped(&more, 1, 100)).unwrap();
        model.extend(more);
    }
    assert_eq!(shelf.count(), 12);
    let parts = shelf.parts();
    let reading = parts.all().next().unwrap();
    assert!(settle(&shelf).unwrap() > 0);
    assert!(shelf.part(reading).unwrap().is_some(), "who read a part goes on when its file is gone");
    assert!(!folder.join(reading.name.to_string()).exists());
    holds(&shelf, &model, "merged");
    assert_eq!(shelf.expire(DAY_MS + 1, usize::MAX).unwrap(), 289);
    model.retain(|(_, at_ms), _| *at_ms > DAY_MS);
    drop(shelf);
    let (shelf, aside) = open();
    holds(&shelf, &model, "opened again");
    assert_eq!((aside, shelf.count()), (Vec::new(), 1));
    let file = || fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_file()).unwrap();
    assert_eq!(shelf.bytes(), fs::metadata(file()).unwrap().len());
    drop(shelf);
    let bytes = fs::read(file()).unwrap();
    fs::write(file(), &bytes[..bytes.len() - 3]).unwrap();
    fs::write(folder.join("d1-g9-9-r0.part.temporary"), "half").unwrap();
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    let (shelf, aside) = open();
    assert_eq!((aside.len(), shelf.count()), (1, 0));
    assert_eq!(fs::read(&aside[0].kept).unwrap(), &bytes[..bytes.len() - 3]);
    assert_eq!(file(), folder.join("notes.txt"), "nothing else is there");
}
