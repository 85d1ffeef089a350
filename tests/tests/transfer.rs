//! Readings of other programs come in by a file and go out by one: the real server's commands, and DuckDB as the judge of what is in a Parquet file.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use pattoo_tests::program::binary;
use pattoo_tests::python;
use pattoo_tests::stack::{Stack, stored};
use serde_json::{Value as Json, json};

/// In the order in which an export gives them: by device and point.
const CSV: &str = "\
time,device,point,value,unit,kind,type
2026-11-30T08:00:00Z,meter,energy,18446744073709551615,kWh,counter,unsigned
2026-11-30T08:00:00Z,meter,voltage,230.10,V,,
2026-11-30T08:00:10Z,meter,voltage,-0.05,V,,
2026-11-30T08:00:20Z,meter,voltage,1e-7,V,,
";

const JUDGE: &str = "\
import duckdb, json, sys
rows = duckdb.sql(\"SELECT epoch_ms(time), typeof(time), gateway, device, point, value, number, quality FROM '\" + sys.argv[1] + \"' \").fetchall()
print(json.dumps(rows))
";

fn command(stack: &Stack, args: &[&str]) -> Result<Output> {
    let data = stack.folder().join("data");
    Ok(Command::new(binary("pattoo-server")?).args(args).arg("--data").arg(data).output()?)
}

fn done(output: &Output, expected: &str) -> Result<()> {
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && told.contains(expected), "{output:?}");
    Ok(())
}

fn judged(file: &Path) -> Result<Json> {
    let output = Command::new(python()?).args(["-c", JUDGE]).arg(file).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[test]
fn what_is_imported_is_served_and_goes_out_as_other_programs_read_it() -> Result<()> {
    let mut stack = Stack::new()?;
    let file = stack.folder().join("history.csv");
    std::fs::write(&file, CSV)?;
    let path = file.display().to_string();
    let import = ["import", &path, "--gateway", "plant7"];
    done(&command(&stack, &import)?, "4 readings stored, 2 new series, 0 readings replaced")?;

    stack.start_server()?;
    let served = stored(stack.api()?, "plant7")?;
    let voltage: Vec<_> = served.iter().filter(|((_, point, _), _)| point == "voltage").map(|(_, (value, _))| value.as_f64()).collect();
    ensure!(voltage == [Some(230.1), Some(-0.05), Some(1e-7)], "{served:?}");

    let busy = command(&stack, &import)?;
    ensure!(!busy.status.success() && String::from_utf8_lossy(&busy.stderr).contains("in use by another process"), "{busy:?}");
    stack.kill_server()?;

    let parquet = stack.folder().join("out.parquet");
    done(&command(&stack, &["export", &parquet.display().to_string(), "--gateway", "plant7"])?, "4 readings")?;
    let at = 1_796_025_600_000i64;
    let row = |at_ms: i64, point: &str, value: &str, number: f64| {
        json!([at_ms, "TIMESTAMP WITH TIME ZONE", "plant7", "meter", point, value, number, "good"])
    };
    let expected = json!([
        row(at, "energy", "18446744073709551615", 18_446_744_073_709_551_615.0),
        row(at, "voltage", "230.10", 230.1),
        row(at + 10_000, "voltage", "-0.05", -0.05),
        row(at + 20_000, "voltage", "0.0000001", 1e-7),
    ]);
    let found = judged(&parquet)?;
    ensure!(found == expected, "{found}");
    Ok(())
}

#[test]
fn a_file_that_cannot_be_read_is_named_by_its_lines_and_changes_nothing() -> Result<()> {
    let stack = Stack::new()?;
    let file = stack.folder().join("history.csv");
    std::fs::write(&file, CSV.replace("-0.05", "minus"))?;
    let output = command(&stack, &["import", &file.display().to_string(), "--gateway", "plant7"])?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && told.contains("line 4: value: found \"minus\", expected a number"), "{output:?}");
    let out = stack.folder().join("out.csv");
    done(&command(&stack, &["export", &out.display().to_string()])?, " 0 readings")
}
