//! The JSON Schema of a profile file, for editors: made from the names that the reader itself knows, and kept beside the profiles.
//!
//! It says less than the reader: what depends on other keys (a scale of a bit, registers that overlap) only the reader refuses.

use std::path::Path;

use serde_json::{Value, json};

use super::bacnet;
use super::read::{CLASSES, KEYS, KINDS, MAX_NAME_BYTES, MAX_POINTS, MAX_TEXT_CHARS, MAX_UNIT_CHARS, MODBUS_KEYS, PARITIES, POINT_KEYS};
use super::signature::{AGENT_KEYS, BACNET_KEYS, IDENTITY_KEYS, MATCH_KEYS, MAX_CHECKS, MAX_NAMES, WANT_KEYS};
use super::snmp;
use super::source::{BYTES, HOW, IN_MODEL, MAX_AT, MAX_TEXT_REGISTERS, PLACES, SUNSPEC, TYPES, WORDS, has_marks};
use super::sunspec::{END, HEADER};
use super::trap;
use super::writable::{FUNCTIONS, WRITABLE_KEYS};
use crate::driver::host::Metric;
use crate::lines::{FIELD, FIELD_KEYS, MAX_DECIMALS, MAX_NAME_BYTES as MAX_NAME, MAX_TAGS, TYPES as FIELD_TYPES};

const FILE: &str = "../hw-profiles/profile.schema.json";

pub(super) fn names<T>(all: &[(&str, T)]) -> Value {
    json!({ "enum": all.iter().map(|(name, _)| *name).collect::<Vec<_>>() })
}

pub(super) fn integer(min: i64, max: i64, about: &str) -> Value {
    json!({ "type": "integer", "minimum": min, "maximum": max, "description": about })
}

fn text(max: usize, about: &str) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": max, "description": about })
}

pub(super) fn about(mut value: Value, about: &str) -> Value {
    value["description"] = about.into();
    value
}

/// One number or several.
pub(super) fn marks() -> Value {
    json!({ "anyOf": [{ "type": "integer" }, { "type": "array", "items": { "type": "integer" } }] })
}

/// A mapping with these keys and no others.
pub(super) fn object(keys: &[&str], required: &[&str], of: impl Fn(&str) -> Value) -> Value {
    let properties: serde_json::Map<_, _> = keys.iter().map(|key| ((*key).to_owned(), of(key))).collect();
    json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties })
}

fn duration(about: &str) -> Value {
    json!({ "type": "string", "pattern": "^([0-9]+ *[a-z]+ *)+$", "description": about })
}

fn modbus_key(key: &str) -> Value {
    match key {
        "max_registers" => integer(1, 125, "Most registers in one request; 60 where absent."),
        "max_gap" => integer(0, 124, "Most unused registers that a request may read over to join two points; none where absent."),
        "min_gap" => duration("Silence that the device wants between two requests, such as 100ms."),
        "blocks" => json!({
            "description": "First and last register of each block that the device keeps together: no request crosses an edge.",
            "type": "array",
            "items": { "type": "array", "items": { "type": "integer", "minimum": 0, "maximum": 65535 }, "minItems": 2, "maxItems": 2 },
        }),
        "serial" => about(
            object(&["baud", "parity"], &["baud", "parity"], |key| match key {
                "baud" => integer(300, 1_000_000, "Bits per second."),
                "parity" => names(PARITIES),
                other => panic!("{other} is not described"),
            }),
            "How its serial port leaves the factory.",
        ),
        "invalid" => {
            let types: Vec<_> = TYPES.iter().filter(|(_, encoding)| has_marks(*encoding)).map(|(name, _)| *name).collect();
            about(
                object(&types, &[], |_| marks()),
                "The raw bits of \"no value\" of all points of a type that say nothing else themselves.",
            )
        }
        "checked" => json!({ "type": "boolean", "description": "Somebody compared the addresses with a device: nothing warns of them." }),
        other => panic!("{other} is not described"),
    }
}

fn read_key(key: &str) -> Value {
    match key {
        "input" | "holding" | "coil" | "discrete" => integer(0, 65_535, "0-based protocol address."),
        "modicon" => json!({
            "description": "Register as some vendors number them: 40001 is holding register 0.",
            "anyOf": [{ "type": "integer", "minimum": 1, "maximum": 465_536 }, { "type": "string", "pattern": "^[0134][0-9]{4,5}$" }],
        }),
        "host" => about(names(Metric::NAMES), "A metric of this Linux host."),
        SUNSPEC => {
            let id = integer(1, i64::from(END) - 1, "Id of a SunSpec model.");
            json!({
                "description": "A SunSpec model, or those that share a layout, such as [101, 102, 103]; the device says where it has it.",
                "anyOf": [id, { "type": "array", "items": id, "minItems": 1 }],
            })
        }
        "at" => integer(i64::from(HEADER), i64::from(MAX_AT), "Register of the SunSpec model, counted from the one with its id."),
        "rows" => json!({
            "description": "The value is in each row of a table: where the first row begins, and the registers of a row.",
            "type": "array", "items": { "type": "integer", "minimum": 1, "maximum": MAX_AT }, "minItems": 2, "maxItems": 2,
        }),
        "type" => about(names(TYPES), "What the registers hold."),
        "registers" => integer(1, i64::from(MAX_TEXT_REGISTERS), "Registers of a text."),
        "words" => about(names(WORDS), "Which word of a longer value comes first; the high one where absent."),
        "bytes" => about(names(BYTES), "Which byte of a word comes first; the high one where absent."),
        "bit" => integer(0, 63, "The one bit that is meant, 0 for the lowest."),
        "bits" => json!({
            "description": "Lowest and highest bit of those that are meant.",
            "type": "array", "items": { "type": "integer", "minimum": 0, "maximum": 63 }, "minItems": 2, "maxItems": 2,
        }),
        "scale" => json!({ "type": "number", "not": { "const": 0 }, "description": "Multiplier, an exact decimal such as 0.1." }),
        "offset" => json!({ "type": "number", "description": "Added after scaling, an exact decimal such as -40." }),
        "scale_at" => integer(0, 465_536, "Register with the power of ten to multiply with, in the numbering of the point itself."),
        "decimals" => integer(0, 12, "Decimals that a float, or a value with scale_at, is rounded to."),
        "invalid" => about(marks(), "The raw bits that say \"no value\"."),
        other => panic!("{other} is not described"),
    }
}

fn bacnet_read_key(key: &str) -> Value {
    use crate::driver::bacnet::names::{OBJECT_TYPES, PROPERTIES};
    let or_number = |names: Value, max: u32, about: &str| json!({ "description": about, "anyOf": [names, { "type": "integer", "minimum": 0, "maximum": max }] });
    match key {
        bacnet::OBJECT => or_number(names(OBJECT_TYPES), 1_023, "Type of the BACnet object."),
        "instance" => integer(0, 0x3F_FFFE, "Number of the object among those of its type."),
        "named" => text(255, "Object-name of the object, instead of its number."),
        "property" => or_number(names(PROPERTIES), 0x3F_FFFF, "Property of the object; its present-value where absent."),
        "element" => integer(1, 65_535, "Element of a property that is an array."),
        "type" => about(names(bacnet::TYPES), "What the property holds; known for a present-value."),
        "scale" => json!({
            "description": "Multiplier, an exact decimal such as 0.1; device: what the object says as its scale.",
            "anyOf": [{ "type": "number", "not": { "const": 0 } }, { "const": bacnet::DEVICE_SCALE }],
        }),
        "decimals" => integer(0, 12, "Decimals that a real or double, or a value with the scale of the device, is rounded to."),
        "cov" => json!({ "type": "boolean", "description": "The device is asked to say when it changes." }),
        other => panic!("{other} is not described"),
    }
}

fn bacnet_key(key: &str) -> Value {
    match key {
        "max_apdu" => integer(50, 1_476, "Longest message, in bytes, where that is less than the device says of itself."),
        "read_multiple" => json!({ "type": "boolean", "description": "False: the device cannot be asked for several properties at once." }),
        other => panic!("{other} is not described"),
    }
}

fn writable_key(key: &str) -> Value {
    match key {
        "min" => json!({ "type": "number", "description": "Lowest value that may be written; a number needs it." }),
        "max" => json!({ "type": "number", "description": "Highest value that may be written; a number needs it." }),
        "values" => json!({
            "description": "States that may be written; all of them where absent.",
            "type": "array", "minItems": 1, "items": { "type": "integer" },
        }),
        "function" => {
            let functions: Vec<u8> = FUNCTIONS.iter().map(|(name, _)| name.parse().unwrap()).collect();
            json!({ "enum": functions, "description": "5 or 15 for a coil, 6 or 16 for registers, 22 for bits of a register." })
        }
        "settle" => duration("How long the device takes until it gives the new value back, such as 200ms."),
        other => panic!("{other} is not described"),
    }
}

/// What a notification brings.
fn trap_read() -> Value {
    let oid = json!({ "type": "string", "pattern": r"^\.?[0-2](\.[0-9]+)+$" });
    let several = json!({ "anyOf": [oid, { "type": "array", "items": oid, "minItems": 1 }] });
    object(trap::KEYS, &[trap::TRAP], |key| match key {
        trap::TRAP => json!({
            "description": "A notification, or several; any: what no other point takes; or the number that each is.",
            "anyOf": [
                oid, { "const": trap::ANY }, { "type": "array", "items": oid, "minItems": 1 },
                { "type": "object", "minProperties": 1, "propertyNames": oid, "additionalProperties": { "type": "integer" } },
            ],
        }),
        "row" => about(several.clone(), "Objects whose value makes the series, tried in turn: its text, else its index."),
        "value" => about(oid.clone(), "The object whose value is the reading; the whole notification as a text where absent."),
        "type" => about(names(snmp::Syntax::NAMES), "What the value means; text where absent."),
        "scale" => json!({ "type": "number", "not": { "const": 0 }, "description": "Multiplier, an exact decimal such as 0.1." }),
        "invalid" => json!({ "type": "integer", "description": "The raw number that says \"no value\"." }),
        other => panic!("{other} is not described"),
    })
}

fn point_key(key: &str) -> Value {
    match key {
        "name" => json!({ "type": "string", "pattern": format!("^[a-z][a-z0-9_]{{0,{}}}$", MAX_NAME_BYTES - 1) }),
        "unit" => text(MAX_UNIT_CHARS, "Unit such as V or kWh."),
        "kind" => about(names(KINDS), "What its values mean; gauge where absent, state for bits and points with states, text for texts."),
        "class" => about(names(CLASSES), "An alarm is held on to longest when the gateway's buffer is full; never thinned out."),
        "read" => {
            let read = place(object(&[PLACES, IN_MODEL, HOW].concat(), &[], read_key));
            json!({
                "description": "Where the point is read from; several places in SunSpec models where devices differ, best first.",
                "if": { "type": "array" },
                "then": { "items": { "$ref": "#/properties/points/items/properties/read/else/else/else/else/else" }, "minItems": 1 },
                "else": {
                    "if": { "type": "object", "required": [FIELD] },
                    "then": field(),
                    "else": {
                        "if": { "anyOf": [{ "required": ["oid"] }, { "required": ["table"] }, { "required": ["column"] }] },
                        "then": snmp::schema::read(),
                        "else": {
                            "if": { "type": "object", "required": [bacnet::OBJECT] },
                            "then": object(bacnet::KEYS, &[bacnet::OBJECT], bacnet_read_key),
                            "else": {
                                "if": { "type": "object", "required": [trap::TRAP] },
                                "then": trap_read(),
                                "else": read,
                            },
                        },
                    },
                },
            })
        }
        trap::HASTENS => json!({
            "description": "Points that are read at once when this notification comes.",
            "type": "array", "items": { "type": "string" }, "minItems": 1,
        }),
        "every" => duration("How often it is read, such as 60s; the device's interval where absent."),
        "states" => json!({
            "description": "Texts of whole numbers.",
            "type": "object",
            "propertyNames": { "pattern": "^(-?[0-9]+|0x[0-9A-Fa-f]+)$" },
            "additionalProperties": { "type": "string", "minLength": 1, "maxLength": MAX_TEXT_CHARS },
        }),
        "range" => json!({
            "description": "Lowest and highest value that is possible; others are bad.",
            "type": "array", "items": { "type": "number" }, "minItems": 2, "maxItems": 2,
        }),
        "writable" => json!({
            "description": "What may be written to it, where the configuration allows that; nothing where absent.",
            "anyOf": [{ "const": true }, object(WRITABLE_KEYS, &[], writable_key)],
        }),
        other => panic!("{other} is not described"),
    }
}

/// The `read` of a point that lines tell.
fn field() -> Value {
    object(FIELD_KEYS, &[FIELD], |key| match key {
        FIELD => text(MAX_NAME, "The point of a JSON line, or the field of line protocol."),
        "measurement" => text(MAX_NAME, "Only of this measurement of line protocol."),
        "type" => about(names(FIELD_TYPES), "What its values are; number where absent."),
        "scale" => json!({ "type": "number", "not": { "const": 0 }, "description": "Multiplier, an exact decimal such as 0.1." }),
        "decimals" => integer(0, MAX_DECIMALS.into(), "Decimals that a number is rounded to."),
        "identity" => json!({
            "description": "Tags that tell rows apart: each combination is a series.",
            "type": "array", "items": text(MAX_NAME, "The name of a tag."), "minItems": 1, "maxItems": MAX_TAGS, "uniqueItems": true,
        }),
        other => panic!("{other} is not described"),
    })
}

/// The places of a point's `read`, each alone.
fn place(mut read: Value) -> Value {
    read["oneOf"] = PLACES.iter().map(|place| json!({ "required": [place] })).collect();
    read
}

fn want_key(key: &str) -> Value {
    let number = json!({ "type": "number" });
    let range = json!({ "type": "array", "items": number, "minItems": 2, "maxItems": 2 });
    let several = |one: Value| json!({ "anyOf": [one, { "type": "array", "minItems": 1, "items": one }] });
    match key {
        "equals" => about(several(number), "The number that the place holds, or several."),
        "between" => about(several(range), "The range of the number that it holds, or several."),
        "contains" => {
            about(several(text(MAX_TEXT_CHARS, "A part.")), "A part of the text that it holds, or several; letter case does not matter.")
        }
        other => read_key(other),
    }
}

fn bacnet_match_key(key: &str) -> Value {
    let part = text(MAX_TEXT_CHARS, "A part.");
    match key {
        "vendor_id" => integer(0, 65_535, "Number of its maker, as ASHRAE gives them out."),
        "model" => json!({
            "description": "A part of its model-name, or several, of which one must be there; letter case does not matter.",
            "anyOf": [part, { "type": "array", "minItems": 1, "items": part }],
        }),
        "names" => json!({
            "description": "Names of objects that it must all have.",
            "type": "array", "minItems": 1, "maxItems": MAX_NAMES, "items": text(MAX_TEXT_CHARS, "An object-name."),
        }),
        other => panic!("{other} is not described"),
    }
}

fn match_key(key: &str) -> Value {
    match key {
        "identity" => about(
            object(IDENTITY_KEYS, &[], |_| text(MAX_TEXT_CHARS, "A part of it; letter case does not matter.")),
            "What the device calls itself: function 43/14, 17, or the SunSpec common model.",
        ),
        "sunspec" => json!({ "type": "boolean", "description": "It has the SunSpec marker." }),
        "snmp" => about(
            object(AGENT_KEYS, &[], |key| {
                let oid = json!({ "type": "string", "pattern": r"^\.?[0-2](\.[0-9]+)+$" });
                match key {
                    "sys_object_id" => about(oid, "What its sysObjectID is below."),
                    "sys_descr" => text(MAX_TEXT_CHARS, "A part of its sysDescr; letter case does not matter."),
                    "has" => json!({
                        "description": "Objects that it has something below; all must be there.",
                        "anyOf": [oid, { "type": "array", "minItems": 1, "maxItems": MAX_CHECKS, "items": oid }],
                    }),
                    other => panic!("{other} is not described"),
                }
            }),
            "How an SNMP agent of this model is recognised.",
        ),
        "bacnet" => about(object(BACNET_KEYS, &[], bacnet_match_key), "What a BACnet device of this model calls itself, and what it has."),
        "registers" => json!({
            "description": "What its registers hold; all must.",
            "type": "array", "minItems": 1, "maxItems": MAX_CHECKS,
            "items": place(object(&[PLACES, HOW, WANT_KEYS].concat(), &[], want_key)),
        }),
        other => panic!("{other} is not described"),
    }
}

fn schema() -> Value {
    let mut schema = object(KEYS, &["schema", "id", "manufacturer", "model", "points"], |key| match key {
        "schema" => json!({ "const": 1 }),
        "id" => {
            json!({ "type": "string", "pattern": format!("^[a-z0-9-]{{1,{MAX_NAME_BYTES}}}$"), "description": "Name of the file without .yaml." })
        }
        "manufacturer" | "model" => text(MAX_TEXT_CHARS, "A name."),
        "match" => about(object(MATCH_KEYS, &[], match_key), "How a scan recognises a device of this model."),
        "snmp" => about(snmp::schema::section(), "How an SNMP agent of this model is read."),
        "modbus" => about(object(MODBUS_KEYS, &[], modbus_key), "How a Modbus device of this model wants to be asked."),
        "bacnet" => about(object(bacnet::SECTION_KEYS, &[], bacnet_key), "What a BACnet device of this model cannot do."),
        "points" => json!({
            "type": "array", "minItems": 1, "maxItems": MAX_POINTS, "items": object(POINT_KEYS, &["name", "read"], point_key),
        }),
        other => panic!("{other} is not described"),
    });
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "Pattoo device profile".into();
    schema
}

/// Every key and name of the reader is in the schema, or this panics; the file is made anew where it differs.
#[test]
fn the_schema_beside_the_profiles_is_that_of_the_reader() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let made = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::fs::read_to_string(&file).unwrap_or_default() != made {
        std::fs::write(&file, made).unwrap();
        panic!("{} was not up to date and has been made anew", file.display());
    }
}
