//! A creator as the seed makes it: who it is, and its numbers at a moment.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::hash::{counter, days, mix, pick, unit};
use super::series::Series;

const FIRST_NAMES: [&str; 24] = [
    "Mia", "Noah", "Lea", "Elias", "Zoe", "Ben", "Aylin", "Jonas", "Priya", "Mateo", "Hana", "Luca", "Amara", "Finn",
    "Sofia", "Kofi", "Yuki", "Omar", "Ines", "Theo", "Nadia", "Leo", "Tara", "Sven",
];
const TOPICS: [&str; 20] = [
    "kitchen", "lifts", "travels", "sketches", "gardens", "codes", "dances", "reads", "films", "runs", "bakes",
    "paints", "skates", "thrifts", "hikes", "brews", "sings", "builds", "plays", "surfs",
];

/// A creator before anybody changed anything.
#[derive(Clone, Debug)]
pub(crate) struct Creator {
    pub(crate) open_id: String,
    /// Everything about the creator is a hash of it.
    pub(crate) key: u64,
    pub(crate) series: Series,
}

/// How TikTok counts a creator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UserCounters {
    pub(crate) followers: i64,
    pub(crate) following: i64,
    pub(crate) likes: i64,
}

impl Creator {
    /// The `index`-th creator of a kind (`salt`): the demo creators, or those that the control API made.
    pub(crate) fn key(seed: u64, salt: u64, index: u32) -> u64 {
        mix(seed, salt, u64::from(index))
    }

    /// A demo creator posts for ever, from some day of 2025 on.
    pub(crate) fn demo(seed: u64, index: u32) -> Self {
        let key = Self::key(seed, DEMO, index);
        let first_at = 1_735_689_600 + counter(unit(mix(key, 1, 1)) * 300.0 * 86_400.0);
        let interval = counter((1.0 + unit(mix(key, 1, 2)) * 9.0) * 86_400.0);
        let series = Series { key, first_at, interval, per_second: 1, count: None };
        Self { open_id: open_id(seed, DEMO, index), key, series }
    }

    pub(crate) fn display_name(&self) -> String {
        let topic = pick(mix(self.key, 2, 2), &TOPICS);
        format!("{} {topic}", pick(mix(self.key, 2, 1), &FIRST_NAMES))
    }

    pub(crate) fn username(&self) -> String {
        let name = pick(mix(self.key, 2, 1), &FIRST_NAMES).to_lowercase();
        format!("{name}.{}{}", pick(mix(self.key, 2, 2), &TOPICS), mix(self.key, 2, 3) % 1_000)
    }

    pub(crate) fn bio(&self) -> String {
        format!("{} every week. Say hello!", pick(mix(self.key, 2, 2), &TOPICS))
    }

    pub(crate) fn verified(&self) -> bool {
        mix(self.key, 2, 5).is_multiple_of(8)
    }

    pub(crate) fn union_id(&self) -> String {
        format!("{:016x}-{:08x}", mix(self.key, 3, 1), mix(self.key, 3, 2) >> 32)
    }

    /// How many views a video of this creator gets in the end, typically.
    pub(crate) fn reach(&self) -> f64 {
        10_f64.powf(2.5 + unit(mix(self.key, 4, 1)) * 2.5)
    }

    /// The counters at a moment (seconds since 1970). They only grow.
    pub(crate) fn counters(&self, now: i64) -> UserCounters {
        let age = days(now.saturating_sub(self.series.first_at));
        let speed = 0.5 + unit(mix(self.key, 4, 2));
        let posts = self.series.before(now.saturating_add(1));
        #[expect(clippy::cast_precision_loss, reason = "numbers of videos are far below 2^53")]
        let posts = posts as f64;
        UserCounters {
            followers: counter(self.reach() * 0.4 + self.reach() * 0.01 * speed * age),
            following: counter(20.0 + unit(mix(self.key, 4, 3)) * 600.0 + age * 0.05),
            likes: counter(posts * self.reach() * 0.16),
        }
    }
}

/// Salt of the demo creators.
pub(crate) const DEMO: u64 = 0xD0;
/// Salt of the creators that the control API made.
pub(crate) const MADE: u64 = 0xCA;

/// The opaque id of a creator within the app: its index, masked, and a hash. Looks like TikTok's, and leads back to the
/// creator without a table.
pub(crate) fn open_id(seed: u64, salt: u64, index: u32) -> String {
    let key = Creator::key(seed, salt, index);
    let mask = u32::try_from(mix(seed, salt, 0x3A) >> 32).unwrap_or(0);
    let mut bytes = Vec::with_capacity(20);
    bytes.extend_from_slice(&(index ^ mask).to_be_bytes());
    bytes.extend_from_slice(&mix(key, 5, 1).to_be_bytes());
    bytes.extend_from_slice(&mix(key, 5, 2).to_be_bytes());
    format!("-000{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// The index in an id that [`open_id`] made with the same seed and salt.
pub(crate) fn index_of(seed: u64, salt: u64, id: &str) -> Option<u32> {
    let bytes = URL_SAFE_NO_PAD.decode(id.strip_prefix("-000")?).ok()?;
    let masked = u32::from_be_bytes(*bytes.first_chunk::<4>()?);
    let mask = u32::try_from(mix(seed, salt, 0x3A) >> 32).unwrap_or(0);
    let index = masked ^ mask;
    (open_id(seed, salt, index) == id).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_id_leads_back_to_its_index() {
        for index in [0, 1, 99_999, u32::MAX] {
            assert_eq!(index_of(1, DEMO, &open_id(1, DEMO, index)), Some(index));
            assert_eq!(index_of(2, DEMO, &open_id(1, DEMO, index)), None);
            assert_eq!(index_of(1, MADE, &open_id(1, DEMO, index)), None);
        }
        assert_eq!(index_of(1, DEMO, "-000"), None);
    }

    #[test]
    fn counters_grow_with_time() {
        let creator = Creator::demo(1, 3);
        let at = |days: i64| creator.counters(1_770_000_000 + days * 86_400);
        assert!(at(30).followers > at(0).followers);
        assert!(at(30).likes >= at(0).likes);
        assert_eq!(at(0), Creator::demo(1, 3).counters(1_770_000_000));
    }
}
