//! `metriqlab users`: the link stands alone on standard output; all else goes to the log.

use std::io::Write as _;

use clap::Subcommand;
use shared::people::Email;
use shared::secret_token::SecretToken;
use shared::settings::{ApiArgs, DatabaseArgs, PublicUrl};
use shared::store::Store;
use shared::store::members::Actor;
use shared::store::users::FirstOperator;

use super::{kept, project};
use crate::usage::UsageError;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Prints a link with which that person sets a password for the dashboard: once, within a day
    ///
    /// The user is made if there is none; for one who has forgotten the password it is a way back in. Links that were made
    /// before for that user work no longer. With a right (`--operator`, `--project`), an account that was there is closed until
    /// its link is used: anybody may have made it.
    #[command(after_help = kept::HELP)]
    Create {
        /// What that person signs in with.
        #[arg(value_name = "EMAIL")]
        email: String,
        /// Makes that user an owner of this project, named by its id, or by its name where no other project has it; it is made
        /// if it does not exist.
        #[arg(long, value_name = "NAME")]
        project: Option<String>,
        /// Lets that user see and steer the whole installation: lanes, workers, quota, the dead jobs of all projects. The
        /// first user of all is one without being asked for.
        #[arg(long, conflicts_with = "no_operator")]
        operator: bool,
        /// Not, or no longer.
        #[arg(long)]
        no_operator: bool,
        #[command(flatten)]
        database: DatabaseArgs,
        #[command(flatten)]
        api: Box<ApiArgs>,
    },
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let Action::Create { email, project, operator, no_operator, database, api } = args.action;
    let email: Email = email.parse().map_err(|_| UsageError("EMAIL: give an email address".into()))?;
    let project = project.as_deref().map(project::check).transpose()?;
    let public_url = public_url(*api)?;
    let store = Store::open(&kept::database(&database)?.url, 1)?;
    let project = match project {
        Some(named) => Some(project::find_or_add(&store, named).await?),
        None => None,
    };
    let token = SecretToken::generate();
    let user = store.add_password_link(&email, &token.hash()).await?;
    if !operator && !no_operator {
        // By whether there was a password, and so before it is taken away.
        match store.make_first_operator(user).await? {
            FirstOperator::Made => tracing::info!(user_id = %user, "the first operator of this installation"),
            FirstOperator::ThereIsOne => {}
            FirstOperator::Nobody => tracing::warn!("nobody is an operator of this installation: --operator makes one"),
        }
    }
    if (operator || project.is_some()) && store.lock_out(user).await? {
        tracing::warn!(
            user_id = %user,
            "there was an account with this address, whoever made it: its sessions have ended, and only this link opens it"
        );
    }
    if operator || no_operator {
        store.set_operator(user, operator).await?;
        let now = if operator { "an operator of this installation" } else { "no operator of this installation" };
        tracing::info!(user_id = %user, "{now}");
    }
    if let Some(project) = project {
        store.add_owner(Actor { user, email: &email }, project).await?;
    }
    tracing::info!(user_id = %user, "link made: it is shown this once");
    writeln!(std::io::stdout(), "{}", public_url.with_path(&api::password_path(&token)))?;
    Ok(())
}

/// The URL that is set, else the folder's, else the default.
fn public_url(mut args: ApiArgs) -> anyhow::Result<PublicUrl> {
    if !args.has_public_url() && !args.has_bind() {
        args.public_url = kept::api_url()?;
    }
    Ok(args.check()?.public_url)
}
