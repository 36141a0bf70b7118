//! How large a soak is, and what goes wrong in it.

use std::time::Duration;

use serde_json::json;

use crate::disasters::{Disaster, schedule};
use crate::support::sandbox::TestSandbox;

/// How large a soak is, and what befalls it.
pub struct Plan {
    pub workers: usize,
    pub creators: usize,
    /// So many of them come and go.
    pub come_and_go: usize,
    /// Clients that wait for syncs.
    pub clients: usize,
    /// How long they go on asking.
    pub length: Duration,
    pub quota: u32,
    pub window: Duration,
    pub resync_every: Duration,
    pub disasters: Vec<(Duration, Disaster)>,
    /// Fewer sync jobs than this are no soak; and the slowest recovery counts. `None`: the machine may do other things
    /// meanwhile, or be slow.
    pub least_jobs: Option<i64>,
}

impl Plan {
    /// Half a minute, with each disaster once.
    pub fn short() -> Self {
        let length = Duration::from_secs(27);
        let at = Duration::from_secs;
        Self {
            workers: 3,
            creators: 40,
            come_and_go: 6,
            clients: 6,
            length,
            quota: 200,
            window: Duration::from_secs(2),
            resync_every: Duration::from_secs(20),
            least_jobs: None,
            disasters: schedule(
                length,
                &[
                    (at(2), Disaster::Pause),
                    (at(12), Disaster::Resume),
                    (at(8), Disaster::RestartRedis),
                    (at(11), Disaster::FlushRedis),
                    (at(21), Disaster::RestartPostgres),
                ],
            ),
        }
    }

    /// Of this length, with each disaster once or twice, at TikTok's own window and a quota that 20,000 syncs in ten minutes need.
    pub fn long(length: Duration) -> Self {
        let at = |percent: u32| length * percent / 100;
        Self {
            workers: 4,
            creators: 500,
            come_and_go: 40,
            clients: 24,
            length,
            quota: 6_000,
            window: Duration::from_secs(60),
            resync_every: Duration::from_secs(120),
            // 20,000 in ten minutes.
            least_jobs: Some(i64::try_from(length.as_secs() * 20_000 / 600).unwrap_or(i64::MAX)),
            disasters: schedule(
                length,
                &[
                    (at(10), Disaster::Pause),
                    (at(10) + Duration::from_secs(20), Disaster::Resume),
                    (at(20), Disaster::RestartRedis),
                    (at(30), Disaster::FlushRedis),
                    (at(48), Disaster::RestartPostgres),
                    (at(56), Disaster::Pause),
                    (at(60), Disaster::RestartPostgres),
                    (at(64), Disaster::RestartRedis),
                    (at(64) + Duration::from_secs(10), Disaster::Resume),
                ],
            ),
        }
    }

    /// TikTok from now on: slow, and now and then wrong.
    pub async fn spoil(&self, sandbox: &TestSandbox) {
        // Tokens are renewed all the time. A renewal whose answer is lost (a fault, or the death of who asked) must not be the
        // end of the grant, so the pair before the last one works for a while.
        sandbox.settings(json!({"latency": {"profile": "tail"}, "access_lifetime": 60, "grace": 600})).await;
        for (endpoint, kind, every) in [
            ("user_info", "internal_error", 97),
            ("user_info", "reset", 211),
            ("user_info", "empty_body", 307),
            ("video_list", "bad_gateway", 101),
            ("video_list", "truncated", 223),
            ("video_list", "lost_answer", 311),
            ("token", "internal_error", 29),
            ("token", "lost_answer", 41),
            ("revoke", "internal_error", 7),
            ("revoke", "lost_answer", 11),
        ] {
            sandbox.fault(json!({"endpoint": endpoint, "kind": kind, "after": every - 1, "every": every})).await;
        }
        // Longer than we wait for an answer.
        for endpoint in ["user_info", "video_list"] {
            let slow = json!({"endpoint": endpoint, "kind": "slow", "delay_ms": 12_000, "after": 400, "every": 401});
            sandbox.fault(slow).await;
        }
    }
}

/// How many of TikTok's answers were spoilt.
pub async fn spoilt(sandbox: &TestSandbox) -> u64 {
    let all = sandbox.control("GET", "/faults", None).await;
    all["faults"].as_array().expect("faults").iter().map(|fault| fault["hits"].as_u64().expect("hits")).sum()
}
