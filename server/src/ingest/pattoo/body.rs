//! The body that an agent of the Python Pattoo posts: text -> pairs and the index lists of its datapoints. Pure, and never trusts
//! what it reads: a pair or list that cannot be costs only the datapoints that need it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Most datapoints of one body.
pub(super) const MAX_DATAPOINTS: usize = 65_536;
/// Most key-value pairs of one body: about four of each datapoint are its own.
pub(super) const MAX_PAIRS: usize = 8 * MAX_DATAPOINTS;
/// Most pairs of one datapoint: ten are Pattoo's own, the rest is metadata.
pub(super) const MAX_DATAPOINT_PAIRS: usize = 64;

/// A body with the documented keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body<'a> {
    #[serde(borrow, rename = "pattoo_agent_id")]
    _agent_id: Item<'a>,
    #[serde(borrow, rename = "pattoo_agent_polling_interval")]
    _interval: Item<'a>,
    /// When it was made, ms since 1970.
    #[serde(borrow, rename = "pattoo_agent_timestamp")]
    pub(super) made: Item<'a>,
    #[serde(borrow, rename = "pattoo_datapoints")]
    content: Object<Content<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content<'a> {
    #[serde(borrow)]
    key_value_pairs: Pairs<'a>,
    datapoint_pairs: Lists,
}

impl<'a> Body<'a> {
    /// Reads text that [`readable`] gave.
    ///
    /// # Errors
    /// What it is instead.
    pub(super) fn read(text: &'a str) -> Result<Self, String> {
        serde_json::from_str(text).map(|Object(body)| body).map_err(|e| e.to_string())
    }

    /// The pairs of each datapoint in the order of its list, or why it has none.
    pub(super) fn datapoints(&self) -> impl Iterator<Item = Result<Vec<(&str, &Item<'a>)>, String>> {
        self.content.0.datapoint_pairs.0.iter().map(|list| {
            let indexes = list.as_ref().map_err(|why| (*why).to_owned())?;
            let pair = |index: &u64| match self.content.0.key_value_pairs.0.get(index) {
                Some(Some((key, value))) => Ok((key.as_ref(), value)),
                Some(None) => Err(format!("pair {index} of key_value_pairs is not a list of a key and a value")),
                None => Err(format!("there is no pair {index} in key_value_pairs")),
            };
            indexes.iter().map(pair).collect()
        })
    }
}

/// Any JSON; of a list no more items than a datapoint may have and one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Item<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Unsigned(u64),
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Item<'a>>),
    Object,
}

impl fmt::Display for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(yes) => yes.fmt(f),
            Self::Int(n) => n.fmt(f),
            Self::Unsigned(n) => n.fmt(f),
            Self::Float(x) => x.fmt(f),
            Self::Text(text) => write!(f, "{:?}", text.chars().take(80).collect::<String>()),
            Self::List(_) => f.write_str("a list"),
            Self::Object => f.write_str("an object"),
        }
    }
}

/// Only an object: what is derived would take a list of the values as well.
#[derive(Debug)]
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObject<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfObject<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "an object with exactly the keys pattoo_agent_id, pattoo_agent_polling_interval, pattoo_agent_timestamp and \
                     pattoo_datapoints, which is an object with exactly key_value_pairs and datapoint_pairs",
                )
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(OfObject(PhantomData))
    }
}

/// By index; none for a pair that is none.
#[derive(Debug)]
struct Pairs<'a>(HashMap<u64, Option<(Cow<'a, str>, Item<'a>)>>);

/// The index list of each datapoint, or what is wrong with it.
#[derive(Debug)]
struct Lists(Vec<Result<Vec<u64>, &'static str>>);

fn pair(item: Item<'_>) -> Option<(Cow<'_, str>, Item<'_>)> {
    let Item::List(items) = item else { return None };
    match <[Item<'_>; 2]>::try_from(items) {
        Ok([Item::Text(key), value]) => Some((key, value)),
        _ => None,
    }
}

fn indexes(item: &Item<'_>) -> Result<Vec<u64>, &'static str> {
    const NO_LIST: &str = "it is not a list of pair numbers";
    let Item::List(items) = item else { return Err(NO_LIST) };
    if items.len() > MAX_DATAPOINT_PAIRS {
        return Err("it has more than 64 pairs");
    }
    let index = |item: &Item<'_>| match item {
        Item::Int(index) => u64::try_from(*index).map_err(|_| NO_LIST),
        _ => Err(NO_LIST),
    };
    items.iter().map(index).collect()
}

impl<'de: 'a, 'a> Deserialize<'de> for Item<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Item<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON")
            }

            fn visit_unit<E>(self) -> Result<Item<'de>, E> {
                Ok(Item::Null)
            }

            fn visit_bool<E>(self, yes: bool) -> Result<Item<'de>, E> {
                Ok(Item::Bool(yes))
            }

            fn visit_i64<E>(self, n: i64) -> Result<Item<'de>, E> {
                Ok(Item::Int(n))
            }

            fn visit_u64<E>(self, n: u64) -> Result<Item<'de>, E> {
                Ok(i64::try_from(n).map_or(Item::Unsigned(n), Item::Int))
            }

            fn visit_f64<E>(self, x: f64) -> Result<Item<'de>, E> {
                Ok(Item::Float(x))
            }

            fn visit_str<E>(self, text: &str) -> Result<Item<'de>, E> {
                Ok(Item::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Item<'de>, E> {
                Ok(Item::Text(Cow::Borrowed(text)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Item<'de>, A::Error> {
                let mut kept = Vec::new();
                while kept.len() <= MAX_DATAPOINT_PAIRS {
                    match items.next_element()? {
                        Some(item) => kept.push(item),
                        None => return Ok(Item::List(kept)),
                    }
                }
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Item::List(kept))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Item<'de>, A::Error> {
                while items.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Item::Object)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfPairs;
        impl<'de> Visitor<'de> for OfPairs {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("key_value_pairs as an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = HashMap::new();
                while let Some((index, item)) = items.next_entry::<Item<'de>, Item<'de>>()? {
                    // No list can name another one.
                    let Item::Text(index) = index else { continue };
                    if let Ok(index) = index.parse() {
                        pairs.insert(index, pair(item));
                    }
                    if pairs.len() > MAX_PAIRS {
                        return Err(A::Error::custom(format_args!("more than {MAX_PAIRS} key_value_pairs; post in parts")));
                    }
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(OfPairs)
    }
}

impl<'de> Deserialize<'de> for Lists {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfLists;
        impl<'de> Visitor<'de> for OfLists {
            type Value = Lists;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("datapoint_pairs as a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Lists, A::Error> {
                let mut lists = Vec::new();
                while let Some(item) = items.next_element::<Item<'de>>()? {
                    if lists.len() == MAX_DATAPOINTS {
                        return Err(A::Error::custom(format_args!("more than {MAX_DATAPOINTS} datapoints; post in parts")));
                    }
                    lists.push(indexes(&item));
                }
                Ok(Lists(lists))
            }
        }
        deserializer.deserialize_seq(OfLists)
    }
}

/// The text of a body, with what Python writes and JSON does not know: `NaN`, `Infinity` and `-Infinity` become texts, halves of
/// surrogate pairs become U+FFFD.
///
/// # Errors
/// Bytes that are no UTF-8.
pub(super) fn readable(bytes: &[u8]) -> Result<Cow<'_, str>, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| format!("not UTF-8 from byte {} on", e.valid_up_to()))?;
    let strange = ["NaN", "Infinity", "\\uD", "\\ud"];
    if !strange.iter().any(|word| text.contains(word)) {
        return Ok(Cow::Borrowed(text));
    }
    let mut plain = String::with_capacity(text.len() + 64);
    let mut rest = text;
    let mut quoted = false;
    while let Some(c) = rest.chars().next() {
        let (taken, put) = match c {
            '"' => {
                quoted = !quoted;
                (1, "\"")
            }
            '\\' if quoted => escape(rest),
            '-' | 'N' | 'I' if !quoted => match ["-Infinity", "Infinity", "NaN"].into_iter().find(|word| rest.starts_with(word)) {
                Some(word) => {
                    plain.push('"');
                    plain.push_str(word);
                    (word.len(), "\"")
                }
                None => (1, rest.get(..1).unwrap_or_default()),
            },
            _ => (c.len_utf8(), rest.get(..c.len_utf8()).unwrap_or_default()),
        };
        plain.push_str(put);
        rest = rest.get(taken..).unwrap_or_default();
    }
    Ok(Cow::Owned(plain))
}

/// What an escape at the start takes, and what to put in its place.
fn escape(rest: &str) -> (usize, &str) {
    let unit = |at: usize| {
        let digits = rest.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    match (unit(0), unit(6)) {
        (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => (12, rest.get(..12).unwrap_or_default()),
        (Some(0xD800..=0xDFFF), _) => (6, "\\ufffd"),
        _ => {
            // The escaped character may be a quote, or of several bytes where this is no JSON at all.
            let length = rest.chars().take(2).map(char::len_utf8).sum();
            (length, rest.get(..length).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_writes_and_json_does_not_know_is_read() {
        for (text, expected) in [
            (r#"[1, "a"]"#, r#"[1, "a"]"#),
            (r#"[NaN,-Infinity,Infinity,-1]"#, r#"["NaN","-Infinity","Infinity",-1]"#),
            (r#"["NaN \" NaN", "\\", NaN]"#, r#"["NaN \" NaN", "\\", "NaN"]"#),
            (r#"["\ud83d\ude00 \udce9x \ud83d"]"#, r#"["\ud83d\ude00 \ufffdx \ufffd"]"#),
            (r#"["é\udce9"]"#, r#"["é\ufffd"]"#),
            (r#"["\ud8"#, r#"["\ud8"#),
            (r#"["NaN\"#, r#"["NaN\"#),
            (r#"["NaN\é"#, r#"["NaN\é"#),
        ] {
            assert_eq!(readable(text.as_bytes()).unwrap(), expected, "{text}");
        }
        assert!(readable(b"[\"caf\xe9\"]").unwrap_err().contains("byte 5"));
    }

    #[test]
    fn other_shapes_are_named() {
        let whole = |datapoints: &str| {
            format!(
                r#"{{"pattoo_agent_timestamp":1,"pattoo_agent_id":"a","pattoo_agent_polling_interval":1,"pattoo_datapoints":{datapoints}}}"#
            )
        };
        for (text, words) in [
            ("", "EOF"),
            ("[1]", "exactly the keys"),
            ("{}", "missing field `pattoo_"),
            (&whole("{}"), "missing field `key_value_pairs`"),
            (&whole("[{},[]]"), "is an object with exactly"),
            (&whole("3"), "exactly key_value_pairs and datapoint_pairs"),
            (r#"["a",1,2,{"key_value_pairs":{},"datapoint_pairs":[]}]"#, "exactly the keys"),
            (&whole(r#"{"key_value_pairs":[],"datapoint_pairs":[]}"#), "key_value_pairs as an object"),
            (&whole(r#"{"key_value_pairs":{},"datapoint_pairs":{}}"#), "datapoint_pairs as a list"),
            (&whole(r#"{"key_value_pairs":{},"datapoint_pairs":[],"x":1}"#), "unknown field `x`"),
            (&whole(r#"{"key_value_pairs":{},"datapoint_pairs":[]},"fifth":1"#), "unknown field `fifth`"),
            (&(whole(r#"{"key_value_pairs":{},"datapoint_pairs":[]}"#) + "x"), "trailing"),
            (&whole(&format!(r#"{{"key_value_pairs":{{}},"datapoint_pairs":[{}0]}}"#, "0,".repeat(MAX_DATAPOINTS))), "more than 65536"),
            (&"[".repeat(100_000), "exactly the keys"),
        ] {
            let why = Body::read(text).unwrap_err();
            assert!(why.contains(words), "{text:.120}: {why}");
        }
    }

    #[test]
    fn a_pair_or_list_that_cannot_be_costs_only_its_datapoint() {
        let pairs = r#"{"0":["a",1],"1":["b"],"2":7,"3":["c",2,3],"4":[5,6],"5":["d",{"x":[1]}],"x":["e",1]}"#;
        let many = "0,".repeat(64);
        let text = format!(
            r#"{{"pattoo_agent_timestamp":1,"pattoo_agent_id":"a","pattoo_agent_polling_interval":1,"pattoo_datapoints":{{
            "key_value_pairs":{pairs},"datapoint_pairs":[[0,5],[1],[2],[3],[4],[9],7,{{}},null,["0"],[-1],[0.5],[{many}0],[0,0]]}}}}"#
        );
        let body = Body::read(&text).unwrap();
        let found: Vec<_> = body.datapoints().map(|d| d.map(|pairs| pairs.len())).collect();
        assert_eq!((found.len(), &found[0], &found[13]), (14, &Ok(2), &Ok(2)));
        for (number, words) in
            [(1, "pair 1"), (2, "pair 2"), (3, "pair 3"), (4, "pair 4"), (5, "no pair 9"), (6, "not a list"), (12, "64 pairs")]
        {
            assert!(found[number].as_ref().unwrap_err().contains(words), "{found:?}");
        }
        assert!(found[1..13].iter().all(Result::is_err));
    }
}
