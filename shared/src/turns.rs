//! Taking turns: how those who share a scarce thing get it one after the other, by what they were given.
//!
//! It is start-time fair queueing (Goyal, Vin, Cheng, 1996). Each group has a tag: what it was given, on a clock that all
//! share. The lowest tag is next. The clock shows the tag of who was served last, and who comes starts from there, so that
//! nobody saves up turns while they are away. Of two groups that both wait, none gets more than one turn ahead of the other.
//!
//! [`Turns`] is that for the callers of one process; the queue's lanes do the same in Redis (`queue/scripts/lines.lua`).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use crate::ids::ProjectId;

/// Whose work something is, among those who take turns. Opaque to the queue and to the budget.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Group(String);

impl Group {
    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<ProjectId> for Group {
    fn from(project: ProjectId) -> Self {
        Self(project.to_string())
    }
}

/// Counts the requests that a job has spent. All clones count together.
#[derive(Debug, Clone, Default)]
pub struct Spent(Arc<AtomicU32>);

impl Spent {
    /// One more request is sent.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Those who wait, in one line for each group, and whose turn it is. Every turn counts alike.
///
/// Who has no group shares one with all others who have none.
#[derive(Debug)]
pub struct Turns<T> {
    clock: u64,
    arrivals: u64,
    /// A line that is empty is kept while its tag is ahead of the clock. There are as many others as groups that wait.
    lines: HashMap<Option<Group>, Line<T>>,
}

#[derive(Debug)]
struct Line<T> {
    tag: u64,
    /// By the number of their arrival.
    waiting: VecDeque<(u64, T)>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { clock: 0, arrivals: 0, lines: HashMap::new() }
    }
}

impl<T> Turns<T> {
    /// Joins the end of its group's line.
    pub fn push(&mut self, group: Option<Group>, item: T) {
        let line = self.lines.entry(group).or_insert(Line { tag: self.clock, waiting: VecDeque::new() });
        if line.waiting.is_empty() {
            line.tag = line.tag.max(self.clock);
        }
        line.waiting.push_back((self.arrivals, item));
        self.arrivals += 1;
    }

    /// Whose turn it is. Of groups that were given as much, the one whose first has come first.
    pub fn pop(&mut self) -> Option<T> {
        let waiting = self.lines.values_mut().filter(|line| !line.waiting.is_empty());
        let line = waiting.min_by_key(|line| (line.tag, line.waiting.front().map(|(arrival, _)| *arrival)))?;
        let (_, item) = line.waiting.pop_front()?;
        self.clock = line.tag;
        line.tag += 1;
        let clock = self.clock;
        self.lines.retain(|_, line| !line.waiting.is_empty() || line.tag > clock);
        Some(item)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.lines.values().map(|line| line.waiting.len()).sum()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.lines.values().all(|line| line.waiting.is_empty())
    }

    /// All who wait, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.lines.values().flat_map(|line| line.waiting.iter().map(|(_, item)| item))
    }

    /// Lets those go for whom `leaves` holds. It is asked about each in the order of their turns, in which it also gives them.
    pub fn take_out(&mut self, mut leaves: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut order: Vec<(u64, u64, &T)> = Vec::with_capacity(self.len());
        for line in self.lines.values() {
            let turns = line.waiting.iter().zip(line.tag..);
            order.extend(turns.map(|((arrival, item), tag)| (tag, *arrival, item)));
        }
        order.sort_unstable_by_key(|(tag, arrival, _)| (*tag, *arrival));
        let leaving: Vec<u64> =
            order.into_iter().filter(|(.., item)| leaves(item)).map(|(_, arrival, _)| arrival).collect();
        if leaving.is_empty() {
            return Vec::new();
        }
        let mut taken: HashMap<u64, T> = HashMap::new();
        let places: HashSet<u64> = leaving.iter().copied().collect();
        for line in self.lines.values_mut() {
            let (going, staying): (VecDeque<_>, _) =
                std::mem::take(&mut line.waiting).into_iter().partition(|(arrival, _)| places.contains(arrival));
            line.waiting = staying;
            taken.extend(going);
        }
        let clock = self.clock;
        self.lines.retain(|_, line| !line.waiting.is_empty() || line.tag > clock);
        leaving.iter().filter_map(|arrival| taken.remove(arrival)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    use super::*;

    fn group(number: usize) -> Group {
        Group(number.to_string())
    }

    #[test]
    fn one_of_a_small_group_waits_a_round_and_each_group_keeps_its_order() {
        let mut turns = Turns::default();
        for n in 0..1_000 {
            turns.push(Some(group(0)), (0, n));
        }
        for _ in 0..100 {
            turns.pop();
        }
        for n in 0..3 {
            turns.push(Some(group(1)), (1, n));
            turns.push(None, (2, n));
        }
        let next: Vec<(i32, i32)> = std::iter::from_fn(|| turns.pop()).take(9).collect();
        assert_eq!(next, [(1, 0), (2, 0), (0, 100), (1, 1), (2, 1), (0, 101), (1, 2), (2, 2), (0, 102)]);
    }

    #[test]
    fn who_leaves_costs_the_group_nothing_and_nothing_of_a_group_stays() {
        let mut turns = Turns::default();
        for n in 0..10 {
            turns.push(Some(group(0)), n);
        }
        turns.push(Some(group(1)), 10);
        assert_eq!(turns.take_out(|n| *n > 0 && *n < 10), (1..10).collect::<Vec<_>>());
        turns.push(Some(group(0)), 11);
        assert_eq!(std::iter::from_fn(|| turns.pop()).collect::<Vec<_>>(), [0, 10, 11]);
        turns.push(Some(group(2)), 12);
        assert_eq!((turns.pop(), turns.len()), (Some(12), 0));
        turns.push(Some(group(2)), 13);
        turns.pop();
        assert!(turns.lines.len() <= 1, "{:?}", turns.lines);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(usize),
        Pop,
        Leave(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        // The first group comes as often as all others.
        let comer = prop_oneof![Just(0_usize), 0_usize..5];
        prop_oneof![
            4 => comer.prop_map(Step::Push),
            3 => Just(Step::Pop),
            1 => (0_usize..5).prop_map(Step::Leave),
        ]
    }

    proptest! {
        /// Over any time in which two groups both wait, they get the same but for one turn; and nobody is lost.
        #[test]
        fn of_two_groups_that_wait_none_is_more_than_a_turn_ahead(steps in proptest::collection::vec(step(), 1..400)) {
            let mut turns = Turns::default();
            let mut waiting: BTreeMap<usize, VecDeque<usize>> = BTreeMap::new();
            // What the first of a pair got beyond the second since both wait.
            let mut ahead: BTreeMap<(usize, usize), (i64, i64, i64)> = BTreeMap::new();
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push(of) => {
                        turns.push(Some(group(of)), (of, n));
                        waiting.entry(of).or_default().push_back(n);
                    }
                    Step::Pop => {
                        let Some((of, n)) = turns.pop() else {
                            prop_assert!(waiting.is_empty());
                            continue;
                        };
                        prop_assert_eq!(waiting.get_mut(&of).and_then(VecDeque::pop_front), Some(n));
                        for ((one, other), (sum, least, most)) in &mut ahead {
                            *sum += i64::from(*one == of) - i64::from(*other == of);
                            (*least, *most) = ((*least).min(*sum), (*most).max(*sum));
                            prop_assert!(*most - *least <= 2, "{one} and {other}: {least} to {most}");
                        }
                    }
                    Step::Leave(of) => {
                        let first = waiting.get(&of).and_then(|line| line.front().copied());
                        let gone = turns.take_out(|(_, n)| Some(*n) == first);
                        prop_assert_eq!(gone.len(), usize::from(first.is_some()));
                        if let Some(line) = waiting.get_mut(&of) {
                            line.pop_front();
                        }
                    }
                }
                waiting.retain(|_, line| !line.is_empty());
                ahead.retain(|(one, other), _| waiting.contains_key(one) && waiting.contains_key(other));
                for one in waiting.keys() {
                    for other in waiting.keys().filter(|other| *other > one) {
                        ahead.entry((*one, *other)).or_default();
                    }
                }
                prop_assert_eq!(turns.len(), waiting.values().map(VecDeque::len).sum::<usize>());
                prop_assert_eq!(turns.is_empty(), waiting.is_empty());
                prop_assert!(turns.lines.len() <= 5);
            }
        }
    }
}
