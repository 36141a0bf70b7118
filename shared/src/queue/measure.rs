//! What the queue counts, in this process.

use metrics::{counter, describe_counter};

use super::Lane;

const BY_LANE: [(&str, &str); 6] = [
    ("metriqlab_queue_pushed_total", "Jobs that were pushed and that the lane did not know"),
    ("metriqlab_queue_fetched_total", "Jobs that were claimed"),
    ("metriqlab_queue_reclaimed_total", "Jobs that were taken back from workers found dead"),
    ("metriqlab_queue_claims_lost_total", "Jobs that another worker took over while they ran here"),
    ("metriqlab_queue_finishes_refused_total", "Ends that Redis did not accept: the job was another's by then"),
    ("metriqlab_queue_worker_rebuilds_total", "Apalis workers that ended or went deaf, and were replaced"),
];
const FINISHED: &str = "metriqlab_queue_finished_total";
const OUTAGES: &str = "metriqlab_queue_redis_outages_total";

/// Describes the counters, and begins them: a rate over one that appears with its first event misses that event.
pub(super) fn describe() {
    for (name, meaning) in BY_LANE {
        describe_counter!(name, meaning);
        for lane in Lane::ALL {
            counter!(name, "lane" => lane.as_str()).increment(0);
        }
    }
    describe_counter!(FINISHED, "Ends that Redis was told, by lane and outcome");
    describe_counter!(OUTAGES, "Times that Redis went out of reach");
    counter!(OUTAGES).increment(0);
}
