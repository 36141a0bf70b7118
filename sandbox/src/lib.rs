//! MetriqLab: sandbox.
