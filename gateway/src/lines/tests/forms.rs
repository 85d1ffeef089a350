//! What a line says, in both forms.

use proptest::prelude::*;

use super::super::cut::{Cut, Lines};
use super::super::{MAX_LINE_BYTES, Precision, Said, Told, read, time};
use pattoo_wire::{Kind, Quality, Reason};

fn one(line: &str) -> Told {
    let told = read(line.as_bytes(), Precision::Ns).unwrap_or_else(|error| panic!("{line}: {error}"));
    let [one] = <[Told; 1]>::try_from(told).unwrap();
    one
}

fn error(line: &[u8]) -> String {
    read(line, Precision::Ns).unwrap_err().to_string()
}

/// Measurement, tags, fields, time in ms.
type Parts<'t> = (&'t str, &'t [(&'t str, &'t str)], &'t [(&'t str, Said)], Option<i64>);

/// The examples of the protocol's own description, and its corners.
#[test]
fn line_protocol_is_read_as_its_description_says() {
    let text = |text: &str| Said::Text(text.to_owned());
    let cases: &[(&str, Parts<'_>)] = &[
        (
            "weather,location=us-midwest temperature=82 1465839830100400200",
            ("weather", &[("location", "us-midwest")], &[("temperature", Said::Float(82.0))], Some(1_465_839_830_100)),
        ),
        ("weather temperature=82 1465839830100400200", ("weather", &[], &[("temperature", Said::Float(82.0))], Some(1_465_839_830_100))),
        (
            "weather temperature=82,humidity=71",
            ("weather", &[], &[("temperature", Said::Float(82.0)), ("humidity", Said::Float(71.0))], None),
        ),
        ("m f=82i", ("m", &[], &[("f", Said::Integer(82))], None)),
        ("m f=-9223372036854775808i", ("m", &[], &[("f", Said::Integer(i64::MIN))], None)),
        ("m f=18446744073709551615u", ("m", &[], &[("f", Said::Unsigned(u64::MAX))], None)),
        ("m f=-1.234456e+78", ("m", &[], &[("f", Said::Float(-1.234456e78))], None)),
        ("m f=1.e3,g=.5,h=-0", ("m", &[], &[("f", Said::Float(1000.0)), ("g", Said::Float(0.5)), ("h", Said::Float(-0.0))], None)),
        (
            "m a=t,b=T,c=true,d=True,e=TRUE",
            (
                "m",
                &[],
                &[
                    ("a", Said::Flag(true)),
                    ("b", Said::Flag(true)),
                    ("c", Said::Flag(true)),
                    ("d", Said::Flag(true)),
                    ("e", Said::Flag(true)),
                ],
                None,
            ),
        ),
        (
            "m a=f,b=F,c=false,d=False,e=FALSE",
            (
                "m",
                &[],
                &[
                    ("a", Said::Flag(false)),
                    ("b", Said::Flag(false)),
                    ("c", Said::Flag(false)),
                    ("d", Said::Flag(false)),
                    ("e", Said::Flag(false)),
                ],
                None,
            ),
        ),
        (r#"m f="too hot""#, ("m", &[], &[("f", text("too hot"))], None)),
        (r#"m f="too, hot = 1 2""#, ("m", &[], &[("f", text("too, hot = 1 2"))], None)),
        (r#"m f="a \"b\" c\\d \n""#, ("m", &[], &[("f", text(r#"a "b" c\d \n"#))], None)),
        (r#"m f="""#, ("m", &[], &[("f", text(""))], None)),
        (
            r"wea\,ther,loc\,ation=us\ mid\=west temp\=rature\ x=82",
            ("wea,ther", &[("loc,ation", "us mid=west")], &[("temp=rature x", Said::Float(82.0))], None),
        ),
        (r"wea=ther,a=b f=1", ("wea=ther", &[("a", "b")], &[("f", Said::Float(1.0))], None)),
        // In a measurement a backslash only stands before a comma or a space.
        (r"wea\=ther f=1", (r"wea\=ther", &[], &[("f", Said::Float(1.0))], None)),
        (r"a\b,c\d=e\f g\h=1", (r"a\b", &[("c\\d", "e\\f")], &[("g\\h", Said::Float(1.0))], None)),
        (r"a\\,b=1 f=1", (r"a\,b=1", &[], &[("f", Said::Float(1.0))], None)),
        ("m,b=2,a=1 f=1", ("m", &[("a", "1"), ("b", "2")], &[("f", Said::Float(1.0))], None)),
        ("  m   f=1   1000000   ", ("m", &[], &[("f", Said::Float(1.0))], Some(1))),
        ("m f=1 -1", ("m", &[], &[("f", Said::Float(1.0))], Some(-1))),
        ("größe,ort=Köln wert=1", ("größe", &[("ort", "Köln")], &[("wert", Said::Float(1.0))], None)),
        (r#""m" f=1"#, ("\"m\"", &[], &[("f", Said::Float(1.0))], None)),
    ];
    for (line, (measurement, tags, fields, at_ms)) in cases {
        let told = read(line.as_bytes(), Precision::Ns).unwrap_or_else(|error| panic!("{line}: {error}"));
        let found: Vec<_> = told.iter().map(|told| (told.name.as_str(), told.value.clone())).collect();
        assert_eq!(found, *fields, "{line}");
        for told in &told {
            assert_eq!(told.measurement.as_deref(), Some(*measurement), "{line}");
            assert_eq!(told.tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), *tags, "{line}");
            assert_eq!((told.at_ms, told.device.as_deref(), told.quality), (*at_ms, None, Quality::Good), "{line}");
        }
    }
}

#[test]
fn what_is_wrong_with_line_protocol_is_said_with_its_column() {
    for (line, expected) in [
        ("m", "column 2: found the end of the line, expected `,` and a tag, or a space and the fields"),
        (",a=1 f=1", "column 1: found `,`, expected the name of a measurement"),
        ("m,a f=1", "column 4: found ` `, expected `=` and the text of the tag"),
        ("m,=1 f=1", "column 3: found `=`, expected the name of a tag"),
        ("m,a= f=1", "column 5: found ` `, expected the text of a tag"),
        ("m,a=1,a=2 f=1", "column 7: found the tag `a` twice, expected each once"),
        ("m,a=1", "column 6: found the end of the line, expected `,` and a tag, or a space and the fields"),
        ("m ", "column 3: found the end of the line, expected the name of a field"),
        ("m f", "column 4: found the end of the line, expected `=` and the value of the field"),
        ("m f=", "column 5: found the end of the line, expected a number, such as 1.5, 2i or 3u, true, false or a text in \"\""),
        ("m f=,g=1", "column 5: found `,`, expected a number, such as 1.5, 2i or 3u, true, false or a text in \"\""),
        ("m f=1,f=2", "column 7: found the field `f` twice, expected each once"),
        ("m f=hot", "column 5: found `hot`, expected a number, such as 1.5, 2i or 3u, true, false or a text in \"\""),
        ("m f=nan", "column 5: found `nan`, expected a number, such as 1.5, 2i or 3u, true, false or a text in \"\""),
        ("m f=inf", "column 5: found `inf`, expected a number, such as 1.5, 2i or 3u, true, false or a text in \"\""),
        ("m f=1e999", "column 5: found `1e999`, expected a number, such as 1.5, 2i or 3u, true, false or a text in \"\""),
        ("m f=1.5i", "column 5: found `1.5i`, expected a number, such as 1.5, 2i or 3u, true, false or a text in \"\""),
        (
            "m f=9223372036854775808i",
            "column 5: found `9223372036854775808i`, expected a number, such as 1.5, 2i or 3u, true, false or a text in \"\"",
        ),
        ("m f=-1u", "column 5: found `-1u`, expected a number, such as 1.5, 2i or 3u, true, false or a text in \"\""),
        ("m f=tRUE", "column 5: found `tRUE`, expected a number, such as 1.5, 2i or 3u, true, false or a text in \"\""),
        ("m f=\"open", "column 5: found a text without end, expected a `\"` behind it in the same line"),
        ("m f=\"a\"b", "column 8: found `b`, expected `,` and a field, a space and a time, or the end of the line"),
        ("m f=1 12.5", "column 7: found `12.5`, expected a time: a whole number, or the end of the line"),
        ("m f=1 1 2", "column 7: found `1 2`, expected a time: a whole number, or the end of the line"),
        ("größe f=x", "column 9: found `x`, expected a number, such as 1.5, 2i or 3u, true, false or a text in \"\""),
    ] {
        assert_eq!(error(line.as_bytes()), expected, "{line}");
    }
    assert_eq!(error(b"gr\xF6\xDFe f=1"), "column 3: found the byte 0xF6, expected UTF-8");
    let many = format!("m {}", (0..257).map(|n| format!("f{n}=1")).collect::<Vec<_>>().join(","));
    assert!(error(many.as_bytes()).ends_with("found more than 256 fields, expected at most so many"));
    let many = format!("m,{} f=1", (0..33).map(|n| format!("t{n}=1")).collect::<Vec<_>>().join(","));
    assert!(error(many.as_bytes()).ends_with("found more than 32 tags, expected at most so many"));
}

#[test]
fn a_json_line_is_one_reading() {
    let told = one(
        r#"{"point":"temp","value":21.5,"device":"attic","unit":"Cel","kind":"gauge","time_ms":1000,"tags":{"room":"a"},"labels":{"by":"x"}}"#,
    );
    assert_eq!((told.name.as_str(), told.value, told.device.as_deref()), ("temp", Said::Float(21.5), Some("attic")));
    assert_eq!((told.unit.as_deref(), told.kind, told.at_ms), (Some("Cel"), Some(Kind::Gauge), Some(1000)));
    assert_eq!((told.tags["room"].as_str(), told.labels["by"].as_str(), told.quality), ("a", "x", Quality::Good));
    for (value, said, quality, reason) in [
        (r#","value":18446744073709551615"#, Said::Unsigned(u64::MAX), Quality::Good, None),
        (r#","value":-1"#, Said::Integer(-1), Quality::Good, None),
        (r#","value":true"#, Said::Flag(true), Quality::Good, None),
        (r#","value":"on""#, Said::Text("on".into()), Quality::Good, None),
        (r#","value":null"#, Said::Nothing, Quality::Bad, Some(Reason::NotAValue)),
        ("", Said::Nothing, Quality::Bad, Some(Reason::NotAValue)),
        (r#","reason":"timeout""#, Said::Nothing, Quality::Bad, Some(Reason::Timeout)),
        (r#","quality":"bad""#, Said::Nothing, Quality::Bad, None),
        (r#","value":1,"quality":"bad","reason":"out of range""#, Said::Unsigned(1), Quality::Bad, Some(Reason::OutOfRange)),
        (r#","value":1,"quality":"uncertain","reason":"stale""#, Said::Unsigned(1), Quality::Uncertain, Some(Reason::Stale)),
        (r#","value":1,"reason":"stale""#, Said::Unsigned(1), Quality::Uncertain, Some(Reason::Stale)),
    ] {
        let told = one(&format!(r#"  {{"point":"p"{value}}} "#));
        assert_eq!((told.value, told.quality, told.reason), (said, quality, reason), "{value}");
    }
    assert_eq!(one(r#"{"point":"p","value":1,"time":"1970-01-01T00:00:01.5Z"}"#).at_ms, Some(1500));
}

#[test]
fn what_is_wrong_with_json_is_said_with_its_column() {
    for (line, expected) in [
        (r#"{"point":"p","value":1"#, "column 22: found the end of the line: EOF while parsing an object"),
        (r#"{"point":"p" "value":1}"#, "column 14: found `\"`: expected `,` or `}`"),
        (r#"{"point":"p","value":nan}"#, "column 23: found `a`: expected ident"),
        (r#"{"point":"p","value":1} x"#, "column 25: found `x`: trailing characters"),
        (r#"{"value":1}"#, "column 11: missing field `point`"),
        (r#"{"point":"p","point":"q","value":1}"#, "column 20: duplicate field `point`"),
        (r#"{"point":"p","value":[1]}"#, "column 22: invalid type: sequence, expected a number, true, false, a text or null"),
        (r#"{"point":7,"value":1}"#, "column 10: invalid type: integer `7`, expected a string"),
        (r#"{"point":"p","value":1,"kind":"meter"}"#, "column 38: invalid value: string \"meter\", expected gauge, counter, state or text"),
        (r#"{"point":"p","value":1,"quality":"ok"}"#, "column 38: invalid value: string \"ok\", expected good, uncertain or bad"),
        (
            r#"{"point":"p","value":1,"time":"today"}"#,
            "column 38: invalid value: string \"today\", expected a time such as 2026-05-04T10:00:00Z",
        ),
        (
            r#"{"point":"p","value":1,"time":"1970-01-01T00:00:01Z","time_ms":1}"#,
            "column 1: found `time` and `time_ms`, expected one of them",
        ),
        (
            r#"{"point":"p","value":1,"quality":"uncertain"}"#,
            "column 1: found a quality of `uncertain` without `reason`, expected the reason too",
        ),
        (r#"{"point":"p","quality":"good"}"#, "column 1: found no value, expected one, or a quality of `bad`"),
        (
            r#"{"point":"p","value":1,"quality":"good","reason":"stale"}"#,
            "column 1: found a quality of `good` with a `reason`, expected none",
        ),
        (r#"{"point":"p","value":1,"tags":{"n":1}}"#, "column 36: invalid type: integer `1`, expected a string"),
    ] {
        assert_eq!(error(line.as_bytes()), expected, "{line}");
    }
    let unknown = error(br#"{"point":"p","valu":1}"#);
    assert!(unknown.starts_with("column 19: unknown field `valu`, expected one of `point`, `value`"), "{unknown}");
    assert!(error("[".repeat(200).as_bytes()).starts_with("column"), "it is line protocol, and none");
    assert!(error(format!("{{\"point\":{}", "[".repeat(500)).as_bytes()).starts_with("column"));
}

#[test]
fn empty_lines_and_comments_are_no_readings() {
    for line in ["", "   ", "# weather f=1", "  # x", "\t"] {
        assert_eq!(read(line.as_bytes(), Precision::Ns), Ok(Vec::new()), "{line:?}");
    }
}

#[test]
fn times_are_of_the_precision_that_is_configured() {
    for (precision, time, ms) in [
        (Precision::Ns, "1999999", Some(1)),
        (Precision::Ns, "-1", Some(-1)),
        (Precision::Us, "1999", Some(1)),
        (Precision::Ms, "7", Some(7)),
        (Precision::S, "7", Some(7_000)),
        (Precision::S, "9223372036854775807", None),
    ] {
        let found = read(format!("m f=1 {time}").as_bytes(), precision).ok().and_then(|told| told[0].at_ms);
        assert_eq!(found, ms, "{precision:?} {time}");
    }
}

#[test]
fn a_time_is_that_of_rfc_3339() {
    for (text, expected) in [
        ("1970-01-01T00:00:00Z", Some(0)),
        ("1970-01-01t00:00:00z", Some(0)),
        ("2024-02-29T23:59:59.999Z", Some(1_709_251_199_999)),
        ("2026-05-04 10:00:00+02:00", Some(1_777_881_600_000)),
        ("2026-05-04T10:00:00-00:30", Some(1_777_890_600_000)),
        ("2026-05-04T10:00:00.123456789Z", Some(1_777_888_800_123)),
        ("2026-05-04T10:00:00.1Z", Some(1_777_888_800_100)),
        ("1969-12-31T23:59:59Z", Some(-1_000)),
        ("2016-12-31T23:59:60Z", Some(1_483_228_800_000)),
        ("2000-03-01T00:00:00Z", Some(951_868_800_000)),
        ("2100-02-29T00:00:00Z", None),
        ("2026-02-30T00:00:00Z", None),
        ("2026-13-01T00:00:00Z", None),
        ("2026-05-04T24:00:00Z", None),
        ("2026-05-04T10:00:00", None),
        ("2026-05-04T10:00:00.Z", None),
        ("2026-05-04T10:00:00+2", None),
        ("2026-05-04T10:00Z", None),
        ("26-05-04T10:00:00Z", None),
        ("2026-05-0éT10:00:00Z", None),
        ("", None),
    ] {
        assert_eq!(time::read(text), expected, "{text}");
    }
}

#[test]
fn a_line_that_is_too_long_costs_only_itself() {
    let mut lines = Lines::default();
    let cut = |number, text: &str| Cut { number, bytes: Some(text.as_bytes().to_vec()) };
    assert_eq!(lines.push(b"a\nb\r\n\nc"), [cut(1, "a"), cut(2, "b"), cut(3, "")]);
    assert_eq!(lines.push(&vec![b'x'; MAX_LINE_BYTES]), []);
    assert_eq!(lines.push(b"x\nd\n"), [Cut { number: 4, bytes: None }, cut(5, "d")]);
    let whole = "y".repeat(MAX_LINE_BYTES);
    assert_eq!(lines.push(format!("{whole}\n").as_bytes()), [cut(6, &whole)]);
    assert_eq!((lines.finish(), lines.push(b"e"), lines.finish(), lines.finish()), (None, vec![], Some(cut(7, "e")), None));
}

fn escaped(text: &str, also: &[char]) -> String {
    text.chars().flat_map(|c| if also.contains(&c) { vec!['\\', c] } else { vec![c] }).collect()
}

fn a_name() -> impl Strategy<Value = String> {
    // A backslash at the end of a name would take the meaning from what follows.
    "[a-zA-Z0-9 ,=äß_.-]{1,12}"
        .prop_filter("it begins a comment, or is empty", |name| !name.trim().is_empty() && !name.starts_with([' ', '#', '{']))
}

fn a_value() -> impl Strategy<Value = (String, Said)> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| (n.to_string(), Said::Float(n))),
        any::<i64>().prop_map(|n| (format!("{n}i"), Said::Integer(n))),
        any::<u64>().prop_map(|n| (format!("{n}u"), Said::Unsigned(n))),
        any::<bool>().prop_map(|flag| (flag.to_string(), Said::Flag(flag))),
        "[^\n\r\u{0}]{0,20}".prop_map(|text| (format!("\"{}\"", escaped(&text, &['"', '\\'])), Said::Text(text))),
    ]
}

proptest! {
    #[test]
    fn no_line_makes_a_reader_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&line, Precision::Ns);
    }

    #[test]
    fn no_line_that_looks_like_one_makes_a_reader_panic(line in "[{]?[a-z,= \\\\\"0-9iu.{}:\\[\\]é-]{0,60}") {
        for precision in [Precision::Ns, Precision::S] {
            let _ = read(line.as_bytes(), precision);
        }
    }

    #[test]
    fn line_protocol_that_is_written_is_read_again(
        measurement in a_name(),
        tags in prop::collection::btree_map(a_name(), a_name(), 0..4),
        fields in prop::collection::btree_map(a_name(), a_value(), 1..5),
        at_ms in prop::option::of(-9_000_000_000_000i64..9_000_000_000_000),
    ) {
        prop_assume!(!tags.contains_key("device"));
        let all = [',', ' ', '='];
        let mut line = escaped(&measurement, &[',', ' ']);
        tags.iter().for_each(|(key, text)| line += &format!(",{}={}", escaped(key, &all), escaped(text, &all)));
        let told: Vec<_> = fields.iter().map(|(name, (text, _))| format!("{}={text}", escaped(name, &all))).collect();
        line += &format!(" {}", told.join(","));
        line += &at_ms.map(|ms| format!(" {}", ms * 1_000_000)).unwrap_or_default();
        let found = read(line.as_bytes(), Precision::Ns).map_err(|error| TestCaseError::fail(format!("{line}: {error}")))?;
        prop_assert_eq!(found.len(), fields.len());
        for (found, (name, (_, said))) in found.iter().zip(&fields) {
            prop_assert_eq!(&found.name, name);
            prop_assert_eq!(&found.value, said);
            prop_assert_eq!(found.measurement.as_ref(), Some(&measurement));
            prop_assert_eq!((&found.tags, found.at_ms), (&tags, at_ms));
        }
    }

    #[test]
    fn json_that_is_written_is_read_again(name in ".{1,20}", number in any::<f64>(), text in ".{0,20}", at_ms in any::<i64>()) {
        prop_assume!(number.is_finite());
        let line = |value: serde_json::Value| serde_json::json!({ "point": name, "value": value, "time_ms": at_ms, "tags": { "t": text } }).to_string();
        for (value, said) in [(number.into(), Said::Float(number)), (text.clone().into(), Said::Text(text.clone()))] {
            let told = read(line(value).as_bytes(), Precision::Ns).unwrap();
            prop_assert_eq!((&told[0].name, &told[0].value, told[0].at_ms, &told[0].tags["t"]), (&name, &said, Some(at_ms), &text));
        }
    }

    #[test]
    fn lines_are_the_same_however_their_bytes_come(text in "[ab\r\n]{0,60}", cuts in prop::collection::vec(1usize..7, 0..20)) {
        let mut whole = Lines::default();
        let mut expected = whole.push(text.as_bytes());
        expected.extend(whole.finish());
        let (mut lines, mut found, mut rest) = (Lines::default(), Vec::new(), text.as_bytes());
        for cut in cuts {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            found.extend(lines.push(now));
            rest = later;
        }
        found.extend(lines.push(rest));
        found.extend(lines.finish());
        prop_assert_eq!(found, expected);
    }
}
