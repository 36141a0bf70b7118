//! MetriqLab.
