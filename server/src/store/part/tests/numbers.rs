//! Columns of numbers, without a part around them.

use super::super::bytes::Reader;
use super::super::pack::{Float, Word, put_flags, put_floats, put_words, take_flags, take_floats, take_words};
use super::*;

fn words_come_back<W: Word + std::fmt::Debug>(words: &[W]) -> usize {
    let mut bytes = Vec::new();
    put_words(&mut bytes, words).unwrap();
    assert_eq!(take_words::<W>(&mut Reader::new(&bytes, 0), words.len()).unwrap(), words);
    bytes.len()
}

fn floats_come_back<F: Float>(floats: &[F]) -> usize {
    let mut bytes = Vec::new();
    put_floats(&mut bytes, floats).unwrap();
    let back = take_floats::<F>(&mut Reader::new(&bytes, 0), floats.len()).unwrap();
    assert!(back.iter().map(|x| x.ordered()).eq(floats.iter().map(|x| x.ordered())));
    bytes.len()
}

proptest! {
    #[test]
    fn any_numbers_come_back(words in prop::collection::vec(any::<u64>(), 0..600), small in prop::collection::vec(0u32..5, 0..600)) {
        words_come_back(&words);
        words_come_back(&small);
        words_come_back(&words.iter().map(|word| *word as u32).collect::<Vec<_>>());
        let mut sum = 0u64;
        words_come_back(&words.iter().map(|word| { sum = sum.wrapping_add(word % 100); sum }).collect::<Vec<_>>());
    }

    #[test]
    fn any_floats_come_back(bits in prop::collection::vec(any::<u64>(), 0..300), tenths in prop::collection::vec(-9999i32..9999, 0..300)) {
        floats_come_back(&bits.iter().map(|bits| f64::from_bits(*bits)).collect::<Vec<_>>());
        floats_come_back(&bits.iter().map(|bits| f32::from_bits(*bits as u32)).collect::<Vec<_>>());
        floats_come_back(&tenths.iter().map(|tenths| f64::from(*tenths) / 10.0).collect::<Vec<_>>());
        floats_come_back(&tenths.iter().map(|hundredths| *hundredths as f32 / 100.0).collect::<Vec<_>>());
    }

    #[test]
    fn any_flags_come_back(flags in prop::collection::vec(any::<bool>(), 0..300), runs in prop::collection::vec(1usize..99, 0..9)) {
        let long: Vec<bool> = runs.iter().enumerate().flat_map(|(at, run)| vec![at % 2 == 0; *run]).collect();
        for flags in [flags, long] {
            let mut bytes = Vec::new();
            put_flags(&mut bytes, &flags);
            prop_assert_eq!(take_flags(&mut Reader::new(&bytes, 0), flags.len()).unwrap(), flags);
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0usize..400) {
        let reader = || Reader::new(&bytes, 0);
        let _ = (take_words::<u64>(&mut reader(), count), take_words::<u32>(&mut reader(), count));
        let _ = (take_floats::<f64>(&mut reader(), count), take_floats::<f32>(&mut reader(), count));
        let _ = take_flags(&mut reader(), count);
        let _ = (reader().number(""), reader().signed(""), super::super::chunk::take_head(&bytes, 0));
    }
}

#[test]
fn what_stands_still_takes_no_room_and_what_is_rounded_little() {
    assert!(words_come_back(&[u64::MAX; 2048]) < 9);
    assert!(words_come_back(&(0..2048u64).map(|n| (1 << 63) | (n * 7)).collect::<Vec<_>>()) < 60);
    assert!(floats_come_back(&[f64::NAN; 2048]) < 16);
    let noise = |n: u32| n.wrapping_mul(2_654_435_761) >> 24;
    let tenths: Vec<f32> = (0..2048).map(|n| 230.0 + noise(n) as f32 / 10.0).collect();
    assert!(floats_come_back(&tenths) < 2048 * 11 / 10, "one byte of noise each");
    let mut spoilt = tenths;
    spoilt[1000] = -0.0;
    floats_come_back(&spoilt);
}
