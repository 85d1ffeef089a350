//! The central server `pattoo-server`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    pattoo_server::cli::main(std::env::args_os())
}
