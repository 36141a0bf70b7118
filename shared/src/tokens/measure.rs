//! What is counted of tokens, in this process.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

use super::{TokenError, UsableToken};

const RENEWALS: &str = "metriqlab_tokens_renewals_total";
const LEASE_WAIT: &str = "metriqlab_tokens_lease_wait_seconds";

/// Describes the metrics, and begins the counters.
pub(super) fn describe() {
    describe_counter!(RENEWALS, "Renewals of tokens that were begun, by outcome");
    describe_histogram!(
        LEASE_WAIT,
        Unit::Seconds,
        "How long who needed the lease of an account's tokens waited for it"
    );
    for outcome in ["ok", "dead", "failed"] {
        counter!(RENEWALS, "outcome" => outcome).increment(0);
    }
}

/// Counts a renewal: `dead` is the platform's word that the creator must connect again.
pub(super) fn renewed(result: &Result<UsableToken, TokenError>) {
    let outcome = match result {
        Ok(_) => "ok",
        Err(TokenError::Dead { .. }) => "dead",
        Err(_) => "failed",
    };
    counter!(RENEWALS, "outcome" => outcome).increment(1);
}

/// Notes how long a lease was waited for, whether it was had or not.
pub(super) fn waited_for_lease(took: Duration) {
    histogram!(LEASE_WAIT).record(took);
}
