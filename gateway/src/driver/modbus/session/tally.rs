//! What became of many thousand transactions, by the fault that they met. For tests.

use std::collections::BTreeMap;
use std::fmt;

use proptest::test_runner::{Config, RngSeed, TestRunner};

/// Requests in each round.
pub(super) const TRANSACTIONS: usize = 1000;

/// How often a fault was met, and how many of those requests gave the right value.
#[derive(Default)]
pub(super) struct Tally(BTreeMap<String, (u64, u64)>);

impl Tally {
    /// `fault` as its `Debug` has it: what is in brackets does not count.
    pub(super) fn add(&mut self, fault: &impl fmt::Debug, right: bool) {
        let name = format!("{fault:?}");
        let (asked, good) = self.0.entry(name.split('(').next().unwrap_or_default().to_owned()).or_default();
        *asked += 1;
        *good += u64::from(right);
    }

    pub(super) fn total(&self) -> (u64, u64) {
        self.0.values().fold((0, 0), |(asked, good), own| (asked + own.0, good + own.1))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (asked, good) = self.total();
        let line = |f: &mut fmt::Formatter<'_>, name: &str, (asked, good): (u64, u64)| {
            writeln!(f, "| {name} | {asked} | {good} | {} | 0 |", asked - good)
        };
        writeln!(f, "| fault | requests | right value | no value | wrong value |\n|---|---|---|---|---|")?;
        self.0.iter().try_for_each(|(name, counts)| line(f, name, *counts))?;
        line(f, "all", (asked, good))
    }
}

/// So many rounds as `PATTOO_TEST_ROUNDS` says, by default few; the seed is `PATTOO_TEST_SEED` or any, and is printed.
pub(super) fn runner() -> (u32, TestRunner) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let rounds = u32::try_from(number("PATTOO_TEST_ROUNDS").unwrap_or(10)).unwrap();
    let seed = number("PATTOO_TEST_SEED").unwrap_or_else(|| getrandom::u64().unwrap());
    eprintln!("PATTOO_TEST_SEED={seed} PATTOO_TEST_ROUNDS={rounds}");
    let config =
        Config { cases: rounds, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
    (rounds, TestRunner::new(config))
}
