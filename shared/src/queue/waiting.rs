//! A job that only waits, and says so.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::QueueError;
use super::lane::LaneState;

/// A wait that is over sooner is not worth a word to Redis.
const NOT_WORTH_A_WORD: Duration = Duration::from_millis(250);

/// How long the last word on a wait may take. Redis answers in a millisecond, or is away.
const A_MOMENT: Duration = Duration::from_millis(500);

/// Through which a job says that it only waits for its turn at something: it runs nothing meanwhile, so if its worker dies,
/// that is not held against it. Without it, all that wait on a worker that is killed twice would be suspects.
///
/// The default is nobody's, and says nothing.
#[derive(Clone, Default)]
pub struct Waiting(Option<(Arc<LaneState>, u64)>);

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waiting").field(&self.0.as_ref().map(|(_, number)| number)).finish()
    }
}

impl Waiting {
    pub(super) fn new(lane: Arc<LaneState>, number: u64) -> Self {
        Self(Some((lane, number)))
    }

    /// Awaits `turn`. If that takes long, the job's claim is marked in Redis meanwhile.
    ///
    /// The mark is off when this returns `Ok`, or goes with the claim, if this is dropped. An error says that it may still
    /// be there: the job is to run nothing more that could end its worker, but to end. A mark that could not be set costs
    /// nothing but the crash.
    pub async fn during<T>(&self, turn: impl Future<Output = T>) -> (T, Result<(), QueueError>) {
        let mut turn = pin!(turn);
        let Some((lane, number)) = &self.0 else { return (turn.await, Ok(())) };
        tokio::select! {
            biased;
            turn = &mut turn => return (turn, Ok(())),
            () = tokio::time::sleep(NOT_WORTH_A_WORD) => {}
        }
        let Some(claim) = lane.running().get(number).map(|held| held.claim.clone()) else {
            return (turn.await, Ok(()));
        };
        let turn = tokio::select! {
            biased;
            turn = &mut turn => turn,
            // What Redis says to it changes nothing: if it was carried out, all is said, and if not, the crash counts.
            _ = lane.claims.wait(&claim) => turn.await,
        };
        let unmarked = tokio::time::timeout(A_MOMENT, lane.claims.go_on(*number)).await;
        let unmarked = unmarked.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()));
        (turn, unmarked.map_err(QueueError::from))
    }
}
