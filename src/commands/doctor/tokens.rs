//! The encryption keys against the stored tokens.

use std::collections::BTreeMap;

use shared::crypto::{KeyId, KeyRing};
use shared::store::Store;
use shared::tokens::{KeyUse, count_damaged};

use super::report::Check;
use super::within;

const NAME: &str = "encryption keys";
/// So many of the newest pairs of tokens are opened; of all the others, the key alone is looked at.
const OPENED: i64 = 200;

pub(super) async fn check(store: Option<&Store>, keyring: Option<&KeyRing>) -> Option<Check> {
    let (store, keyring) = (store?, keyring?);
    let looked = async {
        let counted = KeyUse::count(store, keyring).await?;
        Ok::<_, shared::store::StoreError>((counted, count_damaged(store, keyring, OPENED).await?))
    };
    // Without a schema or a Postgres, theirs is the line that says so.
    let (counted, damaged) = within(looked).await.ok()?;
    Some(judge(&counted, damaged, keyring))
}

fn judge(counted: &KeyUse, damaged: usize, keyring: &KeyRing) -> Check {
    let KeyUse { current, older, unknown, foreign } = counted;
    if !unknown.is_empty() {
        let found = format!("{}, and METRIQLAB_ENCRYPTION_KEY lacks them", tokens(unknown));
        return Check::fail(
            NAME,
            found,
            "add the missing key at the end of the list: without it their creators must connect again",
        );
    }
    if damaged > 0 || *foreign > 0 {
        let found =
            format!("{damaged} of the newest {OPENED} pairs do not open, {foreign} tokens are of no known format");
        return Check::fail(NAME, found, "restore these rows from a backup, or connect their creators again");
    }
    let total = current + older.values().sum::<u64>();
    if !older.is_empty() {
        let found = format!("{} of {total} tokens are not under the first key: {}", total - current, tokens(older));
        return Check::warn(
            NAME,
            found,
            "run `metriqlab rotate-encryption`, and keep these keys in the list until then",
        );
    }
    let spare = match keyring.ids().count() - 1 {
        0 => String::new(),
        1 => "; the list's other key is not in use".to_owned(),
        others => format!("; the list's {others} other keys are not in use"),
    };
    Check::ok(NAME, format!("{total} tokens, all under key {}{spare}", keyring.current_id()))
}

fn tokens(keys: &BTreeMap<KeyId, u64>) -> String {
    keys.iter().map(|(id, tokens)| format!("{tokens} under key {id}")).collect::<Vec<_>>().join(", ")
}
