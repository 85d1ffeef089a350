//! Numbers of ASHRAE 135 that have a name in profiles or in this driver: types of objects, properties, services, reasons. Pure.

/// Types of objects that a profile may name.
pub(crate) const OBJECT_TYPES: &[(&str, u16)] = &[
    ("analog-input", 0),
    ("analog-output", 1),
    ("analog-value", 2),
    ("binary-input", 3),
    ("binary-output", 4),
    ("binary-value", 5),
    ("device", DEVICE),
    ("loop", 12),
    ("multi-state-input", 13),
    ("multi-state-output", 14),
    ("averaging", 18),
    ("multi-state-value", 19),
    ("life-safety-point", 21),
    ("life-safety-zone", 22),
    ("accumulator", 23),
    ("pulse-converter", 24),
    ("access-door", 30),
    ("characterstring-value", 40),
    ("integer-value", 45),
    ("large-analog-value", 46),
    ("positive-integer-value", 48),
    ("lighting-output", 54),
];

/// Type of the one object that stands for the device itself.
pub(crate) const DEVICE: u16 = 8;

/// Properties that a profile may call by name.
pub(crate) const PROPERTIES: &[(&str, u32)] = &[
    ("description", 28),
    ("event-state", 36),
    ("firmware-revision", 44),
    ("local-date", 56),
    ("maximum-value", 135),
    ("minimum-value", 136),
    ("model-name", 70),
    ("number-of-states", 74),
    ("object-name", OBJECT_NAME),
    ("out-of-service", 81),
    ("present-value", PRESENT_VALUE),
    ("priority-array", PRIORITY_ARRAY),
    ("pulse-rate", 186),
    ("relinquish-default", 104),
    ("reliability", RELIABILITY),
    ("resolution", 106),
    ("setpoint", 108),
    ("controlled-variable-value", 21),
    ("system-status", 112),
    ("vendor-name", 121),
    ("elapsed-active-time", 33),
    ("change-of-state-count", 15),
    ("application-software-version", 12),
    ("serial-number", 372),
    ("average-value", 125),
];

pub(crate) const MAX_APDU_LENGTH: u32 = 62;
pub(crate) const DATABASE_REVISION: u32 = 155;
pub(crate) const OBJECT_LIST: u32 = 76;
pub(crate) const OBJECT_NAME: u32 = 77;
pub(crate) const PRESENT_VALUE: u32 = 85;
pub(crate) const PRIORITY_ARRAY: u32 = 87;
pub(crate) const RELIABILITY: u32 = 103;
pub(crate) const SEGMENTATION: u32 = 107;
pub(crate) const STATUS_FLAGS: u32 = 111;
pub(crate) const UNITS: u32 = 117;
pub(crate) const SCALE: u32 = 187;

/// Name of a type of objects; its number where it has none here.
pub(crate) fn object_type(kind: u16) -> String {
    OBJECT_TYPES.iter().find(|(_, number)| *number == kind).map_or_else(|| kind.to_string(), |(name, _)| (*name).to_owned())
}

/// Confirmed services.
pub(crate) mod service {
    pub(crate) const COV_NOTIFICATION: u8 = 1;
    pub(crate) const SUBSCRIBE_COV: u8 = 5;
    pub(crate) const READ_PROPERTY: u8 = 12;
    pub(crate) const READ_MULTIPLE: u8 = 14;
    pub(crate) const WRITE_PROPERTY: u8 = 15;
}

/// Why a device broke a conversation off: `BACnetAbortReason`.
pub(crate) mod abort {
    pub(crate) const BUFFER_OVERFLOW: u8 = 1;
    pub(crate) const SEGMENTATION_NOT_SUPPORTED: u8 = 4;
    pub(crate) const OUT_OF_RESOURCES: u8 = 9;
    pub(crate) const TSM_TIMEOUT: u8 = 10;
    pub(crate) const TOO_LONG: u8 = 11;
}

/// Why a device did not take a request: `BACnetRejectReason`.
pub(crate) mod reject {
    pub(crate) const INVALID_TAG: u8 = 4;
    pub(crate) const UNRECOGNIZED_SERVICE: u8 = 9;
}

/// What a request failed with: `BACnetErrorClass` and `BACnetErrorCode`.
pub(crate) mod error {
    pub(crate) const CLASS_SERVICES: u32 = 5;
    pub(crate) const UNKNOWN_OBJECT: u32 = 31;
    pub(crate) const UNKNOWN_PROPERTY: u32 = 32;
    pub(crate) const UNKNOWN_SUBSCRIPTION: u32 = 79;
}
