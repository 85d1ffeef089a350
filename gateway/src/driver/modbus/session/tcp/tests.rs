use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;

use super::super::question;
use super::*;
use crate::plan::Request;
use crate::profile::Table;

/// What a request makes of these bytes, after which the connection ends.
fn hear(table: Table, count: u16, bytes: &[u8]) -> Result<Answer, Failure> {
    let question = question::read(&Request { table, address: 5, count, points: vec![] });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (near, mut far) = tokio::io::duplex(70_000);
        let mut context = tcp::attach_slave(near, Slave(0));
        let mut asked = [0; 12];
        let device = async {
            tokio::io::AsyncReadExt::read_exact(&mut far, &mut asked).await.unwrap();
            far.write_all(bytes).await.unwrap();
            drop(far);
        };
        tokio::join!(call(&mut context, 9, &question, Duration::from_secs(10)), device).0
    })
}

#[test]
fn bits_are_taken_from_exactly_as_many_bytes_as_they_need() {
    let reply = |bytes: &[u8]| {
        let (count, length) = (u8::try_from(bytes.len()).unwrap(), u8::try_from(bytes.len() + 3).unwrap());
        hear(Table::Coil, 10, &[&[0, 0, 0, 0, 0, length, 9, 1, count], bytes].concat())
    };
    let bits = vec![1, 0, 1, 1, 0, 0, 0, 0, 0, 1];
    assert_eq!(reply(&[0b0000_1101, 0b1111_1110]), Ok(Answer::Words(bits)));
    assert_eq!(reply(&[0b0000_1101]), Err(Failure::Malformed));
    assert_eq!(reply(&[0, 0, 0]), Err(Failure::Malformed));
}

#[test]
fn a_table_asks_with_its_own_function() {
    for (table, function) in [(Table::Coil, 1), (Table::Discrete, 2), (Table::Holding, 3), (Table::Input, 4)] {
        for answered in 1..=4 {
            let result = hear(table, 8, &[0, 0, 0, 0, 0, 3, 9, answered | 0x80, 4]);
            let expected = if answered == function { Ok(Answer::Refused(4)) } else { Err(Failure::Malformed) };
            assert_eq!(result, expected, "{table:?}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_give_another_number_of_words(
        table in prop::sample::select(vec![Table::Coil, Table::Discrete, Table::Holding, Table::Input]),
        count in 1..=125u16,
        header in prop::sample::select(vec![vec![0, 0, 0, 0], vec![0, 0, 0, 1], vec![]]),
        length in prop::option::of(0..300u16),
        function in prop::option::of(0..=255u8),
        rest in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut bytes = header;
        bytes.extend(length.map_or(u16::try_from(rest.len()).unwrap() + 2, |l| l).to_be_bytes());
        bytes.push(9);
        bytes.push(function.unwrap_or(match table { Table::Coil => 1, Table::Discrete => 2, Table::Holding => 3, Table::Input => 4 }));
        bytes.extend(rest);
        if let Ok(Answer::Words(words)) = hear(table, count, &bytes) {
            prop_assert_eq!(words.len(), usize::from(count));
        }
    }
}
