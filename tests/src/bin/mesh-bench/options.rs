//! What the benchmark is asked to do: the same for `mesh-bench` and for `cargo xtask bench`, which has this file, too.

use std::path::PathBuf;

use clap::ValueEnum;

/// What is measured, and how often.
#[derive(clap::Args)]
pub struct Options {
    /// Rounds, in each of which every way is measured once
    #[arg(long, value_name = "N", default_value_t = 31, value_parser = clap::value_parser!(u16).range(15..))]
    pub pairs: u16,

    /// Measure these parts only
    #[arg(long, value_enum, value_name = "PART", value_delimiter = ',')]
    pub only: Vec<Part>,

    /// Write the figures to a file, too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// What can be measured on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Requests on an open connection
    Requests,
    /// A connection for each request
    Connects,
    /// Bulk data
    Streams,
    /// What acceleration is worth
    Accel,
    /// What network policies cost
    Policy,
    /// Ten thousand Services
    Scale,
}
