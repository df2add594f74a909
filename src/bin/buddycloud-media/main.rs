//! `buddycloud-media`: the media server from the command line. It logs in to XMPP as its user, finds the server, and
//! confirms its own requests.
//!
//! The main thread does the work, with threads for uploads beside it; the thread `xmpp` owns the session, and `signals`
//! ends the process.

mod account;
mod address;
mod args;
mod body;
mod config;
mod confirm;
mod console;
mod dns;
mod edit;
mod exit;
mod file_name;
mod files;
mod get;
mod http;
mod interrupt;
mod list;
mod login;
mod parallel;
mod put;
mod quota;
mod reader;
mod retry;
mod save;
mod service;
mod site;
mod slot;
mod ticket;

use std::io::{self, Write};
use std::process::ExitCode;

use args::{Command, HELP, Invocation};
use config::Config;
use console::Console;
use exit::{Exit, Result};
use http::Http;

fn main() -> ExitCode {
    let invocation = match args::parse(std::env::args_os().skip(1)) {
        Ok(invocation) => invocation,
        Err(text) => {
            let line = format!("buddycloud-media: {}\nTry buddycloud-media --help.\n", exit::shown(&text));
            // If standard error fails, nothing can be reported.
            let _ = io::stderr().write_all(line.as_bytes());
            return ExitCode::from(Exit::Usage as u8);
        }
    };
    let console = Console::new(&invocation.options);
    let exit = run(&invocation, &console).unwrap_or_else(|failure| {
        console.failure(&failure);
        failure.exit
    });
    ExitCode::from(exit as u8)
}

fn run(invocation: &Invocation, console: &Console) -> Result<Exit> {
    match invocation.command {
        Command::Help => return console.print_text(HELP).map(|()| Exit::Done),
        Command::Version => {
            let line = concat!("buddycloud-media ", env!("CARGO_PKG_VERSION"));
            return console.print(line).map(|()| Exit::Done);
        }
        _ => interrupt::watch()?,
    }
    let config = Config::load(invocation.options.config.as_deref())?;
    let http = Http::new(config.ca.as_deref())?;
    perform(&invocation.command, &config, console, &http)
}

fn perform(command: &Command, config: &Config, console: &Console, http: &Http) -> Result<Exit> {
    match command {
        Command::Put { channel, paths } => put::put(config, console, http, channel, paths),
        Command::Get { target, output } => get::get(config, console, http, target, output),
        Command::List { channel } => list::list(config, console, http, channel),
        Command::Remove { targets } => edit::remove(config, console, http, targets),
        Command::Set { target, changes } => edit::set(config, console, http, target, changes),
        Command::Avatar { channel, path } => put::avatar(config, console, http, channel, path),
        Command::Ticket { channel, post } => edit::ticket(config, console, http, channel, *post),
        Command::Slot { purpose, paths } => slot::upload(config, console, http, *purpose, paths),
        Command::Quota => quota::quota(config, console, http),
        Command::Help | Command::Version => Ok(Exit::Done),
    }
}
