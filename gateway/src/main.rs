//! The edge daemon `pattoo-gateway`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    pattoo_gateway::cli::main(std::env::args_os())
}
