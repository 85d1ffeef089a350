//! The edge daemon: polls devices against profiles, buffers readings, and forwards them until the server has them.
//!
//! Imports point one way: `pattoo_wire <- pure core <- shell leaves <- run, main`. Pure rooms take bytes, structs and `now`;
//! they never open, sleep, spawn, lock or log. Drivers know nothing of buffer or uplink, nor of each other.
//!
//! | room | kind | holds |
//! |---|---|---|
//! | `yaml` | pure | text -> a tree with positions; problems |
//! | `config`, `profile` | pure but for reading the files | YAML -> structs that can only be valid |
//! | `plan` | pure | points -> requests |
//! | `schedule` | pure | what is due next on a link |
//! | `driver` | shell | one protocol each |
//! | `link` | shell | sockets and serial ports |
//! | `lines` | pure | lines that programs, scripts and brokers give -> readings |
//! | `link_log` | shell; `text`, `valve` pure | what goes over a link, in the log |
//! | `control` | pure but for its client | what may be asked of the running daemon |
//! | `simulate` | shell, `simulate::values` pure | a profile as a device |
//! | `fixture` | pure, `fixture::replay` shell | replies and the readings that they must give |
//! | `clock` | shell | the clocks of this machine |
//! | `broker` | shell | what it takes to connect to an MQTT broker |
//! | `tls` | shell | certificates and keys from their files |
//! | `lessons` | pure | what devices refuse, as it is kept across restarts |
//! | `health`, `durations` | pure | how links and devices are; how durations are spread |
//! | `timebase` | pure | from clocks and the server's time to UTC |
//! | `batch` | pure | readings -> numbered batches |
//! | `buffer` | shell | store and forward over sled |
//! | `uplink` | pure, `uplink::mqtt` shell | what to send next |
//! | `command` | pure | writes: what is allowed, what became of it |
//! | `audit` | shell | the record of writes |
//! | `check`, `poll`, `record` | pure, shell, shell | what a config costs; what devices say now; the same as a fixture |
//! | `scan` | pure, `scan::drive` shell | finds devices and says which profile fits |
//! | `outlook` | pure | what is going to be trouble |
//! | `support` | pure | what somebody who helps may be told |
//! | `convert` | pure | files of old agents -> a configuration and profiles |
//! | `table` | pure | columns of text |
//! | `pulse` | pure | whether the parts of the daemon are at work |
//! | `credentials` | shell | where secrets are read |
//! | `journal` | shell | the log as journald takes it |
//! | `service` | shell | what the service manager is told |
//! | `run` | shell | the only place that spawns |

pub mod audit;
pub mod batch;
mod broker;
pub mod buffer;
pub mod check;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod control;
mod convert;
pub mod credentials;
pub mod driver;
mod durations;
pub mod fixture;
pub mod health;
pub mod journal;
pub mod lessons;
pub mod lines;
pub mod link;
pub mod link_log;
mod mix;
pub mod outlook;
pub mod plan;
pub mod poll;
pub mod profile;
pub mod pulse;
pub mod reading;
pub mod record;
pub mod run;
pub mod scan;
pub mod schedule;
mod service;
pub mod simulate;
mod support;
mod table;
pub mod timebase;
pub mod tls;
pub mod uplink;
pub mod yaml;
