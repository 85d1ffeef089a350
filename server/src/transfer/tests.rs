use pattoo_wire::{Decimal, Reason, Sample, Value};

use super::*;
use crate::store::memory::Memory;
use crate::store::{Reading, SeriesId};

const CSV: &str = "\
device,point,time,value,quality,reason,unit,type
meter,voltage,2026-11-30T08:00:00Z,230.1,,,V,
meter,voltage,2026-11-30T08:00:10Z,,bad,timeout,V,
meter,energy,1796025600000,18446744073709551615,,,kWh,unsigned
pump,\"mode, of it\",1796025600000,\"say \"\"on\"\"\",uncertain,stale,,text
";

fn put(name: &str, content: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, content).unwrap();
    (folder, file)
}

fn held(store: &Memory) -> Vec<(String, String, Reading)> {
    let mut held = Vec::new();
    for series in store.load().unwrap().series {
        let readings = store.raw(series.id, i64::MIN, i64::MAX, usize::MAX).unwrap();
        held.extend(readings.into_iter().map(|reading| (series.device.clone(), series.entry.point.clone(), reading)));
    }
    held.sort_by_key(|(device, point, reading)| (device.clone(), point.clone(), reading.at_ms));
    held
}

#[test]
fn a_file_comes_in_once_and_goes_out_as_it_was_in_both_formats() {
    let (folder, file) = put("in.csv", CSV);
    let store = Memory::default();
    let imported = import(&store, &file, Some("plant7"), &mut Vec::new()).unwrap();
    assert_eq!(imported, Imported { readings: 4, new_series: 3, replaced: 0 });
    let again = import(&store, &file, Some("plant7"), &mut Vec::new()).unwrap();
    assert_eq!(again, Imported { readings: 4, new_series: 0, replaced: 0 });
    let found: Vec<Sample> = held(&store).into_iter().map(|(_, _, reading)| reading.sample).collect();
    assert_eq!(
        found,
        [
            Sample::Good(Value::Unsigned(u64::MAX)),
            Sample::Good(Value::Decimal(Decimal { mantissa: 2301, exponent: -1 })),
            Sample::Bad(Reason::Timeout),
            Sample::Uncertain(Value::Text("say \"on\"".into()), Reason::Stale),
        ]
    );
    for name in ["out.csv", "out.parquet"] {
        let out = folder.path().join(name);
        assert_eq!(export(&store, &Wanted::default(), &out, &mut Vec::new()).unwrap(), 4);
        let other = Memory::default();
        import(&other, &out, None, &mut Vec::new()).unwrap();
        assert_eq!(held(&other), held(&store), "{name}");
        let twice = export(&store, &Wanted::default(), &out, &mut Vec::new()).unwrap_err();
        assert!(format!("{twice:#}").contains("is there already"), "{twice:#}");
    }
}

#[test]
fn only_what_is_wanted_goes_out() {
    let (folder, file) = put("in.csv", CSV);
    let store = Memory::default();
    import(&store, &file, Some("plant7"), &mut Vec::new()).unwrap();
    let time = |text| Some(time_ms(text).unwrap());
    let meter = Wanted { device: Some("meter".into()), ..Wanted::default() };
    for (place, (wanted, rows)) in [
        (meter.clone(), 3),
        (Wanted { gateway: Some("plant8".into()), ..Wanted::default() }, 0),
        (Wanted { from_ms: time("2026-11-30T08:00:10Z"), ..meter.clone() }, 1),
        (Wanted { to_ms: time("2026-11-30T08:00:10Z"), ..meter }, 2),
    ]
    .into_iter()
    .enumerate()
    {
        let out = folder.path().join(format!("{place}.csv"));
        assert_eq!(export(&store, &wanted, &out, &mut Vec::new()).unwrap(), rows, "{wanted:?}");
        assert_eq!(std::fs::read_to_string(out).unwrap().lines().count() as u64, rows + 1);
    }
}

#[test]
fn more_readings_than_are_read_at_once_are_all_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = Memory::default();
    let count = AT_ONCE as i64 * 2 + 3;
    let series = crate::store::SeriesEntry { id: SeriesId(1), ..row_series() };
    let readings = (0..count).map(|at_ms| (SeriesId(1), Reading { at_ms, sample: Sample::Good(Value::int(at_ms)) })).collect();
    store.commit(&Commit { series: vec![series], readings, ..Commit::default() }).unwrap();
    for name in ["all.csv", "all.parquet"] {
        let file = folder.path().join(name);
        assert_eq!(export(&store, &Wanted::default(), &file, &mut Vec::new()).unwrap(), count as u64);
        let other = Memory::default();
        assert_eq!(import(&other, &file, None, &mut Vec::new()).unwrap().readings, count as u64);
        assert_eq!(held(&other), held(&store));
    }
}

fn row_series() -> crate::store::SeriesEntry {
    let texts = ["0", "g1", "d", "p", "", "V", "", "", "1", "", "", ""].map(str::to_owned);
    row::read(&texts).unwrap().0
}

#[test]
fn a_file_with_something_that_cannot_be_read_is_not_imported_at_all() {
    for (name, content, expected) in [
        (
            "a.csv",
            "device,point,time,value\nmeter,v,1,1\nmeter,v,2,x\nmeter,v,3,y\n",
            "2 rows cannot be read:\n  line 3: value: found \"x\"",
        ),
        ("b.csv", "device,point,time\nmeter,v,1\n", "line 1: there is no column `value`"),
        ("c.csv", "device,point,time,value,colour\nmeter,v,1,1,red\n", "found column `colour`"),
        ("d.csv", "device,point,time,value\nmeter,v,1\n", "found record with 3 fields"),
        ("e.csv", "device,point,time,value\nmeter,v,\u{0}\u{1},1\n", "time: found"),
        ("f.parquet", "no parquet at all", "Invalid Parquet file"),
        ("g.txt", "", "expected .csv or .parquet"),
    ] {
        let (_folder, file) = put(name, content);
        let store = Memory::default();
        let problem = format!("{:#}", import(&store, &file, Some("g1"), &mut Vec::new()).unwrap_err());
        assert!(problem.contains(expected) && problem.contains(name), "{name}: {problem}");
        assert!(held(&store).is_empty(), "{name}");
    }
    let (_folder, file) = put("h.csv", "device,point,time,value\nmeter,v,1,1\n");
    let problem = import(&Memory::default(), &file, None, &mut Vec::new()).unwrap_err();
    assert!(format!("{problem:#}").contains("there is no column `gateway`"), "{problem:#}");
}

#[test]
fn a_store_that_refuses_leaves_no_half_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = Memory::default();
    store.fail(Some("no"));
    export(&store, &Wanted::default(), &folder.path().join("x.csv"), &mut Vec::new()).unwrap_err();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
