//! Analysis results to bytes: one renderer a format. Reports never compute.
