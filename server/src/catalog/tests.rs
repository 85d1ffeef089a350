//! The limits on series: what is over one is refused with nothing changed, and what is there goes on.

use pattoo_wire::{Block, Device, Kind, Repr, Sample, Series, Value};

use super::*;

fn schema(points: usize) -> Schema {
    let (kind, repr) = (Kind::Gauge, Repr::Decimal { exponent: 0 });
    let series =
        |n: usize| Series { device: 0, point: format!("p{n}"), unit: String::new(), kind, repr, labels: [].into(), states: [].into() };
    let device = Device { name: "meter".into(), profile: "p".into(), labels: [].into() };
    Schema { devices: vec![device], series: (0..points).map(series).collect() }
}

fn put(catalog: &mut Catalog, gateway: &str, seq: u64, points: usize) -> Result<usize, Refused> {
    let schema = schema(points);
    let id = schema.encode().unwrap().0;
    catalog.take_schema(gateway, id, id, schema)?;
    let samples = vec![Sample::Good(Value::int(1)); points];
    let blocks = vec![Block { series: (0..points as u32).collect(), times_ms: vec![seq as i64], samples }];
    let place = Place { gateway, header: Header { stream: 7, seq, oldest: 1 }, crc: seq as u32, now_ms: 0 };
    catalog.take_batch(place, id, Batch { blocks, gaps: Vec::new() }).map(|(commit, _)| commit.series.len())
}

#[test]
fn series_over_the_limit_of_all_are_refused_and_known_ones_go_on() {
    let mut catalog = Catalog::default().with_max_series(5);
    assert_eq!(put(&mut catalog, "g1", 1, 3), Ok(3));
    let refused = put(&mut catalog, "g2", 1, 3).unwrap_err();
    assert_eq!(refused, Refused::TooManySeriesInAll { gateway: "g2".into(), count: 6, limit: 5 });
    assert!(refused.to_string().contains("gateway g2 would bring the server to 6 series, at most 5"), "{refused}");
    assert_eq!((put(&mut catalog, "g1", 2, 3), put(&mut catalog, "g2", 1, 2)), (Ok(0), Ok(2)));
    assert_eq!((put(&mut catalog, "g1", 3, 3), catalog.series().count()), (Ok(0), 5));
    // A store that has more already is no reason to refuse what is known.
    let loaded = || Loaded { series: catalog.series().map(|entry| (**entry).clone()).collect(), ..Loaded::default() };
    let mut less = Catalog::new(loaded()).with_max_series(1);
    assert_eq!(put(&mut less, "g1", 1, 3), Ok(0));
    let mut again = less.reloaded(loaded());
    assert!(matches!(put(&mut again, "g1", 1, 4), Err(Refused::TooManySeriesInAll { count: 6, limit: 1, .. })));
}

#[test]
fn a_series_more_than_a_gateway_may_have_is_refused() {
    let mut catalog = Catalog::default();
    for n in 0..4 {
        // As one that renames its devices all the time.
        let mut schema = schema(MAX_SERIES);
        schema.devices.iter_mut().for_each(|device| device.name = format!("meter-{n}"));
        let id = schema.encode().unwrap().0;
        catalog.take_schema("g1", id, id, schema).unwrap();
        let place = Place { gateway: "g1", header: Header { stream: 7, seq: n + 1, oldest: 1 }, crc: 0, now_ms: 0 };
        catalog.take_batch(place, id, Batch::default()).unwrap();
    }
    let refused = put(&mut catalog, "g1", 5, 1).unwrap_err();
    assert_eq!(refused, Refused::TooManySeries { gateway: "g1".into(), count: MAX_GATEWAY_SERIES + 1 });
    assert_eq!((catalog.series().count(), put(&mut catalog, "g2", 1, 1)), (MAX_GATEWAY_SERIES, Ok(1)));
}
