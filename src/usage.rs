//! Wrong usage, in one line.

use std::error::Error as _;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command};

const ENV_FILE: &str = ".env";

/// The command line, the environment or `.env` is wrong; the text says how, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Adds what `.env` in the working directory says to the environment, which goes first. Call it before there are threads.
pub fn load_env_file() -> Result<(), UsageError> {
    match dotenvy::from_path(Path::new(ENV_FILE)) {
        Ok(()) => Ok(()),
        Err(dotenvy::Error::Io(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(dotenvy::Error::Io(error)) => {
            Err(UsageError(format!("can't read {ENV_FILE}: {error}; correct it or remove it")))
        }
        Err(dotenvy::Error::LineParse(line, _)) => {
            // The line itself is not shown: it may hold a secret.
            let text = std::fs::read_to_string(ENV_FILE).unwrap_or_default();
            let number = text.lines().position(|found| found.trim() == line.trim()).map(|before| before + 1);
            let place = number.map_or_else(String::new, |number| format!(" in line {number}"));
            Err(UsageError(format!("{ENV_FILE} is malformed{place}: write NAME=value, and quote values with spaces")))
        }
        Err(_) => Err(UsageError(format!("{ENV_FILE} is malformed: write NAME=value, one a line"))),
    }
}

/// What clap says over several lines, and whose help tells more. A value that came by an environment variable is named by it.
pub fn one_line(error: &clap::Error, arguments: &[OsString], program: &Command) -> UsageError {
    if error.kind() == clap::error::ErrorKind::InvalidUtf8
        && let Some(variable) = not_utf8(program)
    {
        return UsageError(format!("{variable} is not UTF-8: set it anew"));
    }
    if let (Some(ContextValue::String(argument)), Some(cause)) = (error.get(ContextKind::InvalidArg), error.source())
        && let Some(variable) = variable_of(argument, program)
    {
        return UsageError(format!("{variable} ({argument}): {cause}"));
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Its text is the whole help.
        let text = error.to_string();
        let usage = text.lines().find_map(|line| line.trim().strip_prefix("Usage: ")).unwrap_or("metriqlab <COMMAND>");
        let name = name(arguments, program);
        return UsageError(format!("the command is not complete: {usage}; see {name} --help"));
    }
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let first = first.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" ");
    UsageError(format!("{first}; see {} --help", name(arguments, program)))
}

/// The command that the arguments name, as it is written: `metriqlab jobs list`.
fn name(arguments: &[OsString], program: &Command) -> String {
    let (mut command, mut name) = (program, program.get_name().to_owned());
    for argument in arguments.iter().skip(1) {
        if let Some(found) = command.find_subcommand(argument) {
            command = found;
            name = format!("{name} {}", found.get_name());
        }
    }
    name
}

/// The environment variable of the option that clap shows as `--name <VALUE>`.
fn variable_of(shown: &str, program: &Command) -> Option<String> {
    let name = shown.split_whitespace().next()?.strip_prefix("--")?;
    let mut options = options(program);
    options.find(|option| option.get_long() == Some(name))?.get_env().map(|name| name.to_string_lossy().into_owned())
}

/// The first of our environment variables whose value is not UTF-8.
fn not_utf8(program: &Command) -> Option<String> {
    let names = options(program).filter_map(Arg::get_env);
    let mut wrong = names.filter(|name| std::env::var_os(name).is_some_and(|value| value.to_str().is_none()));
    wrong.next().map(|name| name.to_string_lossy().into_owned())
}

/// All options of all commands.
fn options(program: &Command) -> Box<dyn Iterator<Item = &Arg> + '_> {
    Box::new(program.get_arguments().chain(program.get_subcommands().flat_map(options)))
}
