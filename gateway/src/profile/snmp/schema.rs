//! The JSON Schema of what a profile says of an SNMP agent.

use serde_json::{Value, json};

use super::{
    INDEX_KEYS, LABEL_KEYS, MAX_REPETITIONS, ONLY_KEYS, OR_KEYS, PartKind, READ_KEYS, SCALE_KEYS, SECTION_KEYS, Syntax, TABLE_KEYS,
    UNIT_KEYS,
};
use crate::profile::read::{MAX_NAME_BYTES, MAX_UNIT_CHARS};
use crate::profile::schema::{about, integer, marks, names, object};

fn oid(text: &str) -> Value {
    json!({ "type": "string", "pattern": r"^\.?[0-2](\.[0-9]+)+$", "description": text })
}

fn several(one: &Value, text: &str) -> Value {
    json!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }], "description": text })
}

fn by_number(value: &Value, text: &str) -> Value {
    json!({ "type": "object", "propertyNames": { "pattern": "^-?[0-9]+$" }, "additionalProperties": value, "description": text })
}

/// The section.
pub(in crate::profile) fn section() -> Value {
    object(SECTION_KEYS, &[], |key| match key {
        "max_repetitions" => integer(
            1,
            i64::try_from(MAX_REPETITIONS).unwrap(),
            "Rows that one answer of a walk brings at first; it adapts. 20 where absent.",
        ),
        "tables" => json!({
            "type": "object", "description": "Tables of the agent by a name of one's own.",
            "additionalProperties": object(TABLE_KEYS, &["index"], table_key),
        }),
        other => panic!("{other} is not described"),
    })
}

fn table_key(key: &str) -> Value {
    match key {
        "index" => {
            let name = json!({ "type": "string", "pattern": format!("^[a-z0-9_]{{1,{MAX_NAME_BYTES}}}$") });
            let part = object(INDEX_KEYS, &["name"], |key| match key {
                "name" => name.clone(),
                "type" => about(names(PartKind::NAMES), "How it is encoded; integer where absent."),
                other => panic!("{other} is not described"),
            });
            several(&json!({ "anyOf": [name, part] }), "Parts of the index of a row.")
        }
        "identity" => several(&oid("A column."), "Columns whose text makes a row this row, tried in turn; the index where none has one."),
        "labels" => {
            let column = object(LABEL_KEYS, &["column"], |key| match key {
                "column" => oid("A column."),
                "as" => about(names(Syntax::NAMES), "What it is; as its values come where absent."),
                other => panic!("{other} is not described"),
            });
            json!({
                "type": "object", "description": "What else is told of a row, by the name of the label.",
                "additionalProperties": { "anyOf": [oid("A column."), column] },
            })
        }
        "only" => only(),
        "discontinuity" => oid("A column that changes when the counters of a row begin anew."),
        other => panic!("{other} is not described"),
    }
}

fn only() -> Value {
    let one = object(ONLY_KEYS, &["equals"], |key| match key {
        "column" => oid("The column that decides."),
        "index" => json!({ "type": "string", "description": "The part of the index that decides." }),
        "equals" => several(&json!({ "type": ["integer", "string"] }), "What it may be."),
        other => panic!("{other} is not described"),
    });
    several(&one, "The rows that count.")
}

/// The `read` of a point.
pub(in crate::profile) fn read() -> Value {
    let mut read = object(READ_KEYS, &["type"], read_key);
    read["oneOf"] = json!([{ "required": ["oid"] }, { "required": ["table", "column"] }]);
    read
}

fn read_key(key: &str) -> Value {
    match key {
        "oid" => oid("An object with its instance; scalars end in .0."),
        "table" => json!({ "type": "string", "description": "A table of the section `snmp`." }),
        "column" => oid("A column of the table."),
        "type" => about(names(Syntax::NAMES), "What its values mean."),
        "or" => several(&object(OR_KEYS, &[], read_key), "What is read where the first place is not there."),
        "rate" => json!({ "type": "boolean", "description": "The rate per second of a counter." }),
        "scale" => json!({ "type": "number", "not": { "const": 0 }, "description": "Multiplier, an exact decimal such as 0.1." }),
        "offset" => json!({ "type": "number", "description": "Added after scaling, an exact decimal such as -40." }),
        "decimals" => integer(0, 12, "Decimals that a rate, a float, or a value whose scale a column gives is rounded to."),
        "invalid" => about(marks(), "Numbers that say \"no value\"."),
        "bit" => integer(0, 63, "The one bit that is meant, 0 for the lowest; of BITS, 0 for the first."),
        "scale_column" => {
            let powers = object(SCALE_KEYS, SCALE_KEYS, |key| match key {
                "column" => oid("The column."),
                _ => by_number(&integer(-18, 18, "Power of ten."), "Power of ten of each of its numbers."),
            });
            json!({ "anyOf": [oid("A column with a power of ten."), powers], "description": "A column with the power of ten of each row." })
        }
        "digits_column" => oid("A column with the number of decimals of each row."),
        "times_column" => oid("A column that the value is multiplied with."),
        "unit_column" => object(UNIT_KEYS, UNIT_KEYS, |key| match key {
            "column" => oid("A column with the unit of each row."),
            _ => by_number(
                &json!({ "type": "string", "maxLength": MAX_UNIT_CHARS }),
                "Unit of each of its numbers; rows with others are not read.",
            ),
        }),
        "only" => only(),
        other => panic!("{other} is not described"),
    }
}
