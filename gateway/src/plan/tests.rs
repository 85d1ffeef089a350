use proptest::prelude::*;

use super::*;
use crate::profile::{ByteOrder, Encoding, Half, Layout, WordOrder};

fn limits(max_registers: u16, max_gap: u16) -> ModbusLimits {
    ModbusLimits { max_registers, max_gap, ..ModbusLimits::default() }
}

fn check(reads: &[ModbusRead], limits: &ModbusLimits, expected: &[(Table, u16, u16, &[usize])]) {
    let points: Vec<_> = reads.iter().enumerate().map(|(i, read)| (PointIndex(i), read)).collect();
    let got = plan(&points, limits, &LinkCost::default());
    let expected: Vec<_> = expected
        .iter()
        .map(|(table, address, count, points)| Request {
            table: *table,
            address: *address,
            count: *count,
            points: points.iter().map(|i| PointIndex(*i)).collect(),
        })
        .collect();
    assert_eq!(got, expected);
}

fn input(address: u16, encoding: Encoding) -> ModbusRead {
    ModbusRead::new(Table::Input, address, encoding)
}

#[test]
fn neighbours_are_read_together_and_holes_only_up_to_the_gap() {
    let reads = [input(4, Encoding::F32), input(0, Encoding::F32), input(2, Encoding::U16), input(9, Encoding::U16)];
    check(&reads, &limits(80, 0), &[(Table::Input, 0, 3, &[1, 2]), (Table::Input, 4, 2, &[0]), (Table::Input, 9, 1, &[3])]);
    check(&reads, &limits(80, 1), &[(Table::Input, 0, 6, &[1, 2, 0]), (Table::Input, 9, 1, &[3])]);
    check(&reads, &limits(80, 3), &[(Table::Input, 0, 10, &[1, 2, 0, 3])]);
}

#[test]
fn the_longest_request_is_full_but_not_over() {
    let reads: Vec<_> = (0..41).map(|i| input(i * 2, Encoding::F32)).collect();
    let first: Vec<_> = (0..40).collect();
    check(&reads, &limits(80, 0), &[(Table::Input, 0, 80, &first), (Table::Input, 80, 2, &[40])]);
    let first: Vec<_> = (0..20).collect();
    let second: Vec<_> = (20..40).collect();
    let odd = [(Table::Input, 0, 40, &first[..]), (Table::Input, 40, 40, &second[..]), (Table::Input, 80, 2, &[40][..])];
    check(&reads, &limits(41, 0), &odd);
}

#[test]
fn a_request_never_crosses_the_edge_of_a_block() {
    let blocks = vec![(0, 1), (2, 5), (8, 9)];
    let limits = ModbusLimits { blocks, ..limits(80, 10) };
    let reads =
        [input(0, Encoding::U16), input(1, Encoding::U16), input(2, Encoding::U16), input(5, Encoding::U16), input(8, Encoding::F32)];
    check(&reads, &limits, &[(Table::Input, 0, 2, &[0, 1]), (Table::Input, 2, 4, &[2, 3]), (Table::Input, 8, 2, &[4])]);
}

#[test]
fn a_value_that_goes_alone_does_not_part_its_neighbours() {
    let limits = ModbusLimits { blocks: vec![(0, 5), (6, 400)], ..limits(6, 1) };
    // The second lies across both blocks; the third within it, and within the first block.
    let reads = [input(0, Encoding::F64), input(4, Encoding::F64), input(5, Encoding::U16)];
    check(&reads, &limits, &[(Table::Input, 0, 6, &[0, 2]), (Table::Input, 4, 4, &[1])]);
}

#[test]
fn tables_are_never_mixed_and_bits_have_their_own_limit() {
    let mut reads: Vec<_> = (0..2001).map(|i| ModbusRead::new(Table::Coil, i, Encoding::Bit)).collect();
    reads.push(ModbusRead::new(Table::Holding, 0, Encoding::U16));
    let first: Vec<_> = (0..2000).collect();
    let expected = [(Table::Coil, 0, 2000, &first[..]), (Table::Coil, 2000, 1, &[2000][..]), (Table::Holding, 0, 1, &[2001][..])];
    check(&reads, &limits(125, 0), &expected);
}

#[test]
fn the_last_addresses_are_read_without_overflow() {
    check(&[input(65535, Encoding::U16)], &limits(80, 100), &[(Table::Input, 65535, 1, &[0])]);
    let over = [input(65534, Encoding::U16), input(65535, Encoding::F64)];
    let blocks = ModbusLimits { blocks: vec![(0, 65535)], ..limits(125, 100) };
    check(&over, &blocks, &[(Table::Input, 65534, 1, &[0]), (Table::Input, 65535, 4, &[1])]);
}

#[test]
fn a_round_costs_a_trip_and_a_silence_per_request() {
    let limits = ModbusLimits { min_gap: Duration::from_millis(100), ..limits(2, 0) };
    let reads = [input(0, Encoding::F32), input(2, Encoding::F32), input(4, Encoding::F32)];
    let points: Vec<_> = reads.iter().enumerate().map(|(i, read)| (PointIndex(i), read)).collect();
    let cost = LinkCost { request: Duration::from_millis(20), gap: Duration::from_millis(4), byte: Duration::from_millis(1) };
    assert_eq!(cycle_time(&plan(&points, &limits, &cost), &limits, &cost), Duration::from_millis(3 * (20 + 100 + 4)));
}

fn any_read() -> impl Strategy<Value = ModbusRead> {
    let register = prop::sample::select(vec![Encoding::U16, Encoding::F32, Encoding::F64]);
    let table = prop::sample::select(vec![Table::Coil, Table::Discrete, Table::Holding, Table::Input]);
    (table, register, 0..300u16, prop::option::weighted(0.2, 0..2u16)).prop_map(|(table, register, address, scale)| {
        let bits = matches!(table, Table::Coil | Table::Discrete);
        let scale_at = scale
            .filter(|_| register == Encoding::U16 && !bits)
            .map(|behind| if behind == 0 { address + 3 } else { address.saturating_sub(2) });
        ModbusRead {
            scale_at: scale_at.filter(|at| *at != address),
            ..ModbusRead::new(table, address, if bits { Encoding::Bit } else { register })
        }
    })
}

proptest! {
    #[test]
    fn a_plan_reads_each_point_once_within_all_limits(
        reads in prop::collection::vec(any_read(), 0..60),
        max_registers in 4..=125u16,
        max_gap in 0..20u16,
        edges in prop::collection::btree_set(1..300u16, 0..5),
    ) {
        let starts: Vec<u16> = std::iter::once(0).chain(edges.iter().copied()).collect();
        let ends = edges.iter().map(|e| e - 1).chain(std::iter::once(400));
        let blocks: Vec<_> = starts.iter().copied().zip(ends).collect();
        let limits = ModbusLimits { blocks, ..limits(max_registers, max_gap) };
        let points: Vec<_> = reads.iter().enumerate().map(|(i, read)| (PointIndex(i), read)).collect();
        let requests = plan(&points, &limits, &LinkCost::default());

        let mut seen: Vec<_> = requests.iter().flat_map(|r| &r.points).copied().collect();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..reads.len()).map(PointIndex).collect::<Vec<_>>());
        prop_assert!(requests.len() <= points.len());
        let mut shuffled = points.clone();
        shuffled.reverse();
        prop_assert_eq!(&plan(&shuffled, &limits, &LinkCost::default()), &requests, "the order of the points does not matter");

        for request in &requests {
            let (start, end) = (request.address, request.address + request.count);
            let of = |i: &PointIndex| &reads[i.0];
            prop_assert!(request.points.iter().all(|i| of(i).table == request.table));
            prop_assert!(request.points.iter().all(|i| of(i).first() >= start && of(i).last() < end));
            prop_assert!(request.points.iter().any(|i| of(i).first() == start));
            prop_assert!(request.points.iter().any(|i| of(i).last() + 1 == end));
            let bits = matches!(request.table, Table::Coil | Table::Discrete);
            let (most, gap) = if bits { (2000.min(max_registers * 16), max_gap * 16) } else { (max_registers, max_gap) };
            prop_assert!(request.count <= most);
            prop_assert!(request.points.len() == 1 || limits.in_one_block(start, end - 1));
            let mut hole = 0;
            for address in start..end {
                let used = request.points.iter().any(|i| (of(i).first()..=of(i).last()).contains(&address));
                hole = if used { 0 } else { hole + 1 };
                prop_assert!(hole <= gap);
            }
        }
    }
}

/// Reading over a hole costs its bytes, another request its frames: which is less decides, on each line anew.
#[test]
fn a_hole_is_read_over_where_that_is_quicker() {
    let limits = limits(80, 40);
    let reads = [input(0, Encoding::U16), input(16, Encoding::U16)];
    let points: Vec<_> = reads.iter().enumerate().map(|(i, read)| (PointIndex(i), read)).collect();
    let ms = Duration::from_millis;
    for (request_ms, byte_ms, requests) in [(31, 1, 1), (29, 1, 2), (61, 2, 1), (59, 2, 2), (20, 0, 1)] {
        let cost = LinkCost { request: ms(request_ms), gap: Duration::ZERO, byte: ms(byte_ms) };
        assert_eq!(plan(&points, &limits, &cost).len(), requests, "{request_ms} ms and {byte_ms} ms");
    }
}

/// The least time of all ways to divide the points over requests, by trying each.
fn exhaustive(spans: &[Span], limits: &ModbusLimits, cost: &LinkCost) -> Duration {
    fn go(rest: &[Span], groups: &mut Vec<Vec<Span>>, limits: &ModbusLimits, cost: &LinkCost) -> Option<Duration> {
        let Some((first, rest)) = rest.split_first() else {
            return groups.iter().map(|group| time_of(group, limits, cost)).sum();
        };
        let mut best = None;
        for index in 0..=groups.len() {
            if index == groups.len() {
                groups.push(Vec::new());
            }
            groups[index].push(*first);
            let found = go(rest, groups, limits, cost);
            groups[index].pop();
            if groups[index].is_empty() {
                groups.pop();
            }
            best = best.into_iter().chain(found).min();
        }
        best
    }
    go(spans, &mut Vec::new(), limits, cost).unwrap()
}

/// None where a request may not hold these points. Written without the planner's own rules.
fn time_of(group: &[Span], limits: &ModbusLimits, cost: &LinkCost) -> Option<Duration> {
    let (start, end) = (group.iter().map(|s| s.start).min()?, group.iter().map(|s| s.end).max()?);
    let one_table = group.iter().all(|s| s.table == group[0].table);
    let bits = is_bits(group[0].table);
    let (most, gap) = if bits {
        (2000.min(u32::from(limits.max_registers) * 16), u32::from(limits.max_gap) * 16)
    } else {
        (u32::from(limits.max_registers), u32::from(limits.max_gap))
    };
    let mut hole = 0;
    for address in start..end {
        hole = if group.iter().any(|s| (s.start..s.end).contains(&address)) { 0 } else { hole + 1 };
        if hole > gap {
            return None;
        }
    }
    let alone = group.len() == 1;
    let fits = end - start <= most && limits.in_one_block(start as u16, (end - 1) as u16);
    (one_table && (alone || fits)).then(|| cost.of(group[0].table, end - start, limits))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_other_plan_is_quicker(
        reads in prop::collection::vec(any_read(), 1..8),
        spread in 1..40u16,
        max_registers in 4..=30u16,
        max_gap in 0..12u16,
        edge in 1..40u16,
        request_ms in 1..60u64,
        byte_us in 0..3000u64,
    ) {
        let moved = |read: ModbusRead| {
            let address = read.address % spread;
            ModbusRead { address, scale_at: read.scale_at.map(|at| if at > read.address { address + 3 } else { address + 1 }), ..read }
        };
        let reads: Vec<_> = reads.into_iter().map(moved).collect();
        let limits = ModbusLimits { blocks: vec![(0, edge - 1), (edge, 400)], ..limits(max_registers, max_gap) };
        let cost = LinkCost { request: Duration::from_millis(request_ms), gap: Duration::ZERO, byte: Duration::from_micros(byte_us) };
        let points: Vec<_> = reads.iter().enumerate().map(|(i, read)| (PointIndex(i), read)).collect();
        let planned = cycle_time(&plan(&points, &limits, &cost), &limits, &cost);
        let spans: Vec<_> = reads.iter().map(Span::of).collect();
        prop_assert_eq!(planned, exhaustive(&spans, &limits, &cost));
    }
}

/// What a point is, whatever it is read with.
fn any_point() -> impl Strategy<Value = ModbusRead> {
    use Encoding::*;
    let encodings =
        vec![U8(Half::High), I8(Half::Low), U16, I16, U24, U32, I64, F16, F32, F64, Bcd32, Mod10(3), Text(7), DateTime(Layout::Iec)];
    let encoding = prop::sample::select(encodings);
    (encoding, any::<bool>(), 0..120u16, any::<[bool; 2]>(), prop::option::weighted(0.3, -4..6i16)).prop_map(
        |(encoding, holding, address, [words, bytes], scale)| {
            let mut read = ModbusRead::new(if holding { Table::Holding } else { Table::Input }, 20 + address, encoding);
            if words {
                read.words = WordOrder::LowFirst;
            }
            if bytes {
                read.bytes = ByteOrder::LowFirst;
            }
            if encoding == U16 {
                read.bits = (words != bytes).then_some((4, 3));
            }
            let at = scale.and_then(|scale| read.address.checked_add_signed(scale));
            read.scale_at = at.filter(|at| matches!(encoding, I16 | U32 | I64) && !(read.address..=read.own_last()).contains(at));
            read
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values_are_those_of_single_reads_however_they_are_read_together(
        reads in prop::collection::vec(any_point(), 1..40),
        words in prop::collection::vec(prop_oneof![any::<u16>(), 0..11u16, 0x3030..0x3939u16], 300),
        max_registers in 10..=125u16,
        max_gap in 0..30u16,
    ) {
        let points: Vec<_> = reads.iter().enumerate().map(|(i, read)| (PointIndex(i), read)).collect();
        let memory = |table, address: u16, count: u16| {
            let start = usize::from(address) + if table == Table::Holding { 150 } else { 0 };
            words.get(start..start + usize::from(count)).unwrap_or_default().to_vec()
        };
        for request in plan(&points, &limits(max_registers, max_gap), &LinkCost::default()) {
            let reply = memory(request.table, request.address, request.count);
            for point in &request.points {
                let read = &reads[point.0];
                let alone = memory(read.table, read.first(), read.last() - read.first() + 1);
                let got = read.in_reply(request.address, &reply).map(|own| read.decode(own, None));
                prop_assert_eq!(format!("{:?}", got), format!("{:?}", Some(read.decode(&alone, None))));
            }
        }
    }
}
