SUMMARY = "Stores what Pattoo gateways send and serves it as charts (static program)"
DESCRIPTION = "The server of Pattoo as its release has it, linked statically: for releases whose Rust is too old to compile it."

require pattoo-prebuilt.inc
require pattoo-server.inc
