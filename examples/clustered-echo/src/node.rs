//! One node, as on a host of its own.

use std::{
    fs,
    io::{Write, stdout},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use annulus::{Node, NodeBuilder, Pinning};

use crate::{
    Failure,
    args::{Membership, Node as Options},
    echo::EchoActor,
    journal::{self, Journal},
    messages::echo_name,
};

/// How long a node may take to end.
const SHUTDOWN: Duration = Duration::from_secs(4);

/// A node with the given membership, described but not started.
pub(crate) fn describe(name: &str, membership: &Membership) -> Result<NodeBuilder, Failure> {
    let mut builder = Node::builder(name)
        .cluster(&*membership.cluster)
        .workers(membership.workers as usize)
        .secret(secret(membership.secret_file.as_deref())?);
    for endpoint in &membership.listen {
        builder = builder.listen(endpoint);
    }
    for endpoint in &membership.advertise {
        builder = builder.advertise(endpoint);
    }
    for endpoint in &membership.join {
        builder = builder.join(endpoint);
    }
    if let Some(endpoint) = &membership.datagrams {
        builder = builder.datagrams(endpoint);
    }
    if !membership.pin.is_empty() {
        builder = builder.pin(Pinning::Cores(membership.pin.clone()));
    }
    Ok(builder)
}

/// The cluster's secret: the file's content without the end of its last line.
pub(crate) fn secret(file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let Some(file) = file else {
        return Ok(Vec::new());
    };
    let mut secret = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    while secret.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        secret.pop();
    }
    Ok(secret)
}

/// Starts one echo actor on each worker, and names it.
pub(crate) fn serve(node: &Node, journal: Option<&Path>) -> Result<(), Failure> {
    for worker in 0..node.workers() {
        let path = journal.map(|folder| journal::path(folder, node.name(), worker));
        let started = node.run_on(worker, async move || {
            let journal = match path {
                Some(path) => Some(Journal::open(path).await?),
                None => None,
            };
            let echo = annulus::spawn(EchoActor { journal }).map_err(|error| error.to_string())?;
            echo_name(worker).register(echo).await.map_err(|error| error.to_string())
        });
        started??;
    }
    Ok(())
}

/// Ends a node in order.
pub(crate) fn end(node: Node) -> Result<(), Failure> {
    node.shutdown(SHUTDOWN)?;
    Ok(())
}

/// A channel that says when the user wants the program to end.
pub(crate) fn interrupts() -> Result<std::sync::mpsc::Receiver<()>, Failure> {
    let (sender, receiver) = std::sync::mpsc::channel();
    ctrlc::set_handler(move || {
        // Once the program is ending, nobody listens any more.
        let _ = sender.send(());
    })?;
    Ok(receiver)
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let interrupted = interrupts()?;
    let node = describe(&options.name, &options.membership)?.start()?;
    serve(&node, options.journal.as_deref())?;
    for endpoint in node.endpoints() {
        writeln!(stdout(), "listening on {endpoint}")?;
    }
    interrupted.recv()?;
    end(node)?;
    Ok(ExitCode::SUCCESS)
}
