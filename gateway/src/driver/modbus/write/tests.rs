use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pattoo_wire::{Kind, Repr};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::config::Transport;
use crate::driver::Driver as _;
use crate::profile::{ByteOrder, Encoding, Half, ModbusLimits, Point, Profile, Table, WordOrder, WriteLimits};
use crate::reading::PointIndex;

const TIMEOUT: Duration = Duration::from_millis(300);

/// What the device does with a request.
#[derive(Debug, Clone, Copy)]
enum Does {
    /// Answers with this PDU.
    Says(&'static [u8]),
    /// Nothing.
    Nothing,
    /// Ends the connection.
    Hangs,
}

use Does::{Hangs, Nothing, Says};

fn device(read: ModbusRead, function: WriteFunction) -> Device {
    let kind = if read.repr() == Repr::Bool { Kind::State } else { Kind::Gauge };
    let writable = Some(Writable { limits: WriteLimits::Range(0.0, 1e9), function, settle: Duration::ZERO });
    let point = Point {
        name: "x".into(),
        unit: String::new(),
        kind,
        alarm: false,
        repr: read.repr(),
        every: None,
        states: BTreeMap::new(),
        range: None,
        read: Read::Modbus(read),
        writable,
    };
    let modbus = ModbusLimits::default();
    let profile = Profile {
        id: "x".into(),
        manufacturer: "x".into(),
        model: "x".into(),
        modbus,
        bacnet: Default::default(),
        signature: None,
        points: vec![point],
    };
    Device { name: "x".into(), profile: Arc::new(profile), unit: 9, every: Duration::from_secs(1), labels: BTreeMap::default() }
}

/// Plays the script; gives the outcome and the PDUs that were asked.
async fn play(device: &Device, write: &Write, script: &[Does]) -> (Written, Vec<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let mut asked = Vec::new();
    let mut script = script.iter();
    let peer = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 7];
            while stream.read_exact(&mut head).await.is_ok() {
                let mut pdu = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]])) - 1];
                stream.read_exact(&mut pdu).await.unwrap();
                asked.push(pdu);
                match script.next().expect("no more requests than in the script") {
                    Says(reply) => {
                        let length = u16::try_from(reply.len() + 1).unwrap().to_be_bytes();
                        let frame = [&head[..4], &length, &head[6..], reply].concat();
                        stream.write_all(&frame).await.unwrap();
                    }
                    Nothing => {}
                    Hangs => break,
                }
            }
        }
    };
    let mut driver = Modbus::new(&Transport::ModbusTcp { endpoint, timeout: TIMEOUT }, Box::new(|| 0));
    let written = tokio::select! {
        () = peer => unreachable!(),
        written = driver.write(DeviceIndex(3), device, write) => written,
    };
    assert_eq!(script.len(), 0, "the script is played to its end");
    (written, asked)
}

fn to(value: Value) -> Write {
    Write { point: PointIndex(0), value, expected: None, read_modify_write: false }
}

fn setpoint() -> Device {
    device(ModbusRead { scale: (1, -1), ..ModbusRead::new(Table::Holding, 0x10, Encoding::U16) }, WriteFunction::Register)
}

fn tenths(mantissa: i64) -> Value {
    Value::Decimal(pattoo_wire::Decimal { mantissa, exponent: -1 })
}

/// The register holds 100 (0x64) and is to hold 200 (0xC8).
const OLD: &[u8] = &[3, 2, 0, 0x64];
const NEW: &[u8] = &[3, 2, 0, 0xC8];
const ECHO: &[u8] = &[6, 0, 0x10, 0, 0xC8];

#[tokio::test]
async fn the_outcome_says_what_is_known_and_no_more() {
    for (script, outcome, old, now) in [
        (&[Says(OLD), Says(ECHO), Says(NEW)][..], Outcome::Done, Some(100), Some(200)),
        (&[Says(OLD), Says(ECHO), Says(&[3, 2, 0, 0x96])], Outcome::Differs, Some(100), Some(150)),
        (&[Says(OLD), Says(ECHO), Nothing], Outcome::Unknown, Some(100), None),
        (&[Says(OLD), Says(ECHO), Says(&[0x83, 4])], Outcome::Unknown, Some(100), None),
        // Not confirmed: the read-back decides.
        (&[Says(OLD), Nothing, Says(NEW)], Outcome::Done, Some(100), Some(200)),
        (&[Says(OLD), Nothing, Says(OLD)], Outcome::Failed, Some(100), Some(100)),
        (&[Says(OLD), Nothing, Nothing], Outcome::Unknown, Some(100), None),
        (&[Says(OLD), Hangs, Says(NEW)], Outcome::Done, Some(100), Some(200)),
        (&[Says(OLD), Hangs, Says(OLD)], Outcome::Failed, Some(100), Some(100)),
        (&[Says(OLD), Says(&[6, 0, 0x11, 0, 0xC8]), Says(OLD)], Outcome::Failed, Some(100), Some(100)),
        (&[Says(OLD), Says(&[0x86, 5]), Says(NEW)], Outcome::Done, Some(100), Some(200)),
        (&[Says(OLD), Says(&[0x86, 0x0B]), Says(OLD)], Outcome::Failed, Some(100), Some(100)),
        // It says no: nothing more is asked.
        (&[Says(OLD), Says(&[0x86, 2])], Outcome::Rejected, Some(100), None),
        (&[Says(OLD), Says(&[0x86, 4])], Outcome::Rejected, Some(100), None),
        // Nothing was written, for sure.
        (&[Nothing], Outcome::Unreadable, None, None),
        (&[Says(&[0x83, 2])], Outcome::Unreadable, None, None),
    ] {
        let (written, asked) = play(&setpoint(), &to(tenths(200)), script).await;
        assert_eq!((written.outcome, written.old, written.value), (outcome, old.map(tenths), now.map(tenths)), "{script:?}");
        assert!(written.outcome == Outcome::Done || !written.detail.is_empty(), "{script:?}");
        assert_eq!(asked.iter().filter(|pdu| pdu[0] == 6).count(), usize::from(script.len() > 1), "{script:?}: written once");
        assert!(written.transactions.iter().all(|t| t.device == DeviceIndex(3) && t.readings.len() == 1));
    }
}

#[tokio::test]
async fn what_is_not_as_expected_is_not_written() {
    for (expected, script, outcome) in [
        (100, &[Says(OLD), Says(ECHO), Says(NEW)][..], Outcome::Done),
        (101, &[Says(OLD)], Outcome::Mismatch),
        (200, &[Says(OLD)], Outcome::Mismatch),
    ] {
        let write = Write { expected: Some(tenths(expected)), ..to(tenths(200)) };
        let (written, _) = play(&setpoint(), &write, script).await;
        assert_eq!((written.outcome, written.old), (outcome, Some(tenths(100))), "{expected}");
    }
}

#[tokio::test]
async fn each_function_writes_its_own_request() {
    use WriteFunction::{Coil, Coils, Mask, Register, Registers};
    let coil = || ModbusRead::new(Table::Coil, 7, Encoding::Bit);
    let word = || ModbusRead::new(Table::Holding, 7, Encoding::U16);
    let float = ModbusRead { words: WordOrder::LowFirst, ..ModbusRead::new(Table::Holding, 7, Encoding::F32) };
    let bit = || ModbusRead { bits: Some((4, 2)), ..word() };
    let half = ModbusRead::new(Table::Holding, 7, Encoding::U8(Half::High));
    let low_bytes = ModbusRead { bytes: ByteOrder::LowFirst, ..bit() };
    let on = Value::Bool(true);
    for (read, function, value, before, request) in [
        (coil(), Coil, on.clone(), &[1, 1, 0][..], &[5, 0, 7, 0xFF, 0][..]),
        (coil(), Coils, on.clone(), &[1, 1, 0], &[15, 0, 7, 0, 1, 1, 1]),
        (word(), Register, Value::int(258), &[3, 2, 0, 0], &[6, 0, 7, 1, 2]),
        (word(), Registers, Value::int(258), &[3, 2, 0, 0], &[16, 0, 7, 0, 1, 2, 1, 2]),
        (float, Registers, Value::F32(1.5), &[3, 4, 0, 0, 0, 0], &[16, 0, 7, 0, 2, 4, 0, 0, 0x3F, 0xC0]),
        // Bits 4 and 5 of 0xFFFF to 2: only they change.
        (bit(), Mask, Value::int(2), &[3, 2, 0xFF, 0xFF], &[22, 0, 7, 0xFF, 0xCF, 0, 0x20]),
        (bit(), Register, Value::int(2), &[3, 2, 0xFF, 0xFF], &[6, 0, 7, 0xFF, 0xEF]),
        (low_bytes, Registers, Value::int(2), &[3, 2, 0xFF, 0xFF], &[16, 0, 7, 0, 1, 2, 0xEF, 0xFF]),
        (half, Register, Value::int(5), &[3, 2, 0xAB, 0xCD], &[6, 0, 7, 5, 0xCD]),
    ] {
        let write = Write { read_modify_write: true, ..to(value) };
        // The script must be static; that the device then refuses does not matter here.
        let refusal: &'static [u8] = Box::leak(vec![function_code(function) | 0x80, 1].into_boxed_slice());
        let before: &'static [u8] = Box::leak(before.to_vec().into_boxed_slice());
        let (written, asked) = play(&device(read.clone(), function), &write, &[Says(before), Says(refusal)]).await;
        assert_eq!(asked.get(1).map(Vec::as_slice), Some(request), "{read:?}");
        assert_eq!(written.outcome, Outcome::Rejected, "{read:?}");
    }
}

fn function_code(function: WriteFunction) -> u8 {
    match function {
        WriteFunction::Coil => 5,
        WriteFunction::Register => 6,
        WriteFunction::Coils => 15,
        WriteFunction::Registers => 16,
        WriteFunction::Mask => 22,
        WriteFunction::Property => panic!("no function of Modbus"),
    }
}

#[tokio::test]
async fn a_part_of_a_register_is_not_written_with_the_rest_of_it_unless_that_is_allowed() {
    let bit = ModbusRead { bits: Some((4, 1)), ..ModbusRead::new(Table::Holding, 7, Encoding::U16) };
    let (written, asked) = play(&device(bit, WriteFunction::Register), &to(Value::Bool(true)), &[]).await;
    assert_eq!((written.outcome, asked.len()), (Outcome::NotWritable, 0));
    assert!(written.detail.contains("read_modify_write"), "{}", written.detail);
}

/// What the request makes of these registers.
fn applied(pdu: &Pdu<'_>, before: &[u16]) -> Vec<u16> {
    match pdu {
        Pdu::WriteSingleCoil(_, bit) => vec![u16::from(*bit)],
        Pdu::WriteMultipleCoils(_, bits) => bits.iter().map(|bit| u16::from(*bit)).collect(),
        Pdu::WriteSingleRegister(_, word) => vec![*word],
        Pdu::WriteMultipleRegisters(_, words) => words.to_vec(),
        Pdu::MaskWriteRegister(_, and, or) => vec![before[0] & and | or & !and],
        other => panic!("{other:?}"),
    }
}

proptest! {
    /// Written and read, every value that the registers can hold is itself, and the bits beside it are as before.
    #[test]
    fn what_is_written_is_what_is_read_and_nothing_else_changes(
        encoding in prop::sample::select(vec![
            Encoding::U16, Encoding::I16, Encoding::U32, Encoding::I32, Encoding::U64, Encoding::I64, Encoding::F32, Encoding::F64,
            Encoding::Bcd16, Encoding::Bcd32, Encoding::Mod10(3), Encoding::U8(Half::High), Encoding::U8(Half::Low),
            Encoding::I8(Half::High), Encoding::I8(Half::Low), Encoding::Bit,
        ]),
        bits in prop::option::of((0..12u8, 1..4u8)),
        (low_words, low_bytes, mask) in any::<(bool, bool, bool)>(),
        scale in prop::sample::select(vec![(1, 0), (1, -1), (5, -2), (10, 0)]),
        raw in any::<[u16; 4]>(),
        before in any::<[u16; 4]>(),
    ) {
        let table = if encoding == Encoding::Bit { Table::Coil } else { Table::Holding };
        let bits = bits.filter(|_| encoding == Encoding::U16);
        let flag = encoding == Encoding::Bit || bits.is_some_and(|(_, count)| count == 1);
        let halves = matches!(encoding, Encoding::U8(_) | Encoding::I8(_));
        let read = ModbusRead {
            bits,
            words: if low_words { WordOrder::LowFirst } else { WordOrder::HighFirst },
            bytes: if low_bytes && !halves { ByteOrder::LowFirst } else { ByteOrder::HighFirst },
            scale: if flag || encoding.is_float() { (1, 0) } else { scale },
            ..ModbusRead::new(table, 7, encoding)
        };
        let n = usize::from(encoding.len());
        let words: Vec<u16> = raw[..n].iter().map(|word| if encoding == Encoding::Bit { word & 1 } else { *word }).collect();
        let Sample::Good(value) = read.decode(&words, None) else { return Ok(()) };
        let function = match (table, read.is_part(), mask) {
            (Table::Coil, _, true) => WriteFunction::Coils,
            (Table::Coil, ..) => WriteFunction::Coil,
            (_, true, true) => WriteFunction::Mask,
            (..) if n == 1 => WriteFunction::Register,
            _ => WriteFunction::Registers,
        };
        let how = Writable { limits: WriteLimits::Range(0.0, 1.0), function, settle: Duration::ZERO };
        let after = applied(&question(&read, &how, &value, &before[..n]).unwrap(), &before);
        prop_assert_eq!(read.decode(&after, None), Sample::Good(value));
        for ((after, before), own) in after.iter().zip(&before).zip(read.masks()) {
            prop_assert_eq!(after & !own, if encoding == Encoding::Bit { 0 } else { before & !own });
        }
    }
}
