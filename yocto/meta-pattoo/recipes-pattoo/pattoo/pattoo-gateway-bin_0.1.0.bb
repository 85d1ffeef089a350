SUMMARY = "Polls field devices and forwards what they say (static program)"
DESCRIPTION = "The gateway of Pattoo as its release has it, linked statically: for releases whose Rust is too old to compile it."

require pattoo-prebuilt.inc
require pattoo-gateway.inc
