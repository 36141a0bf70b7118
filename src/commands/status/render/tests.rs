//! What the overview looks like.

use chrono::DateTime;
use shared::budget::{BreakerState, Snapshot};
use shared::queue::{Depth, Lane};
use shared::store::lanes::LaneSetting;
use shared::store::overview::CreatorCounts;
use shared::store::schedule::Forecast;

use super::*;

fn overview(many: i64) -> Overview {
    let number = positive(many);
    let depth = Depth { ready: number, suspects: 0, delayed: number, running: number, oldest: None };
    let lane = |lane| LaneView {
        lane,
        setting: LaneSetting { state: LaneState::Draining, changed_at: None },
        held_by: vec!["user_info", "video_list"],
        depth: Some(depth),
        waiting: Some(many),
        dead: Some(many),
        oldest: Some(Duration::from_secs(number)),
    };
    let quota = |endpoint| QuotaView {
        endpoint,
        quota: 1_000_000,
        window: Duration::from_secs(60),
        snapshot: Some(Snapshot {
            used: 999_999,
            quota: 1_000_000,
            ceiling: 999_998,
            paused_for: None,
            breaker: BreakerState::Open { probe_in: Duration::from_secs(3599) },
        }),
        forecast: Some(12_345.6),
    };
    let worker = WorkerInfo {
        name: "a-host-with-a-name-that-is-longer-than-anybody-would-give-12345-abcdef01".to_owned(),
        running: 4096,
        last_heartbeat: Duration::from_secs(86_399),
    };
    Overview {
        at: DateTime::UNIX_EPOCH,
        redis_problem: Some("a long story ".repeat(20)),
        lanes: Lane::ALL.map(lane).to_vec(),
        workers: Some(vec![worker; 40]),
        app_is_set: true,
        quota: vec![quota("user_info"), quota("video_list")],
        held: Vec::new(),
        counts: Some(Counts {
            at: DateTime::UNIX_EPOCH,
            creators: CreatorCounts { active: many, reauthorization_required: many / 100, disconnecting: 1, due: many },
            forecast: Forecast { creators: many, syncs_per_minute: 694.4, pages_per_minute: 74_073.6 },
            lanes: Vec::new(),
        }),
        resync_every: Some(Duration::from_secs(86_400)),
        paces: Vec::new(),
    }
}

#[test]
fn everything_fits_into_eighty_columns() {
    for many in [0, 7, 99_999, 1_000_000] {
        for line in frame(&overview(many), Some("Postgres is out of reach"), Paint { on: false }) {
            assert!(line.chars().count() <= WIDTH, "{}: {line}", line.chars().count());
        }
    }
}

#[test]
fn colours_are_where_they_are_wanted_alone() {
    let plain = lines(&overview(5), Paint { on: false }).join("\n");
    assert!(!plain.contains('\x1b') && plain.contains("and 24 more"), "{plain}");
    let coloured = lines(&overview(5), Paint { on: true }).join("\n");
    assert!(coloured.contains("\x1b[31m"));
}

#[test]
fn a_cadence_that_needs_too_much_is_said_with_what_helps() {
    let text = warning(&overview(5)).join(" ");
    assert!(text.contains("12346 % of the quota of") && text.contains("METRIQLAB_RESYNC_EVERY to 2963h"), "{text}");
    let mut fits = overview(5);
    fits.quota.iter_mut().for_each(|quota| quota.forecast = Some(99.0));
    assert!(warning(&fits).is_empty());
}

#[test]
fn an_outage_and_a_lowered_ceiling_are_said_under_the_quota() {
    let said = |change: fn(&mut Snapshot)| {
        let mut view = overview(5).quota.remove(0);
        let mut snapshot =
            Snapshot { used: 1, quota: 600, ceiling: 600, paused_for: None, breaker: BreakerState::Closed };
        change(&mut snapshot);
        view.snapshot = Some(snapshot);
        limits(&view).iter().map(|line| line.trim().to_owned()).collect::<Vec<_>>()
    };
    assert!(said(|_| {}).is_empty());
    assert_eq!(said(|snapshot| snapshot.ceiling = 420), ["ceiling 420 of 600 after a 429"]);
    let open = |snapshot: &mut Snapshot| {
        snapshot.breaker = BreakerState::Open { probe_in: Duration::from_secs(12) };
    };
    assert_eq!(said(open), ["held: TikTok fails (next look in 12s)"]);
}

#[test]
fn a_lane_that_an_outage_holds_says_so_and_why() {
    let mut overview = overview(5);
    for lane in &mut overview.lanes {
        lane.setting.state = LaneState::Open;
        lane.held_by.retain(|endpoint| lane.lane == Lane::Bulk && *endpoint == "user_info");
    }
    let text = lines(&overview, Paint { on: false }).join("\n");
    assert!(text.contains("\nsync    open ") && text.contains("\nbulk    held "), "{text}");
    assert!(text.contains("\nbulk    held: TikTok fails at user_info; it goes on by itself\n"), "{text}");
}

#[test]
fn a_bar_is_as_wide_whatever_it_shows() {
    for eighths in 0..=u32::try_from(BAR * 8).unwrap() {
        let part = f64::from(eighths) / f64::from(u32::try_from(BAR * 8).unwrap());
        assert_eq!(bar(part).chars().count(), BAR, "{part}");
    }
    assert_eq!(bar(7.0), "█".repeat(BAR));
    assert_eq!(bar(f64::NAN).chars().count(), BAR);
}

#[test]
fn numbers_and_ages_are_short_and_plain() {
    assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    let ages = [400, 42_000, 303_000, 10_920_000, 108_000_000].map(|ms| age(Duration::from_millis(ms)));
    assert_eq!(ages, ["0.4s", "42s", "5m 3s", "3h 2m", "1d 6h"]);
    assert_eq!(wrapped(&"word ".repeat(40), 2).len(), 3);
}
