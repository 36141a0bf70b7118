//! MetriqLab: worker.
