//! The one source of chance in the world: a hash of the seed and what is asked for.

/// Mixes three numbers into one (the finalizer of `SplitMix64`, applied to each in turn).
pub(crate) fn mix(seed: u64, a: u64, b: u64) -> u64 {
    let step = |state: u64| {
        let state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        state ^ (state >> 31)
    };
    step(step(step(seed) ^ a) ^ b)
}

/// Even over 0 (included) to 1 (excluded).
#[expect(clippy::cast_precision_loss, reason = "53 bits fit the mantissa")]
pub(crate) fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

/// Even over `0..n`, and 0 for `n == 0`.
pub(crate) fn below(hash: u64, n: u64) -> u64 {
    if n == 0 { 0 } else { hash % n }
}

/// One of the words.
pub(crate) fn pick<'a>(hash: u64, words: &[&'a str]) -> &'a str {
    let index = usize::try_from(below(hash, words.len() as u64)).unwrap_or(0);
    words.get(index).copied().unwrap_or("")
}

/// To a counter: the whole part, never negative.
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates, and counters stay far below 2^63")]
pub(crate) fn counter(value: f64) -> i64 {
    value.max(0.0) as i64
}

/// Seconds as days.
#[expect(clippy::cast_precision_loss, reason = "times are far below 2^53")]
pub(crate) fn days(seconds: i64) -> f64 {
    seconds.max(0) as f64 / 86_400.0
}
