//! The overview for programs.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use shared::overview::Overview;
use shared::queue::WorkerInfo;

/// As `--json` writes it; `status --help` describes it.
pub fn to_json(overview: &Overview) -> Value {
    let instant = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let lanes = overview.lanes.iter().map(|lane| {
        json!({
            "lane": lane.lane.as_str(),
            "state": lane.setting.state.as_ref(),
            "changedAt": lane.setting.changed_at.map(instant),
            "heldBy": lane.held_by,
            "ready": lane.depth.map(|depth| depth.ready),
            "delayed": lane.depth.map(|depth| depth.delayed),
            "running": lane.depth.map(|depth| depth.running),
            "waiting": lane.waiting,
            "dead": lane.dead,
            "oldestSeconds": lane.oldest.map(|oldest| oldest.as_secs_f64()),
        })
    });
    let quota = overview.quota.iter().map(|quota| {
        json!({
            "endpoint": quota.endpoint,
            "quota": quota.quota,
            "windowSeconds": quota.window.as_secs_f64(),
            "used": quota.snapshot.map(|snapshot| snapshot.used),
            "pausedSeconds": quota.snapshot.and_then(|snapshot| snapshot.paused_for).map(|pause| pause.as_secs_f64()),
            "ceiling": quota.snapshot.map(|snapshot| snapshot.ceiling),
            "breaker": quota.snapshot.map(|snapshot| if snapshot.probe_in().is_some() { "open" } else { "closed" }),
            "probeSeconds": quota.snapshot.and_then(|snapshot| snapshot.probe_in()).map(|wait| wait.as_secs_f64()),
            "forecastPercent": quota.forecast,
        })
    });
    let workers = overview.workers.as_ref().map(|workers| {
        let worker = |worker: &WorkerInfo| {
            json!({
                "name": worker.name,
                "jobs": worker.running,
                "lastHeartbeatSeconds": worker.last_heartbeat.as_secs_f64(),
            })
        };
        workers.iter().map(worker).collect::<Vec<_>>()
    });
    let counts = overview.counts.as_ref();
    json!({
        "at": instant(overview.at),
        "redis": {"reachable": overview.redis_problem.is_none(), "error": overview.redis_problem},
        "lanes": lanes.collect::<Vec<_>>(),
        "workers": workers,
        "quota": quota.collect::<Vec<_>>(),
        "creators": counts.map(|counts| json!({
            "active": counts.creators.active,
            "reauthorizationRequired": counts.creators.reauthorization_required,
            "disconnecting": counts.creators.disconnecting,
            "due": counts.creators.due,
        })),
        "forecast": counts.map(|counts| json!({
            "creators": counts.forecast.creators,
            "syncsPerMinute": counts.forecast.syncs_per_minute,
            "pagesPerMinute": counts.forecast.pages_per_minute,
            "longestAgeSeconds": overview.resync_every.map(|every| every.as_secs_f64()),
            "goesBy": if overview.paces.is_empty() { "settings" } else { "workers" },
            "workersAgree": overview.paces.len() < 2,
            "fits": overview.tightest().is_none_or(|tightest| tightest.needed() <= 100.0),
        })),
    })
}
