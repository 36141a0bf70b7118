//! The marks of an axis: whole numbers that people count in.

/// How many steps an axis has at most.
const MAX_STEPS: i128 = 3;

/// A range of values, from one mark to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    first: i128,
    last: i128,
    step: i128,
}

impl Scale {
    /// Holds all of these values; `None` if there are none. In whole numbers: nothing can get lost, or be no number.
    pub fn holding(values: impl IntoIterator<Item = i64>) -> Option<Self> {
        let (mut low, mut high) = (None::<i64>, None::<i64>);
        for value in values {
            low = Some(low.map_or(value, |low| low.min(value)));
            high = Some(high.map_or(value, |high| high.max(value)));
        }
        let (low, high) = (i128::from(low?), i128::from(high?));
        let step = nice(((high - low) + MAX_STEPS - 1) / MAX_STEPS);
        let (mut first, mut last) = (low.div_euclid(step) * step, -(-high).div_euclid(step) * step);
        // All of one value lie in the middle, but nothing that is counted is less than nothing.
        if first == last {
            last += step;
            first -= if first >= step || first < 0 { step } else { 0 };
        }
        Some(Self { first, last, step })
    }

    /// The marks, the smallest first.
    pub fn marks(self) -> impl DoubleEndedIterator<Item = i64> {
        // A mark beyond what is counted is as good as the largest number.
        let steps = (self.last - self.first) / self.step;
        (0..=steps).map(move |step| clamp(self.first + step * self.step))
    }

    /// How far the marks are apart.
    pub fn step(self) -> u64 {
        u64::try_from(self.step).unwrap_or(u64::MAX)
    }

    /// The mark that is furthest from nothing.
    pub fn largest(self) -> u64 {
        clamp(self.first).unsigned_abs().max(clamp(self.last).unsigned_abs())
    }

    /// Where a value lies, from 0 at the first mark to 1 at the last.
    pub fn place(self, value: i64) -> f64 {
        part(i128::from(value) - self.first, self.last - self.first)
    }
}

/// A part of a whole, from 0 to 1.
pub fn part(part: i128, whole: i128) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a picture has a thousand points across")]
    let part = if whole <= 0 { 0.0 } else { part as f64 / whole as f64 };
    part.clamp(0.0, 1.0)
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// The smallest of 1, 2, 5, 10, 20, 50, … that is not below `low`.
fn nice(low: i128) -> i128 {
    let mut power: i128 = 1;
    loop {
        for digit in [1, 2, 5] {
            if digit * power >= low {
                return digit * power;
            }
        }
        power *= 10;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn marks(values: &[i64]) -> Vec<i64> {
        Scale::holding(values.iter().copied()).expect("values").marks().collect()
    }

    #[test]
    fn marks_are_numbers_that_people_count_in() {
        assert_eq!(Scale::holding([]), None);
        assert_eq!(marks(&[0]), [0, 1]);
        assert_eq!(marks(&[7]), [6, 7, 8]);
        assert_eq!(marks(&[0, 10]), [0, 5, 10]);
        assert_eq!(marks(&[980, 1020]), [980, 1000, 1020]);
        assert_eq!(marks(&[5618, 9012]), [4000, 6000, 8000, 10_000]);
        assert_eq!(marks(&[-3, 3]), [-4, -2, 0, 2, 4]);
    }

    proptest! {
        #[test]
        fn every_value_lies_between_the_first_and_the_last_mark(values in prop::collection::vec(any::<i64>(), 1..20)) {
            let scale = Scale::holding(values.iter().copied()).expect("values");
            let marks: Vec<i64> = scale.marks().collect();
            prop_assert!((2..=5).contains(&marks.len()), "{:?}", marks);
            prop_assert!(marks.is_sorted());
            for value in values {
                let place = scale.place(value);
                prop_assert!((0.0..=1.0).contains(&place), "{} of {}", place, value);
                prop_assert!(marks[0] <= value && value <= marks[marks.len() - 1]);
            }
        }
    }
}
