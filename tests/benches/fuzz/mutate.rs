//! Damaged inputs from good ones, by a seeded generator: the same seed, the same inputs.

use fastrand::Rng;

/// Longest input, in bytes: more than any datagram that the decoders take.
const MAX_BYTES: usize = 2_048;

/// Bytes at which lengths, tags and signs change their meaning.
const EDGES: [u8; 12] = [0, 1, 2, 4, 0x1F, 0x3E, 0x7F, 0x80, 0x81, 0x82, 0xFE, 0xFF];

/// One of these inputs with one to eight changes; one in a hundred is nothing but noise.
pub(crate) fn input(good: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    if random.u8(0..100) == 0 {
        return (0..random.usize(0..64)).map(|_| random.u8(..)).collect();
    }
    let mut bytes = good.get(random.usize(0..good.len().max(1))).cloned().unwrap_or_default();
    for _ in 0..random.usize(1..=8) {
        change(&mut bytes, good, random);
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

fn change(bytes: &mut Vec<u8>, good: &[Vec<u8>], random: &mut Rng) {
    let at = random.usize(0..bytes.len().max(1));
    match (random.u8(0..8), bytes.get_mut(at)) {
        (0, Some(byte)) => *byte ^= 1 << random.u8(0..8),
        (1, Some(byte)) => *byte = random.u8(..),
        (2, Some(byte)) => *byte = EDGES[random.usize(0..EDGES.len())],
        (3, Some(byte)) => *byte = byte.wrapping_add(random.u8(0..9)).wrapping_sub(4),
        (4, _) => bytes.truncate(at),
        (5, _) => bytes.insert(at.min(bytes.len()), random.u8(..)),
        (6, Some(_)) => {
            let end = bytes.len().min(at + random.usize(1..16));
            bytes.drain(at..end);
        }
        // The rest of another input behind the beginning of this one.
        _ => {
            let other = good.get(random.usize(0..good.len().max(1))).map_or(&[][..], Vec::as_slice);
            bytes.truncate(at);
            bytes.extend_from_slice(other.get(random.usize(0..other.len().max(1))..).unwrap_or_default());
        }
    }
}
