//! The commands about users and API tokens. Shell.

use clap::{Args, Subcommand, ValueEnum};

use super::{PlaceArgs, config, password};
use crate::people::{self, Entrance};
use crate::users::Role;

#[derive(Subcommand)]
pub(super) enum UserCommand {
    /// Add a user, and print a link by which it chooses a password
    Add {
        /// What the user logs in as
        name: String,
        /// What the user may
        #[arg(long, value_enum, default_value = "viewer")]
        role: RoleArg,
        #[command(flatten)]
        entrance: EntranceArgs,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// End a user's password and sessions, and print a link by which it chooses another one
    Passwd {
        /// Name of the user
        name: String,
        #[command(flatten)]
        entrance: EntranceArgs,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Print a link that logs a user in once; its password stays
    Link {
        /// Name of the user
        name: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Change what a user may
    Role {
        /// Name of the user
        name: String,
        /// What the user may
        #[arg(value_enum)]
        role: RoleArg,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Let a user in no more: its sessions end and its tokens are refused within a second
    Disable {
        /// Name of the user
        name: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Let a user in again
    Enable {
        /// Name of the user
        name: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Show all users
    List {
        #[command(flatten)]
        place: PlaceArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token for a program, and print it; it is told once
    Add {
        /// Whose it is; it never may more than its user
        user: String,
        /// What it is for
        name: String,
        /// The most that it may
        #[arg(long, value_enum, default_value = "viewer")]
        role: RoleArg,
        /// For how many days it is good [default: for ever]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36500))]
        days: Option<u32>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Show all tokens, without their secrets
    List {
        #[command(flatten)]
        place: PlaceArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// End a token
    Revoke {
        /// Its id, as `token list` shows it
        id: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

#[derive(Args)]
pub(super) struct EntranceArgs {
    /// Take a password of 12 to 256 bytes from standard input, instead of a link; the user has to change it
    #[arg(long)]
    password_stdin: bool,
    /// The user may keep that password
    #[arg(long, requires = "password_stdin")]
    keep: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum RoleArg {
    /// Read everything but users
    Viewer,
    /// Change what is shared
    Operator,
    /// Users and the audit log
    Admin,
}

impl RoleArg {
    fn role(self) -> Role {
        match self {
            Self::Viewer => Role::Viewer,
            Self::Operator => Role::Operator,
            Self::Admin => Role::Admin,
        }
    }
}

impl EntranceArgs {
    fn entrance(self) -> anyhow::Result<Entrance> {
        Ok(if self.password_stdin { Entrance::Password { password: password()?, keep: self.keep } } else { Entrance::Link })
    }
}

/// Does what is asked about users; gives what to print.
pub(super) fn user(command: UserCommand) -> anyhow::Result<String> {
    match command {
        UserCommand::Add { name, role, entrance, place } => people::add(&config(place)?, &name, role.role(), &entrance.entrance()?),
        UserCommand::Passwd { name, entrance, place } => people::passwd(&config(place)?, &name, &entrance.entrance()?),
        UserCommand::Link { name, place } => people::link_for(&config(place)?, &name),
        UserCommand::Role { name, role, place } => people::set_role(&config(place)?, &name, role.role()),
        UserCommand::Disable { name, place } => people::disable(&config(place)?, &name, true),
        UserCommand::Enable { name, place } => people::disable(&config(place)?, &name, false),
        UserCommand::List { place, json } => people::list(&config(place)?, json),
    }
}

/// Does what is asked about tokens; gives what to print.
pub(super) fn token(command: TokenCommand) -> anyhow::Result<String> {
    match command {
        TokenCommand::Add { user, name, role, days, place } => people::add_token(&config(place)?, &user, &name, role.role(), days),
        TokenCommand::List { place, json } => people::list_tokens(&config(place)?, json),
        TokenCommand::Revoke { id, place } => people::revoke_token(&config(place)?, &id),
    }
}
