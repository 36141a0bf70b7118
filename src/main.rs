//! The program: reads the command line, runs one command, tells how it went.
//!
//! Exit status 0 on success, 2 for wrong usage or configuration, 1 otherwise; a failure is one line on standard error.

mod commands;
mod usage;

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};
use commands::Command;
use shared::settings::{LogArgs, SettingsError};
use shared::store::StoreError;
use usage::UsageError;

/// Creators' TikTok profiles and videos behind one API: connect, sync, read, disconnect.
#[derive(Parser)]
#[command(name = "metriqlab", bin_name = "metriqlab", version, propagate_version = true, max_term_width = 110)]
#[command(after_help = "Without a command: `up`. Every option is an environment variable too; a `.env` file in the \
                        working directory is read, and the environment goes before it.\n\nIn a folder where `up` has run, \
                        migrate, keys, users, resync, doctor, rotate-encryption, status, jobs and queue need no settings: \
                        they use its servers unless others are set.")]
struct Cli {
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_unread(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // If nobody reads it either, the exit status says it.
            let _ = writeln!(std::io::stderr(), "metriqlab: {}", one_line(&error));
            ExitCode::from(if is_usage(&error) { 2 } else { 1 })
        }
    }
}

fn start() -> anyhow::Result<()> {
    usage::load_env_file()?;
    let Some((log, command)) = parse()? else { return Ok(()) };
    let log = log.check()?;
    shared::telemetry::init_tls();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let tracing = shared::telemetry::init_log(log, command.service())?;
    let result = runtime.block_on(commands::run(command));
    tracing.shut_down();
    result
}

/// The command line; `None` if it asked for help or the version, which is on standard output then.
fn parse() -> anyhow::Result<Option<(LogArgs, Command)>> {
    let arguments = std::env::args_os().collect::<Vec<_>>();
    let parsed = Cli::try_parse_from(&arguments).and_then(|cli| match cli.command {
        Some(_) => Ok(cli),
        None => Cli::try_parse_from(arguments.iter().cloned().chain(["up".into()])),
    });
    match parsed {
        Ok(Cli { log, command: Some(command) }) => Ok(Some((log, command))),
        // `up` was added: there is a command.
        Ok(Cli { command: None, .. }) => Ok(None),
        Err(error) if !error.use_stderr() => {
            error.print()?;
            Ok(None)
        }
        Err(error) => Err(usage::one_line(&error, &arguments, &Cli::command()).into()),
    }
}

/// Whether standard output was closed before the end, as `head` does: who has read enough is told of no error. A server's
/// broken connection is not met here: it is an error of its own type, with this one as its cause.
fn is_unread(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// An error with its causes; those that quote their cause themselves do not say it twice.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !line.contains(&cause) {
            line = if line.is_empty() { cause } else { format!("{line}: {cause}") };
        }
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the remedy is another command line or another setting.
fn is_usage(error: &anyhow::Error) -> bool {
    error.is::<UsageError>()
        || error.is::<SettingsError>()
        || matches!(error.downcast_ref::<StoreError>(), Some(StoreError::Url(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
