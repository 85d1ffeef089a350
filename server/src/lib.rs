//! The central server: takes batches from gateways, stores them durably, acknowledges them, and serves charts.
//!
//! Imports point one way: `pattoo_wire <- pure core <- shell leaves <- run, main`. Only `run` names a backend.
//!
//! | room | kind | holds |
//! |---|---|---|
//! | `catalog` | pure | gateways, devices, series and their ids; what of a stream has arrived |
//! | `ingest` | pure core, shell around it | messages -> commits -> acknowledgements |
//! | `store` | trait; backends are shell | what is durable |
//! | `config` | pure | text -> what can only be valid |
//! | `live` | shell | what is known right now, for the API |
//! | `query` | pure | windows, buckets, gaps |
//! | `api` | shell | HTTP |
//! | `users` | pure; `file` and `audit` below it are shell | users, tokens, sessions, how often somebody may try |
//! | `auth` | shell | who asks, and what it may |
//! | `https` | shell | the certificate of page and API |
//! | `people` | shell | the commands about users and tokens |
//! | `broker` | shell, pure rooms below it | the embedded MQTT broker, accounts, limits |
//! | `gateways` | shell | the commands about accounts |
//! | `clock` | shell | the wall clock |
//! | `dashboard` | pure | text of a dashboard -> what is on screen |
//! | `dashboards` | shell | their folder, read again when it changes |
//! | `favourites` | shell | what each reader wants at hand |
//! | `folder` | shell | folders and files that survive a power cut |
//! | `transfer` | shell, pure rows | readings to and from files of other programs |
//! | `backup` | shell, pure manifest | backups, and what they come from |
//! | `control` | shell | what the command line asks of the running server |
//! | `translations` | pure; `file` below it is shell | what things are called in people's languages |
//! | `web` | shell | the page |
//! | `service` | shell | what the service manager is told |
//! | `run` | shell | the only place that spawns |

pub mod api;
pub mod auth;
pub mod backup;
pub mod broker;
pub mod catalog;
mod certificates;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod dashboard;
pub mod dashboards;
pub mod favourites;
pub mod folder;
pub mod gateways;
pub mod https;
pub mod ingest;
pub mod live;
pub mod people;
pub mod query;
pub mod run;
mod service;
pub mod store;
pub mod transfer;
pub mod translations;
pub mod users;
pub mod web;
