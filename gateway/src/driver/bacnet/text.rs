//! Character strings of BACnet (ASHRAE 135, clause 20.2.9): bytes of one of its character sets -> text. Pure.

/// ISO 10646 in UTF-8; before 2010 the same number stood for ANSI X3.4.
pub(super) const UTF_8: u8 = 0;
const DBCS: u8 = 1;
const JIS: u8 = 2;
const UCS_4: u8 = 3;
const UCS_2: u8 = 4;
const ISO_8859_1: u8 = 5;

/// The text, without the zeros that some devices fill up with; none where its characters cannot be known.
pub(super) fn decode(charset: u8, bytes: &[u8]) -> Option<String> {
    let text = match charset {
        // Older devices send the letters of their country under the number of ASCII.
        UTF_8 => std::str::from_utf8(bytes).map_or_else(|_| latin(bytes), str::to_owned),
        ISO_8859_1 => latin(bytes),
        UCS_2 => {
            let units: Vec<u16> = pairs(bytes)?;
            String::from_utf16(&units).ok()?
        }
        UCS_4 => bytes.chunks(4).map(|unit| char::from_u32(u32::from_be_bytes(unit.try_into().ok()?))).collect::<Option<String>>()?,
        // Two bytes of the code page come first; of the characters only those that all code pages share are known.
        DBCS => ascii(bytes.get(2..)?)?,
        JIS => ascii(bytes)?,
        _ => return None,
    };
    Some(text.trim_end_matches('\0').to_owned())
}

fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn ascii(bytes: &[u8]) -> Option<String> {
    bytes.is_ascii().then(|| latin(bytes))
}

fn pairs(bytes: &[u8]) -> Option<Vec<u16>> {
    let units = bytes.chunks(2).map(|unit| unit.try_into().ok().map(u16::from_be_bytes));
    units.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_character_set_gives_the_same_text() {
        for (charset, bytes, text) in [
            (UTF_8, "Kühlung °C".as_bytes(), Some("Kühlung °C")),
            (UTF_8, b"K\xFChlung \xB0C", Some("Kühlung °C")),
            (ISO_8859_1, b"K\xFChlung \xB0C", Some("Kühlung °C")),
            (UCS_2, b"\0K\0\xFC\0h\x20\xAC", Some("Küh€")),
            (UCS_2, b"\xD8\x3D\xDE\x00", Some("😀")),
            (UCS_2, b"\xD8\x3D", None),
            (UCS_2, b"\0K\0", None),
            (UCS_4, b"\0\0\0K\0\x01\xF6\0", Some("K😀")),
            (UCS_4, b"\0\0\0", None),
            (UCS_4, b"\0\x11\0\0", None),
            (DBCS, b"\x03\x52AHU", Some("AHU")),
            (DBCS, b"\x03\x52\x8A\x46", None),
            (DBCS, b"\x03", None),
            (JIS, b"AHU", Some("AHU")),
            (JIS, b"\x8A\x46", None),
            (6, b"AHU", None),
            (UTF_8, b"AHU-1\0\0\0", Some("AHU-1")),
            (UTF_8, b"", Some("")),
        ] {
            assert_eq!(decode(charset, bytes).as_deref(), text, "{charset} {bytes:02x?}");
        }
    }
}
