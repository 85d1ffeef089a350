//! Why a reading is not good: a closed list of names with a stable number each.

use std::fmt;

/// Why a reading is uncertain or bad. On the wire a number that never changes its meaning; see [`Reason::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The device did not answer in time.
    Timeout,
    /// No connection to the device or its link.
    LinkDown,
    /// The reply was not what the protocol allows.
    Malformed,
    /// The device answered with its "not a value" mark.
    NotAValue,
    /// The value is outside what the profile calls possible.
    OutOfRange,
    /// The last value is too old to stand for now.
    Stale,
    /// This machine does not offer that metric.
    Unavailable,
    /// The device was left alone because it failed a moment ago.
    BackedOff,
    /// The number does not fit the representation of its series.
    Overflow,
    /// The gateway's clock had never been set when this was read: the value is right, its time is an estimate.
    ClockUnset,
    /// The reply came damaged: its checksum is wrong.
    BadCrc,
    /// The device is not the one that its profile describes, or has changed under way: its registers mean something else.
    Mismatch,
    /// The device does not believe who asks, or its answer does not prove where it comes from.
    AuthFailure,
    /// A rate needs two looks at its counter, and this was the first one.
    FirstLook,
    /// The counter began anew since the look before: nobody knows how far it had come.
    CounterReset,
    /// The look before is missing: a counter may have wrapped more than once since the last one.
    MissedLook,
    /// The program that reads the device could not be started, failed or printed too much.
    ProgramFailed,
    /// The agent refused with this SNMP error status.
    SnmpError(u8),
    /// The device says that the value is not what is measured: it was taken out of service, and somebody may have typed it in.
    OutOfService,
    /// The device says that somebody overrides the value by hand.
    Overridden,
    /// The device calls the value faulty, for this reason: a number of `BACnetReliability`, 0 where it gives none.
    Reliability(u8),
    /// The device refused with this BACnet error code; 255 for those of vendors, which are above.
    Bacnet(u8),
    /// The device did not understand, for this reason: a number of `BACnetRejectReason`.
    BacnetReject(u8),
    /// The device broke off, for this reason: a number of `BACnetAbortReason`.
    BacnetAbort(u8),
    /// The device refused with this Modbus exception code.
    Exception(u8),
    /// A reason of a newer gateway, by its number.
    Other(u16),
}

/// Modbus exception codes start here: 256 + code.
const EXCEPTIONS: u16 = 256;
/// SNMP error statuses start here: 512 + status.
const SNMP_ERRORS: u16 = 512;
/// The four kinds of BACnet start here, 256 numbers each.
const RELIABILITIES: u16 = 1_024;
const BACNET_ERRORS: u16 = 1_280;
const BACNET_REJECTS: u16 = 1_536;
const BACNET_ABORTS: u16 = 1_792;

impl Reason {
    /// The number on the wire and in the store.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Timeout => 1,
            Self::LinkDown => 2,
            Self::Malformed => 3,
            Self::NotAValue => 4,
            Self::OutOfRange => 5,
            Self::Stale => 6,
            Self::Unavailable => 7,
            Self::BackedOff => 8,
            Self::Overflow => 9,
            Self::ClockUnset => 10,
            Self::BadCrc => 11,
            Self::Mismatch => 12,
            Self::AuthFailure => 13,
            Self::FirstLook => 14,
            Self::CounterReset => 15,
            Self::MissedLook => 16,
            Self::OutOfService => 17,
            Self::Overridden => 18,
            Self::ProgramFailed => 20,
            Self::SnmpError(status) => SNMP_ERRORS + u16::from(status),
            Self::Reliability(number) => RELIABILITIES + u16::from(number),
            Self::Bacnet(code) => BACNET_ERRORS + u16::from(code),
            Self::BacnetReject(reason) => BACNET_REJECTS + u16::from(reason),
            Self::BacnetAbort(reason) => BACNET_ABORTS + u16::from(reason),
            Self::Exception(code) => EXCEPTIONS + u16::from(code),
            Self::Other(code) => code,
        }
    }

    /// The reason with this number.
    #[must_use]
    pub fn from_code(code: u16) -> Self {
        match code {
            1 => Self::Timeout,
            2 => Self::LinkDown,
            3 => Self::Malformed,
            4 => Self::NotAValue,
            5 => Self::OutOfRange,
            6 => Self::Stale,
            7 => Self::Unavailable,
            8 => Self::BackedOff,
            9 => Self::Overflow,
            10 => Self::ClockUnset,
            11 => Self::BadCrc,
            12 => Self::Mismatch,
            13 => Self::AuthFailure,
            14 => Self::FirstLook,
            15 => Self::CounterReset,
            16 => Self::MissedLook,
            17 => Self::OutOfService,
            18 => Self::Overridden,
            20 => Self::ProgramFailed,
            _ => {
                let [block, number] = code.to_be_bytes();
                match u16::from(block) << 8 {
                    EXCEPTIONS => Self::Exception(number),
                    SNMP_ERRORS => Self::SnmpError(number),
                    RELIABILITIES => Self::Reliability(number),
                    BACNET_ERRORS => Self::Bacnet(number),
                    BACNET_REJECTS => Self::BacnetReject(number),
                    BACNET_ABORTS => Self::BacnetAbort(number),
                    _ => Self::Other(code),
                }
            }
        }
    }
}

/// `BACnetReliability`.
fn reliability(number: u8) -> &'static str {
    match number {
        0 => "the device does not say why",
        1 => "no sensor",
        2 => "over range",
        3 => "under range",
        4 => "open loop",
        5 => "shorted loop",
        6 => "no output",
        7 => "unreliable",
        8 => "process error",
        9 => "multi-state fault",
        10 => "configuration error",
        12 => "communication failure",
        13 => "member fault",
        _ => "a reason without a name",
    }
}

/// `BACnetErrorCode`, of those that a reader meets.
fn bacnet_error(code: u8) -> &'static str {
    match code {
        2 => "configuration in progress",
        3 => "device busy",
        25 => "operational problem",
        27 => "read access denied",
        31 => "unknown object",
        32 => "unknown property",
        36 => "service request denied",
        37 => "value out of range",
        40 => "write access denied",
        42 => "invalid array index",
        44 => "changes are not told",
        50 => "property is no array",
        255 => "a vendor's own",
        _ => "without a name",
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exception = |code| match code {
            1 => "illegal function",
            2 => "illegal data address",
            3 => "illegal data value",
            4 => "server device failure",
            5 => "acknowledge",
            6 => "server device busy",
            8 => "memory parity error",
            10 => "gateway path unavailable",
            11 => "gateway target device failed to respond",
            _ => "unknown",
        };
        let status = |status| match status {
            1 => "too big",
            2 => "no such name",
            3 => "bad value",
            4 => "read only",
            5 => "general error",
            6 => "no access",
            13 => "resource unavailable",
            16 => "authorization error",
            _ => "unknown",
        };
        match self {
            Self::Timeout => f.write_str("timeout"),
            Self::LinkDown => f.write_str("link down"),
            Self::Malformed => f.write_str("malformed reply"),
            Self::NotAValue => f.write_str("not a value"),
            Self::OutOfRange => f.write_str("out of range"),
            Self::Stale => f.write_str("stale"),
            Self::Unavailable => f.write_str("unavailable"),
            Self::BackedOff => f.write_str("backed off"),
            Self::Overflow => f.write_str("overflow"),
            Self::ClockUnset => f.write_str("clock not set"),
            Self::BadCrc => f.write_str("bad CRC"),
            Self::Mismatch => f.write_str("device does not match its profile"),
            Self::AuthFailure => f.write_str("authentication failed"),
            Self::FirstLook => f.write_str("first look at a counter"),
            Self::CounterReset => f.write_str("counter began anew"),
            Self::MissedLook => f.write_str("missed the look before"),
            Self::ProgramFailed => f.write_str("program failed"),
            Self::SnmpError(code) => write!(f, "SNMP error {code} ({})", status(*code)),
            Self::OutOfService => f.write_str("out of service"),
            Self::Overridden => f.write_str("overridden by hand"),
            Self::Reliability(number) => write!(f, "faulty ({})", reliability(*number)),
            Self::Bacnet(code) => write!(f, "BACnet error {code} ({})", bacnet_error(*code)),
            Self::BacnetReject(reason) => write!(f, "BACnet reject {reason}"),
            Self::BacnetAbort(reason) => write!(f, "BACnet abort {reason}"),
            Self::Exception(code) => write!(f, "exception {code:02} ({})", exception(*code)),
            Self::Other(code) => write!(f, "reason {code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_survives_the_way_through_a_reason() {
        for code in 0..=u16::MAX {
            assert_eq!(Reason::from_code(code).code(), code);
        }
    }

    #[test]
    fn an_exception_is_named_by_number_and_meaning() {
        assert_eq!(Reason::from_code(258).to_string(), "exception 02 (illegal data address)");
        assert_eq!(Reason::from_code(517).to_string(), "SNMP error 5 (general error)");
    }
}
