//! x

pub mod pymodbus;
