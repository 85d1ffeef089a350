//! Why the requests of a plan end where they do, in words. Explains, and decides nothing.

use std::time::Duration;

use super::{LinkCost, MAX_BITS, Request, Span, is_bits};
use crate::profile::{ModbusLimits, Table};

/// Why a request does not also read what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Nothing of its table comes next.
    Last,
    /// Its one value shares no request: it is longer than one may be, or lies across the edge of a block.
    Alone,
    /// So many registers or bits lie in between, and so many may be read over.
    Gap { between: u32, most: u32 },
    /// Together it would be so many, of which one request may ask for so many.
    TooLong { together: u32, most: u32 },
    /// The device answers no request over the edge of a block.
    Block,
    /// Both in one request would take so long; apart they take so long.
    Dearer { together: Duration, apart: Duration },
}

/// Why each of the requests of a plan ends, in its order.
#[must_use]
pub fn explain(requests: &[Request], limits: &ModbusLimits, cost: &LinkCost) -> Vec<Why> {
    let why = |(place, request): (usize, &Request)| {
        let own = Span::asked(request);
        if !own.fits(limits) {
            return Why::Alone;
        }
        let behind = requests.iter().skip(place + 1).map(Span::asked).find(|next| next.table == own.table && next.fits(limits));
        behind.map_or(Why::Last, |next| between(own, next, limits, cost))
    };
    requests.iter().enumerate().map(why).collect()
}

fn between(own: Span, next: Span, limits: &ModbusLimits, cost: &LinkCost) -> Why {
    let unit = u32::from(own.per_unit());
    let both = own.with(next);
    let gap = Why::Gap { between: next.start.saturating_sub(own.end), most: u32::from(limits.max_gap) * unit };
    let long = Why::TooLong { together: both.end - both.start, most: own.most(limits) };
    let time = |span: Span| cost.of(span.table, span.end - span.start, limits);
    match (gap, long) {
        (Why::Gap { between, most }, _) if between > most => gap,
        (_, Why::TooLong { together, most }) if together > most => long,
        _ if !both.in_one_block(limits) => Why::Block,
        _ => Why::Dearer { together: time(both), apart: time(own) + time(next) },
    }
}

impl Span {
    fn asked(request: &Request) -> Self {
        let start = u32::from(request.address);
        Self { table: request.table, start, end: start + u32::from(request.count) }
    }

    /// Most registers or bits that one request may ask for.
    pub(super) fn most(self, limits: &ModbusLimits) -> u32 {
        u32::from(limits.max_registers.saturating_mul(self.per_unit()).min(MAX_BITS))
    }
}

impl Why {
    /// In words, for a request of this table.
    #[must_use]
    pub fn words(self, table: Table) -> String {
        let what = if is_bits(table) { "bits" } else { "registers" };
        let ms = |duration: Duration| format!("{:.1} ms", duration.as_secs_f64() * 1e3);
        match self {
            Self::Last => "nothing comes behind it".to_owned(),
            Self::Alone => "its value shares no request: too long, or across the edge of a block".to_owned(),
            Self::Gap { between, most } => format!("{between} {what} to the next, at most {most} are read over (max_gap)"),
            Self::TooLong { together, most } => format!("{together} {what} with the next, at most {most} are asked for (max_registers)"),
            Self::Block => "the next lies in another block".to_owned(),
            Self::Dearer { together, apart } => format!("with the next {} instead of {}", ms(together), ms(apart)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan;
    use super::*;
    use crate::profile::{Encoding, ModbusRead};
    use crate::reading::PointIndex;

    #[test]
    fn each_request_says_why_it_ends() {
        let read = |table, address, encoding| ModbusRead::new(table, address, encoding);
        let cases = [
            (vec![read(Table::Input, 0, Encoding::U16), read(Table::Input, 9, Encoding::U16)], Why::Gap { between: 8, most: 4 }),
            (vec![read(Table::Input, 0, Encoding::F64), read(Table::Input, 4, Encoding::F64)], Why::TooLong { together: 8, most: 6 }),
            (vec![read(Table::Input, 99, Encoding::U16), read(Table::Input, 100, Encoding::U16)], Why::Block),
            (vec![read(Table::Input, 98, Encoding::F64), read(Table::Input, 102, Encoding::U16)], Why::Alone),
            (vec![read(Table::Input, 0, Encoding::U16), read(Table::Holding, 1, Encoding::U16)], Why::Last),
            (
                vec![read(Table::Input, 0, Encoding::U16), read(Table::Input, 4, Encoding::U16)],
                // Three more registers cost more than another request.
                Why::Dearer { together: Duration::from_millis(120), apart: Duration::from_millis(60) },
            ),
        ];
        let limits = ModbusLimits { max_registers: 6, max_gap: 4, blocks: vec![(0, 99), (100, 200)], ..ModbusLimits::default() };
        let cost = LinkCost { request: Duration::from_millis(10), gap: Duration::ZERO, byte: Duration::from_millis(11) };
        for (reads, expected) in cases {
            let points: Vec<_> = reads.iter().enumerate().map(|(i, read)| (PointIndex(i), read)).collect();
            let requests = plan(&points, &limits, &cost);
            let why = explain(&requests, &limits, &cost);
            assert_eq!(why.len(), 2, "{requests:?}");
            let same = match (why[0], expected) {
                (Why::Dearer { together, apart }, Why::Dearer { .. }) => together == cost.of(Table::Input, 5, &limits) && apart < together,
                (why, expected) => why == expected,
            };
            assert!(same, "{:?} for {expected:?}", why[0]);
        }
    }

    #[test]
    fn words_name_what_they_count() {
        assert_eq!(Why::Gap { between: 20, most: 16 }.words(Table::Coil), "20 bits to the next, at most 16 are read over (max_gap)");
        let dearer = Why::Dearer { together: Duration::from_micros(12_340), apart: Duration::from_millis(9) };
        assert_eq!(dearer.words(Table::Input), "with the next 12.3 ms instead of 9.0 ms");
    }
}
