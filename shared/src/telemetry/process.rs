//! This process: its version, its start, its memory, its files.

use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{Unit, describe_gauge, gauge};

const BUILD: &str = "metriqlab_build_info";
const START: &str = "metriqlab_process_start_time_seconds";
const MEMORY: &str = "metriqlab_process_resident_memory_bytes";
const FILES: &str = "metriqlab_process_open_fds";

/// Says what never changes.
pub(super) fn describe() {
    describe_gauge!(BUILD, "1, with the version as label");
    describe_gauge!(START, Unit::Seconds, "When the process began, in seconds since 1970");
    describe_gauge!(MEMORY, Unit::Bytes, "Resident memory");
    describe_gauge!(FILES, "Open file descriptors");
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    gauge!(START).set(now.as_secs_f64());
}

/// Looks into /proc (proc(5)); elsewhere than on Linux these gauges are absent.
pub(super) fn measure() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes =
        resident.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<u32>().ok());
    if let Some(kibibytes) = kibibytes {
        gauge!(MEMORY).set(f64::from(kibibytes) * 1024.0);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        gauge!(FILES).set(u32::try_from(files.count()).map_or(f64::INFINITY, f64::from));
    }
}
