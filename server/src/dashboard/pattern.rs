//! Patterns over names: `*` is any text, `$name` a variable, and a backslash takes the meaning from what follows it. Pure.

use std::collections::BTreeMap;

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Any,
    Variable(String),
}

/// Names by variable; none stands for all.
pub type Chosen = BTreeMap<String, Option<String>>;

impl Default for Pattern {
    fn default() -> Self {
        Self(vec![Part::Any])
    }
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut run = String::new();
        let mut rest = text.chars().peekable();
        let end = |run: &mut String, parts: &mut Vec<Part>| {
            if !run.is_empty() {
                parts.push(Part::Text(std::mem::take(run)));
            }
        };
        while let Some(c) = rest.next() {
            match c {
                '*' => {
                    end(&mut run, &mut parts);
                    if parts.last() != Some(&Part::Any) {
                        parts.push(Part::Any);
                    }
                }
                '$' => {
                    end(&mut run, &mut parts);
                    let mut name = String::new();
                    while let Some(c) = rest.next_if(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_') {
                        name.push(c);
                    }
                    if name.is_empty() {
                        return Err(format!("found a $ without a variable's name in {text:?}; \\$ is the sign itself"));
                    }
                    parts.push(Part::Variable(name));
                }
                '\\' => run.push(rest.next().ok_or_else(|| format!("found a backslash at the end of {text:?}; \\\\ is the sign itself"))?),
                c => run.push(c),
            }
        }
        end(&mut run, &mut parts);
        Ok(Self(parts))
    }

    /// The variables it names.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The same with its variables replaced: a value stands for itself, all for any text.
    #[must_use]
    pub fn with(&self, chosen: &Chosen) -> Self {
        let part = |part: &Part| match part {
            Part::Variable(name) => chosen.get(name).and_then(Clone::clone).map_or(Part::Any, Part::Text),
            part => part.clone(),
        };
        Self(self.0.iter().map(part).collect())
    }

    /// As text for people, with its variables replaced.
    #[must_use]
    pub fn text(&self, chosen: &Chosen) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Any => "*".to_owned(),
            Part::Variable(name) => chosen.get(name).and_then(Clone::clone).unwrap_or_else(|| "all".into()),
        };
        self.0.iter().map(part).collect()
    }

    /// Whether it fits any text, so also one that is not there.
    #[must_use]
    pub fn is_any(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|part| !matches!(part, Part::Text(_)))
    }

    /// Whether it fits all of a text.
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        // The first and the last part are bound to the ends, those between are taken as early as they come: no way back is needed.
        let mut rest = text;
        let mut bound = true;
        let last = self.0.len().saturating_sub(1);
        for (n, part) in self.0.iter().enumerate() {
            let Part::Text(wanted) = part else {
                bound = false;
                continue;
            };
            let after = match (bound, n == last) {
                (true, _) => rest.strip_prefix(wanted.as_str()),
                (false, true) => return rest.ends_with(wanted.as_str()),
                (false, false) => rest.split_once(wanted.as_str()).map(|(_, after)| after),
            };
            let Some(after) = after else { return false };
            rest = after;
            bound = true;
        }
        !bound || rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_is_any_text_and_a_backslash_takes_it_back() {
        for (pattern, text, fits) in [
            ("pump-1", "pump-1", true),
            ("pump-1", "pump-11", false),
            ("pump-*", "pump-", true),
            ("pump-*", "Pump-1", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("*a*a", "ba", false),
            ("*a*a", "aba", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "acb", false),
            ("**x", "x", true),
            ("x\\*", "x*", true),
            ("x\\*", "xy", false),
            ("\\$a", "$a", true),
            ("ab*ba", "aba", false),
            ("é*", "éclair", true),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().fits(text), fits, "{pattern} {text}");
        }
        for wrong in ["$", "a$", "$A", "x\\"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_value_of_a_variable_is_no_pattern() {
        let pattern = Pattern::parse("$site-*").unwrap();
        let chosen = |value: Option<&str>| Chosen::from([("site".to_owned(), value.map(str::to_owned))]);
        assert_eq!(pattern.variables().collect::<Vec<_>>(), ["site"]);
        assert!(pattern.with(&chosen(Some("*"))).fits("*-1") && !pattern.with(&chosen(Some("*"))).fits("north-1"));
        assert!(pattern.with(&chosen(None)).fits("north-1"));
        assert_eq!(pattern.text(&chosen(Some("north"))), "north-*");
        assert!(Pattern::parse("$site").unwrap().with(&chosen(None)).is_any() && !pattern.with(&chosen(None)).is_any());
    }

    proptest! {
        #[test]
        fn it_fits_as_an_expression_of_the_same_meaning_does(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            /// By trying everything.
            fn slow(pattern: &[u8], text: &[u8]) -> bool {
                match (pattern.split_first(), text.split_first()) {
                    (None, rest) => rest.is_none(),
                    (Some((b'*', more)), rest) => slow(more, text) || rest.is_some_and(|(_, rest)| slow(pattern, rest)),
                    (Some((p, more)), Some((t, rest))) => p == t && slow(more, rest),
                    (Some(_), None) => false,
                }
            }
            prop_assert_eq!(Pattern::parse(&pattern).unwrap().fits(&text), slow(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn a_name_with_its_signs_taken_back_fits_itself(name in "[a*$\\\\ .é]{0,12}") {
            let escaped: String = name.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert!(Pattern::parse(&escaped).unwrap().fits(&name));
        }
    }
}
