//! `metriqlab rotate-encryption`: every stored token under the first key of the list, while everything runs.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use shared::crypto::{KeyId, KeyRing};
use shared::settings::{DatabaseArgs, EncryptionArgs};
use shared::store::Store;
use shared::tokens::{KeyUse, Rotation, WRITERS, rotate};

use super::kept;

/// Between two lines where there is no terminal to draw on.
const LINE: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
#[command(after_help = kept::HELP)]
pub struct Args {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    encryption: EncryptionArgs,
}

pub async fn run(args: &Args) -> anyhow::Result<()> {
    let keyring = kept::encryption(&args.encryption)?;
    let store = Store::open(&kept::database(&args.database)?.url, WRITERS + 1)?;
    let mut display = Display::new();
    let rotation = rotate(&store, &keyring, |rows| display.show(rows)).await?;
    display.end();
    report(&rotation, &keyring)
}

/// Says what was done and what is left. It fails unless every token is under the first key.
fn report(rotation: &Rotation, keyring: &KeyRing) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let Rotation { resealed, unreadable, keys } = rotation;
    writeln!(
        out,
        "{resealed} pairs of tokens encrypted anew; {} tokens are under key {}",
        keys.current,
        keyring.current_id()
    )?;
    for ((key, why), rows) in unreadable {
        let key = key.map_or_else(|| "no key".to_owned(), |key| format!("key {key}"));
        writeln!(out, "{rows} pairs left as they are, {key}: {why}")?;
    }
    let KeyUse { older, unknown, foreign, .. } = keys;
    for (key, tokens) in older.iter().chain(unknown) {
        writeln!(out, "{tokens} tokens are still under key {key}")?;
    }
    if keys.is_current_alone() {
        let others: Vec<String> = keyring.ids().skip(1).map(|id| id.to_string()).collect();
        if !others.is_empty() {
            writeln!(
                out,
                "nothing is left under {}: once no process has run with another first key for ten minutes, the list may lose {}",
                others.join(", "),
                if others.len() == 1 { "it" } else { "them" }
            )?;
        }
        return Ok(());
    }
    out.flush()?;
    if !unknown.is_empty() {
        let keys = unknown.keys().map(KeyId::to_string).collect::<Vec<_>>().join(", ");
        bail!(
            "tokens are under keys that METRIQLAB_ENCRYPTION_KEY lacks ({keys}): add them at its end, and run this again"
        );
    }
    if *foreign > 0 || !unreadable.is_empty() {
        bail!(
            "tokens do not open: restore their rows from a backup, or connect their creators again; keep the old keys"
        );
    }
    bail!(
        "a process still encrypts with an older key: start all of them with this list, run this again, and keep the old keys"
    );
}

/// A count on a terminal, lines elsewhere; both on standard error.
struct Display {
    spinner: Option<ProgressBar>,
    last_line: Instant,
}

impl Display {
    fn new() -> Self {
        let spinner = std::io::stderr().is_terminal().then(|| {
            let spinner = ProgressBar::new_spinner();
            spinner.set_style(ProgressStyle::default_spinner());
            spinner
        });
        Self { spinner, last_line: Instant::now() }
    }

    fn show(&mut self, rows: u64) {
        let text = format!("{rows} pairs of tokens looked at");
        if let Some(spinner) = &self.spinner {
            spinner.set_message(text);
            spinner.tick();
        } else if self.last_line.elapsed() >= LINE {
            self.last_line = Instant::now();
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    fn end(&self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}
