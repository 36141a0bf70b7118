//! MetriqLab: api.
