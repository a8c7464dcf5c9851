//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: Run,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one node, as on a host of its own, until it is interrupted
    Node(Node),
    /// Join a cluster and ask its nodes' echo actors for a while
    Drive(Drive),
    /// Send standard input through a cluster, line by line, and print what comes back
    Send(Send),
    /// One of the nodes that a run without a command starts
    #[command(hide = true)]
    Member(Member),
}

/// How echo traffic travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    Tcp,
    Unix,
    Udp,
}

impl Transport {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Unix => "unix",
            Transport::Udp => "udp",
        }
    }
}

/// What traffic a node makes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Traffic {
    /// How long, in seconds
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// Asks in flight from each worker to each other node
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) in_flight: u32,
    /// Bytes of text or data in every message, instead of a mix from 16 B to 256 KiB
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=8_388_608))]
    pub(crate) size: Option<u32>,
    /// Print one JSON object a line instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Run {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=16))]
    pub(crate) nodes: u32,
    /// How many workers each node has
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) workers: u32,
    /// How echo traffic travels; with udp, messages have 32 KiB at most
    #[arg(long, value_enum, default_value_t = Transport::Tcp)]
    pub(crate) transport: Transport,
    #[command(flatten)]
    pub(crate) traffic: Traffic,
    /// Keep a journal of everything served in this folder, and check it at the end
    #[arg(long, value_name = "DIR")]
    pub(crate) journal: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Membership {
    /// Listen for other nodes here: tcp://host:port or unix:///path
    #[arg(long, value_name = "ENDPOINT")]
    pub(crate) listen: Vec<String>,
    /// Where other nodes reach this one, if that is not where it listens
    #[arg(long, value_name = "ENDPOINT")]
    pub(crate) advertise: Vec<String>,
    /// Join the cluster of the node that listens there
    #[arg(long, value_name = "ENDPOINT")]
    pub(crate) join: Vec<String>,
    /// How many workers the node has
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) workers: u32,
    /// Take datagrams here: udp://host:port
    #[arg(long, value_name = "ENDPOINT")]
    pub(crate) datagrams: Option<String>,
    /// The name of the cluster
    #[arg(long, default_value = "echo")]
    pub(crate) cluster: String,
    /// A file with the cluster's secret
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// The cores that the workers run on, one for each
    #[arg(long, value_delimiter = ',', value_name = "CORES")]
    pub(crate) pin: Vec<usize>,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Node {
    /// The node's name, unique in its cluster
    #[arg(long)]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) membership: Membership,
    /// Keep a journal of everything served in this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) journal: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Drive {
    #[command(flatten)]
    pub(crate) membership: Membership,
    /// The nodes to ask
    #[arg(long, value_delimiter = ',', required = true)]
    pub(crate) targets: Vec<String>,
    #[command(flatten)]
    pub(crate) traffic: Traffic,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Send {
    /// Where a node of the cluster listens
    #[arg(long, value_name = "ENDPOINT")]
    pub(crate) via: String,
    /// The node whose echo actors answer
    #[arg(long, value_name = "NODE")]
    pub(crate) to: String,
    /// The name of the cluster
    #[arg(long, default_value = "echo")]
    pub(crate) cluster: String,
    /// A file with the cluster's secret
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Lines on their way at the same time
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) in_flight: u32,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Member {
    #[arg(long)]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) membership: Membership,
    #[arg(long, value_delimiter = ',')]
    pub(crate) targets: Vec<String>,
    #[arg(long, value_enum)]
    pub(crate) transport: Transport,
    #[command(flatten)]
    pub(crate) traffic: Traffic,
    #[arg(long)]
    pub(crate) journal: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(seconds),
        Ok(_) => Err("between 0.1 and 86400 seconds".into()),
        Err(error) => Err(error.to_string()),
    }
}
