//! How many wrong passwords an address and an account may try. Counted in this process alone, like the API's limits.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use sha2::{Digest as _, Sha256};

use crate::limits::subscriber;
use crate::strangers::{Place, Strangers};

/// Wrong passwords of an address in a window.
const PER_ADDRESS: NonZeroU32 = NonZeroU32::new(30).unwrap();
const WINDOW: Duration = Duration::from_secs(300);
/// Tries at an account: so many at once, and then one in each period.
const PER_ACCOUNT: NonZeroU32 = NonZeroU32::new(10).unwrap();
const PERIOD: Duration = Duration::from_secs(60);

/// An account by what somebody typed, hashed: of one length, and no list of addresses in memory.
type AccountKey = [u8; 32];

/// Both limits.
pub struct SignInLimits {
    addresses: Strangers,
    accounts: RateLimiter<AccountKey, DefaultKeyedStateStore<AccountKey>, DefaultClock>,
}

impl Default for SignInLimits {
    fn default() -> Self {
        let quota = Quota::with_period(PERIOD).unwrap_or_else(|| Quota::per_minute(PER_ACCOUNT));
        Self {
            addresses: Strangers::new(PER_ADDRESS, WINDOW),
            accounts: RateLimiter::keyed(quota.allow_burst(PER_ACCOUNT)),
        }
    }
}

impl SignInLimits {
    /// Counts a try at an account, by its email address or one of its sessions, or tells how long to wait. The address's is
    /// given back when the password turns out to be right.
    pub fn count(&self, address: Option<IpAddr>, account: &str) -> Result<Place, Duration> {
        let place = self.addresses.count(address.map(subscriber), Instant::now())?;
        let account: AccountKey = Sha256::digest(account.trim().to_lowercase()).into();
        let counted = self.accounts.check_key(&account);
        counted.map_err(|until| until.wait_time_from(self.accounts.clock().now()))?;
        Ok(place)
    }

    /// The password was right.
    pub fn give_back(&self, place: Place) {
        self.addresses.give_back(place);
    }

    /// Forgets who has been quiet.
    pub fn forget_quiet(&self) {
        self.addresses.forget_quiet(Instant::now());
        self.accounts.retain_recent();
        self.accounts.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_and_an_address_have_each_their_limit() {
        let limits = SignInLimits::default();
        let at = |number: u8| Some(IpAddr::from([192, 0, 2, number]));
        let tried = (0..20).filter(|_| limits.count(at(1), "ada@example.com").is_ok()).count();
        assert_eq!(tried, 10, "the account's");
        assert!(limits.count(at(2), " Ada@Example.com").is_err(), "from anywhere");
        let tried = (0..20).filter(|number| limits.count(at(1), &number.to_string()).is_ok()).count();
        assert_eq!(tried, 10, "the address's");
        assert!(limits.count(at(2), "bob@example.com").is_ok());
    }
}
