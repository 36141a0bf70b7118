//! The turns of a lane, on a real Redis, one script at a time: any interleaving of pushes, fetches, ends and give-backs.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::claims::{ClaimId, Claims, End, Verb};
use super::{Lane, Message, Queue};
use crate::ids::{JobId, ProjectId};
use crate::turns::Group;

/// Groups that come and go.
const GROUPS: usize = 5;
/// The dearest job.
const DEAREST: u32 = 20;

/// A lane, and what the groups were given by what we know of it.
struct Model {
    claims: Claims,
    groups: Vec<Group>,
    random: StdRng,
    next_claim: u64,
    /// What is held: the claim and its group.
    held: Vec<(ClaimId, usize)>,
    /// The jobs of each group that are in line, foremost first.
    lines: Vec<Vec<JobId>>,
    /// What the first of two groups was given beyond the second since both have a line: now, the least, the most.
    ahead: BTreeMap<(usize, usize), (i64, i64, i64)>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let url =
            std::env::var("METRIQLAB_TEST_REDIS_URL").expect("METRIQLAB_TEST_REDIS_URL is not set: run `make test`");
        let queue = Queue::connect(&url, &format!("test-{}", JobId::new())).unwrap();
        Self {
            claims: Claims { queue, lane: Lane::Bulk, worker: "worker".to_owned() },
            groups: (0..GROUPS).map(|_| ProjectId::new().into()).collect(),
            random: StdRng::seed_from_u64(seed),
            next_claim: 1,
            held: Vec::new(),
            lines: vec![Vec::new(); GROUPS],
            ahead: BTreeMap::new(),
        }
    }

    async fn push(&mut self, group: usize, jobs: usize) {
        let message = |_| {
            let (kind, group) = ("noop".to_owned(), Some(self.groups[group].clone()));
            Message { id: JobId::new(), kind, trace: None, group }
        };
        let messages: Vec<Message> = (0..jobs).map(message).collect();
        self.claims.queue.push_many(Lane::Bulk, &messages).await.unwrap();
        self.lines[group].extend(messages.iter().map(|message| message.id));
    }

    async fn fetch(&mut self, slots: usize) {
        let fetched = self.claims.fetch(self.next_claim, slots, false).await.unwrap();
        self.next_claim += slots as u64;
        let waiting: usize = self.lines.iter().map(Vec::len).sum();
        assert_eq!(fetched.jobs.len(), slots.min(waiting), "no slot stays free while somebody waits");
        for job in fetched.jobs {
            let message: Message = serde_json::from_slice(&job.payload).unwrap();
            let group = self.groups.iter().position(|group| Some(group) == message.group.as_ref()).unwrap();
            assert_eq!(self.lines[group].remove(0), message.id, "each group keeps its order");
            self.held.push((job.claim, group));
            self.given(group, 1);
        }
    }

    /// Ends one of those that are held.
    async fn finish(&mut self) {
        let (claim, group) = self.held.swap_remove(self.random.random_range(0..self.held.len()));
        // The groups differ in what their jobs cost.
        let cost = self.random.random_range(1..=if group == 0 { DEAREST } else { 1 + u32::try_from(group).unwrap() });
        let end = End { claim, verb: Verb::Gone, group: Some(self.groups[group].clone()), cost };
        assert_eq!(self.claims.finish(&[end]).await.unwrap(), 0);
        self.given(group, i64::from(cost) - 1);
    }

    /// Gives back all that are held, as a stop does.
    async fn release(&mut self) {
        self.held.sort_unstable_by_key(|(claim, _)| claim.number);
        let held = std::mem::take(&mut self.held);
        for (claim, group) in held.iter().rev() {
            self.lines[*group].insert(0, std::str::from_utf8(&claim.id).unwrap().parse().unwrap());
        }
        let claims: Vec<ClaimId> = held.into_iter().map(|(claim, _)| claim).collect();
        assert_eq!(self.claims.release(&claims).await.unwrap(), claims.len() as u64);
    }

    fn given(&mut self, group: usize, requests: i64) {
        for ((one, other), (sum, least, most)) in &mut self.ahead {
            *sum += requests * (i64::from(*one == group) - i64::from(*other == group));
            (*least, *most) = ((*least).min(*sum), (*most).max(*sum));
        }
    }

    /// What holds at every instant, if no more than `slots` are held at a time.
    async fn check(&mut self, slots: usize) {
        let bound = i64::try_from(slots).unwrap() * i64::from(DEAREST) + 1;
        let waits = |group: &usize| !self.lines[*group].is_empty();
        self.ahead.retain(|(one, other), _| waits(one) && waits(other));
        for one in (0..GROUPS).filter(waits) {
            for other in (one + 1..GROUPS).filter(waits) {
                self.ahead.entry((one, other)).or_default();
            }
        }
        for (pair, (_, least, most)) in &self.ahead {
            assert!(most - least <= 2 * bound, "{pair:?}: from {least} to {most} with {slots} slots");
        }
        let depth = self.claims.queue.depth(Lane::Bulk).await.unwrap();
        let waiting: usize = self.lines.iter().map(Vec::len).sum();
        assert_eq!((depth.ready, depth.running), (waiting as u64, self.held.len() as u64));
    }

    /// Works off everything, and sees that nothing stays.
    async fn drain(mut self) {
        while self.held.len() + self.lines.iter().map(Vec::len).sum::<usize>() > 0 {
            if self.held.is_empty() {
                self.fetch(10).await;
            } else {
                self.finish().await;
            }
        }
        let keys = self.claims.queue.keys(Lane::Bulk);
        let mut exist = redis::cmd("EXISTS");
        exist.arg(&keys.of_lines()[..]).arg(&keys.claims).arg(&keys.delayed).arg(&keys.crashes);
        let left: u64 = self.claims.queue.link(self.claims.lane).command(&exist).await.unwrap();
        assert_eq!(left, 0);
    }
}

/// While two groups both wait, what they are given differs by no more than the dearest job in each slot, however jobs
/// come, end and are given back: so none starves, and none is behind by more than a round.
#[tokio::test]
async fn no_group_that_waits_is_ever_behind_by_more_than_a_round() {
    for seed in 0..12 {
        let mut lane = Model::new(seed);
        let slots = [1, 3, 8][usize::try_from(seed).unwrap() % 3];
        for _ in 0..250 {
            match lane.random.random_range(0..100) {
                0..12 => {
                    let (group, jobs) = (lane.random.random_range(0..GROUPS), lane.random.random_range(1..20));
                    lane.push(group, jobs).await;
                }
                12..55 if lane.held.len() < slots => {
                    let free = lane.random.random_range(1..=slots - lane.held.len());
                    lane.fetch(free).await;
                }
                55..98 if !lane.held.is_empty() => lane.finish().await,
                98 => lane.release().await,
                _ => {}
            }
            lane.check(slots).await;
        }
        lane.drain().await;
    }
}

/// A group that was alone for long has saved up nothing, and owes nothing beyond what it holds; one that was away neither.
#[tokio::test]
async fn who_comes_back_starts_where_the_others_are() {
    let mut lane = Model::new(0);
    lane.push(0, 300).await;
    for _ in 0..200 {
        lane.fetch(1).await;
        lane.finish().await;
    }
    lane.push(1, 50).await;
    lane.check(1).await;
    for _ in 0..60 {
        lane.fetch(1).await;
        lane.finish().await;
        lane.check(1).await;
    }
    lane.drain().await;
}

#[test]
fn a_message_of_a_version_without_groups_can_be_read_and_one_without_a_group_is_as_before() {
    let id = JobId::new();
    let old = format!(r#"{{"id":"{id}","kind":"sync"}}"#);
    let message = Message { id, kind: "sync".to_owned(), trace: None, group: None };
    assert_eq!(serde_json::from_str::<Message>(&old).unwrap(), message);
    assert_eq!(serde_json::to_string(&message).unwrap(), old);
}

#[tokio::test]
async fn a_delayed_job_comes_back_into_its_groups_line() {
    let mut lane = Model::new(1);
    lane.push(2, 1).await;
    lane.fetch(1).await;
    let (claim, group) = lane.held.pop().unwrap();
    let id = std::str::from_utf8(&claim.id).unwrap().parse().unwrap();
    let verb = Verb::Delay(Duration::ZERO);
    let end = End { claim, verb, group: Some(lane.groups[group].clone()), cost: 7 };
    assert_eq!(lane.claims.finish(&[end]).await.unwrap(), 0);
    lane.lines[group].push(id);
    lane.push(3, 7).await;
    // It has had seven requests: the other one's seven jobs go first.
    lane.fetch(7).await;
    assert!(lane.held.iter().all(|(_, group)| *group == 3));
    lane.fetch(1).await;
    lane.drain().await;
}
