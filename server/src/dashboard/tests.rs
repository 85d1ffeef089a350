use std::collections::BTreeMap;
use std::sync::Arc;

use pattoo_wire::{Kind, Repr, Series};
use proptest::prelude::*;

use super::edit::{Change, EditError, edited};
use super::shown::{MAX_CHARTED, MAX_SHOWN, shown};
use super::*;
use crate::store::{SeriesEntry, SeriesId};

const PUMPS: &str = "\
# Pumps of the river, looked at each morning.
version: 1
title: Pumps
range: 6h
variables:
  - { name: site, label: site, default: river }
panels:
  # The line that matters.
  - title: Pressure of $site   # both sides
    type: chart
    width: 12
    series:
      - { device: pump-*, point: 'pressure_*', labels: { site: $site } }
      - { gateway: pump-house, device: tank, point: level }

  - { type: stat, title: 'Now, \"as is\"', series: [{ device: $site }] }
  # Once for each pump.
  - type: state
    repeat: device
    series: [{ device: pump-* }]
  - type: text
    title: Read this
    text: |
      Call the plant
      # before you stop a pump.
# the end
";

#[test]
fn a_whole_file_is_read() {
    let found = Dashboard::parse(PUMPS).unwrap();
    assert_eq!((found.title.as_str(), found.range.as_deref(), found.panels.len()), ("Pumps", Some("6h"), 4));
    assert_eq!(found.variables, [Variable { name: "site".into(), label: "site".into(), default: Some("river".into()) }]);
    let kinds: Vec<_> = found.panels.iter().map(|p| (p.kind, p.width, p.by_device)).collect();
    assert_eq!(
        kinds,
        [(PanelKind::Chart, 12, false), (PanelKind::Stat, 6, false), (PanelKind::State, 6, true), (PanelKind::Text, 6, false)]
    );
    assert_eq!(found.panels[3].text, "Call the plant\n# before you stop a pump.");
}

#[test]
fn every_mistake_says_where_what_and_what_else() {
    let long = format!("version: 1\ntitle: x\npanels: [{}]", "{ type: text, text: x }, ".repeat(MAX_PANELS + 1));
    for (from, to, place, words) in [
        ("version: 1", "version: 2", "2:10", "expected 1"),
        ("title: Pumps", "titel: Pumps", "3:1", "did you mean `title`?"),
        ("title: Pumps", "title: \"\"", "3:8", "expected one for people"),
        ("title: Pumps", "title: \"a\\nb\"", "3:8", "control character"),
        ("range: 6h", "range: 6 hours", "4:8", "expected a window like 15m"),
        ("range: 6h", "range: 0h", "4:8", "expected a window"),
        ("name: site", "name: Site", "6:13", "expected a name of a-z"),
        ("name: site", "name: device", "6:13", "neither gateway nor device"),
        ("type: chart", "type: graph", "10:11", "expected one of chart, stat, state, text"),
        ("width: 12", "width: 13", "11:12", "expected 1 to 12 columns"),
        ("width: 12", "counter: week", "11:14", "expected one of rate, total, hour, day, month"),
        ("width: 12", "text: x", "11:11", "found `text` in a panel of type chart"),
        ("point: level", "points: level", "14:46", "did you mean `point`?"),
        ("site: $site }", "site: $town }", "13:64", "found $town, which is none of the variables"),
        ("device: tank", "device: tank$", "14:40", "without a variable's name"),
        ("repeat: device", "repeat: site", "19:13", "expected one of device"),
        ("series: [{ device: pump-* }]", "series: []", "20:13", "expected at least one"),
        ("series: [{ device: pump-* }]", "series: [{}]", "20:14", "found an empty selector"),
        ("series: [{ device: pump-* }]", "counter: rate", "18:5", "without `series`"),
        ("    text: |", "    series: |", "2", "expected"),
        ("range: 6h", "range: [6h", "", ""),
    ] {
        assert!(PUMPS.contains(from), "{from}");
        let error = Dashboard::parse(&PUMPS.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.starts_with(place) && error.contains(words), "{to:?} gave {error}");
    }
    assert!(Dashboard::parse(&long).unwrap_err().message.contains("expected at most 50"));
    assert!(Dashboard::parse(&"#".repeat(MAX_FILE_BYTES + 1)).unwrap_err().message.contains("expected at most"));
    assert!(Dashboard::parse("").is_err());
    let bomb = format!("version: 1\ntitle: x\na: &a [x,x,x,x,x,x,x,x,x]\n{}panels: []\n", "b: &b [*a,*a,*a,*a,*a,*a]\n".repeat(20));
    assert!(Dashboard::parse(&bomb).is_err());
}

#[test]
fn a_name_is_never_a_path() {
    for name in ["pumps", "a", "7_b-c", &"x".repeat(63)] {
        assert!(is_name(name), "{name}");
    }
    for name in ["", ".", "..", "../x", "a/b", "a.yaml", "-a", "A", "ä", "a b", "a\0", &"x".repeat(64)] {
        assert!(!is_name(name), "{name}");
    }
}

fn entry(id: u32, gateway: &str, device: &str, point: &str, kind: Kind, site: &str) -> Arc<SeriesEntry> {
    let labels = if site.is_empty() { BTreeMap::new() } else { [("site".to_owned(), site.to_owned())].into() };
    let entry = Series { device: 0, point: point.into(), unit: String::new(), kind, repr: Repr::F64, labels: [].into(), states: [].into() };
    Arc::new(SeriesEntry {
        id: SeriesId(id),
        gateway: gateway.into(),
        device: device.into(),
        profile: "p".into(),
        device_labels: labels,
        entry,
    })
}

fn plant() -> Vec<Arc<SeriesEntry>> {
    vec![
        entry(1, "pump-house", "pump-1", "pressure_in", Kind::Gauge, "river"),
        entry(2, "pump-house", "pump-1", "state", Kind::State, "river"),
        entry(3, "pump-house", "pump-2", "pressure_in", Kind::Gauge, "hill"),
        entry(4, "pump-house", "pump-2", "message", Kind::Text, "hill"),
        entry(5, "pump-house", "tank", "level", Kind::Gauge, ""),
        entry(6, "barn", "pump-1", "state", Kind::State, ""),
    ]
}

#[test]
fn selectors_find_series_and_variables_narrow_them() {
    let dashboard = Dashboard::parse(PUMPS).unwrap();
    let ids = |choice: &[(&str, &str)], n: usize| -> Vec<u32> {
        let choice = choice.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        shown(&dashboard, &plant(), &choice).panels[n].series.iter().map(|s| s.id.0).collect()
    };
    assert_eq!(ids(&[], 0), [1, 5], "the default");
    assert_eq!(ids(&[("site", "hill")], 0), [3, 5]);
    assert_eq!(ids(&[("site", "")], 0), [1, 3, 5], "all, also those without the label");
    assert_eq!(ids(&[("site", "*")], 0), [5], "a choice is no pattern");
    assert_eq!(ids(&[("town", "x")], 0), [1, 5], "a variable that is not there");
    let plant = plant();
    let all = shown(&dashboard, &plant, &BTreeMap::new());
    assert_eq!(all.variables[0].values, ["hill", "river"]);
    let titles: Vec<_> = all.panels.iter().map(|p| (p.place, p.title.as_str())).collect();
    let expected = [(0, "Pressure of river"), (1, "Now, \"as is\""), (2, "pump-1"), (2, "pump-1"), (2, "pump-2"), (3, "Read this")];
    assert_eq!(titles, expected);
    let states: Vec<_> = all.panels[2..5].iter().map(|p| p.series[0].id.0).collect();
    assert_eq!(states, [6, 2, 4], "one for each device of each gateway");
}

#[test]
fn what_is_shown_has_limits_and_says_what_is_left_out() {
    let text = "version: 1\ntitle: x\npanels:\n  - { type: chart, series: [{ device: '*' }] }\n  - { type: stat, repeat: device, title: a $device b $other, series: [{ device: '*' }] }\n";
    let dashboard = Dashboard::parse(text).unwrap();
    let many: Vec<_> = (0..200).map(|n| entry(n + 1, "g", &format!("d{n:03}"), "p", Kind::Gauge, "")).collect();
    let found = shown(&dashboard, &many, &BTreeMap::new());
    assert_eq!((found.panels.len(), found.left_out), (MAX_SHOWN, 201 - MAX_SHOWN));
    assert_eq!((found.panels[0].series.len(), found.panels[0].left_out), (MAX_CHARTED, 200 - MAX_CHARTED));
    assert_eq!(found.panels[1].title, "a d000 b $other");
}

#[test]
fn small_changes_leave_all_else_as_it_stands() {
    let with = |change: Change| edited(PUMPS, &change).unwrap();
    let panel = "type: stat\ntitle: \"Level\"\nseries:\n  - { device: \"tank\" }";
    let added = with(Change::Add(panel.into()));
    let expected = "  - type: stat\n    title: \"Level\"\n    series:\n      - { device: \"tank\" }\n# the end\n";
    assert!(added.ends_with(expected) && added.starts_with(&PUMPS[..PUMPS.len() - 10]), "{added}");
    let removed = with(Change::Remove(0));
    assert!(removed.contains("# The line that matters.\n\n  - { type: stat") && !removed.contains("Pressure"), "{removed}");
    assert!(!with(Change::Remove(3)).contains("before you stop") && with(Change::Remove(3)).ends_with("# the end\n"));
    for (n, title, line) in [
        (0, "A: \"b\" # c", "  - title: \"A: \\\"b\\\" # c\"   # both sides\n"),
        (1, "Then", "  - { type: stat, title: \"Then\", series: [{ device: $site }] }\n"),
        (2, "States", "  - title: \"States\"\n    type: state\n"),
    ] {
        let found = with(Change::Rename(n, title.into()));
        assert!(found.contains(line), "{found}");
        assert_eq!(Dashboard::parse(&found).unwrap().panels[n].title, title);
    }
    let (mut text, mut left) = (PUMPS.to_owned(), 4);
    while left > 0 {
        text = edited(&text, &Change::Remove(0)).unwrap();
        left -= 1;
        assert_eq!(Dashboard::parse(&text).unwrap().panels.len(), left);
    }
    assert!(text.contains("panels: []") && edited(&text, &Change::Add(panel.into())).unwrap().contains("panels:\n  - type: stat"));
}

#[test]
fn a_change_that_cannot_be_made_well_is_not_made() {
    let flow = "{ version: 1, title: x, panels: [{ type: text, text: a }, { type: text, text: b }] }";
    assert_eq!(edited(flow, &Change::Remove(0)), Err(EditError::Written));
    assert_eq!(edited(flow, &Change::Add("type: text\ntext: c".into())), Err(EditError::Written));
    assert_eq!(edited(PUMPS, &Change::Remove(4)), Err(EditError::NoPanel(4)));
    assert_eq!(edited(PUMPS, &Change::Rename(9, "x".into())), Err(EditError::NoPanel(9)));
    let wrong = edited(PUMPS, &Change::Add("type: graph".into())).unwrap_err();
    assert!(matches!(&wrong, EditError::Wrong(p) if (p.line, p.column) == (1, 7)), "{wrong}");
    assert!(edited(PUMPS, &Change::Add("type: text\ntext: a\n- type: text\n  text: b".into())).is_err());
    assert!(edited(PUMPS, &Change::Rename(0, "x".repeat(101))).is_err());
    let full = format!("version: 1\ntitle: x\npanels:\n{}", "- { type: text, text: a }\n".repeat(MAX_PANELS));
    let error = edited(&full, &Change::Add("type: text\ntext: b".into())).unwrap_err();
    assert!(error.to_string().contains("at most 50"), "{error}");
}

proptest! {
    #[test]
    fn any_title_can_be_given_and_changes_nothing_else(title in "[ -~äß\\t]{0,40}", n in 0usize..4) {
        let title: String = title.chars().filter(|c| !c.is_control()).collect();
        let found = edited(PUMPS, &Change::Rename(n, title.clone())).unwrap();
        let mut expected = Dashboard::parse(PUMPS).unwrap();
        expected.panels[n].title = title.trim().to_owned();
        prop_assert_eq!(Dashboard::parse(&found).unwrap(), expected);
    }

    #[test]
    fn no_text_makes_the_reader_fall_over(at in 0usize..PUMPS.len(), cut in 0usize..30, put in "[-\\[\\]{}:&*|># \\n\"'a]{0,6}") {
        let end = (at + cut).min(PUMPS.len());
        let text = format!("{}{put}{}", &PUMPS[..at], &PUMPS[end..]);
        if let Ok(found) = Dashboard::parse(&text) {
            for change in [Change::Remove(0), Change::Rename(0, "t".into())] {
                if let Ok(text) = edited(&text, &change) {
                    let panels = found.panels.len() - usize::from(matches!(change, Change::Remove(_)));
                    prop_assert_eq!(Dashboard::parse(&text).unwrap().panels.len(), panels);
                }
            }
        }
    }
}

/// Such a change gives a file that can be read and says something else than was wanted.
#[test]
fn a_change_that_would_change_another_panel_too_is_not_made() {
    let text = "version: 1
title: x
panels:
  - title: &t A
    type: text
    text: a
  - title: &t B
    type: text
    text: b
  - title: *t
    type: text
    text: c
";
    let titles = |text: &str| Dashboard::parse(text).unwrap().panels.iter().map(|p| p.title.clone()).collect::<Vec<_>>();
    assert_eq!(titles(text), ["A", "B", "B"]);
    assert_eq!(edited(text, &Change::Remove(1)), Err(EditError::Written), "the last panel would be called A");
    assert_eq!(titles(&edited(text, &Change::Remove(2)).unwrap()), ["A", "B"]);
}

#[test]
fn case_01_a_title_that_holds_a_number_sign_goes_as_a_whole() {
    for (old, new) in [
        (r##"title: "a # b" # c"##, Some(r#"title: "t" # c"#)),
        (r##"title: "a\" # b""##, Some(r#"title: "t""#)),
        (r##"title: 'a '' # b'   # c"##, Some(r#"title: "t"   # c"#)),
        ("title: C# or D, 5\" # c", Some(r#"title: "t" # c"#)),
        ("title: a#b", Some(r#"title: "t""#)),
        (r##"title: &a "b # c""##, Some(r#"title: &a "t""#)),
        (r##"title: !!str "b # c""##, Some(r#"title: !!str "t""#)),
        ("title: \"a\n      # b\"", None),
        ("title: |-\n      # b", None),
    ] {
        let block = |title: &str| format!("version: 1\ntitle: x\npanels:\n  - type: text\n    {title}\n    text: a\n");
        let renamed = edited(&block(old), &Change::Rename(0, "t".into()));
        assert_eq!(renamed, new.map(block).ok_or(EditError::Written), "{old}");
    }
    let flow = |title: &str| format!("version: 1\ntitle: x\npanels:\n  - {{ type: text, {title}, text: a }} # c\n");
    for old in [r##"title: "a, # b""##, "title: 'a } # b'", "title: a#b", "title: \"a\\\" # b\""] {
        let renamed = edited(&flow(old), &Change::Rename(0, "t".into()));
        assert_eq!(renamed, Ok(flow(r#"title: "t""#)), "{old}");
    }
}
