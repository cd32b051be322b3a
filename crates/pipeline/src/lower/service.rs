//! `services`: containers beside a stage.
