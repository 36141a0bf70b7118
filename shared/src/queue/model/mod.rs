//! A model of a fleet: jobs' rows, client pushes and worker processes that claim, finish, crash, are paused, taken over and
//! stopped, on the real scripts in a real Redis that is flushed now and then. Steps are drawn at random and in any order;
//! time passes when the model says so.
//!
//! What must hold, whatever happens: a job's effect is there once at most; a job that a living worker holds, and has told
//! Redis so, goes to no other; Redis forgets nothing but by a flush, or after one with the run that it took for the job's; a
//! process runs one suspect at a time; and when the dust has settled, every job that was promised is done and Redis holds
//! nothing of any.
//!
//! `PROPTEST_CASES=5000` runs it longer.

mod steps;
mod world;

use proptest::prelude::*;

use self::steps::{Step, step};
use self::world::{BULK, World};
use crate::cases::cases;

async fn run(steps: impl IntoIterator<Item = Step>) -> Result<(), TestCaseError> {
    let mut world = World::new().await;
    for step in steps {
        world.take(step).await?;
    }
    world.settle().await
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2_000, ..cases(48) })]

    #[test]
    fn no_interleaving_loses_a_job_or_does_one_twice(steps in prop::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps))?;
    }
}

/// The last job may leave a lane without an end: somebody waits for it now, and it goes to another lane.
#[tokio::test]
async fn a_job_that_is_promoted_out_of_its_lane_leaves_nothing_there() {
    let ask = |job| Step::Ask { job, lost: false };
    let fetch = || Step::Fetch { process: 0, lane: BULK, slots: 1 };
    let finish = Step::Finish { process: 0, held: 0, dies: false };
    let retry = Step::Retry { process: 0, held: 0 };
    let from_its_line = vec![ask(2), fetch(), ask(1), finish, Step::Promote { job: 1 }];
    let while_delayed = vec![ask(2), fetch(), retry, Step::Promote { job: 2 }];
    for steps in [from_its_line, while_delayed] {
        let name = format!("{steps:?}");
        run(steps).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

/// A suspect that ends its workers again and again does not keep the other suspects from their turns.
#[tokio::test]
async fn a_suspect_that_is_taken_back_stands_behind_the_others() -> Result<(), TestCaseError> {
    let mut world = World::new().await;
    for job in 0..2 {
        world.take(Step::Ask { job, lost: false }).await?;
    }
    let mut ran = Vec::new();
    for death in 0..6 {
        world.take(Step::Fetch { process: 0, lane: BULK, slots: 2 }).await?;
        ran.push(world.processes.iter().flat_map(|process| &process.held).map(|held| held.job).collect::<Vec<_>>());
        world.take(Step::Crash { process: 0 }).await?;
        world.take(Step::TakeOver { process: death, by: 0 }).await?;
    }
    assert_eq!(ran, [vec![0, 1], vec![0, 1], vec![0], vec![1], vec![0], vec![1]], "both are suspects after two deaths");
    world.settle().await
}
