//! Sends standard input through a cluster, line by line, and prints what comes back.

use std::{
    future::Future,
    io::{BufRead, BufWriter, Read, Write, stdin, stdout},
    pin::pin,
    process::ExitCode,
    task::Poll,
    time::Duration,
};

use annulus::{ActorRef, Ask, AskError, LookupError, Node};

use crate::{
    Failure,
    args::Send,
    messages::{ArchivedBody, Body, Echo, EchoProtocol, echo_name},
    node,
};

/// How long the cluster may take to be there.
const NODE_PATIENCE: Duration = Duration::from_secs(10);

/// How long a line may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longer lines go in pieces of this many bytes.
const PIECE: u64 = 1 << 20;

/// Bytes on their way at the same time, or one piece.
const WINDOW: usize = 4 << 20;

pub(crate) fn run(options: &Send) -> Result<ExitCode, Failure> {
    let node = Node::builder(format!("send-{}", std::process::id()))
        .cluster(&*options.cluster)
        .secret(node::secret(options.secret_file.as_deref())?)
        .join(&options.via)
        .start()?;
    let to = options.to.clone();
    let echo = node
        .run(async move || echo_name(0).find_on(&to, NODE_PATIENCE).await)?
        .map_err(|error| explain(error, options))?;
    let mut input = stdin().lock();
    let mut output = BufWriter::with_capacity(1 << 20, stdout().lock());
    let mut sequence = 0;
    loop {
        let pieces = next_pieces(&mut input, options.in_flight as usize)?;
        if pieces.is_empty() {
            break;
        }
        let count = pieces.len() as u64;
        let replies = node.run(async move || ask_all(echo, pieces, sequence).await)?;
        for reply in replies.map_err(|error| format!("after {sequence} lines: {error}"))? {
            output.write_all(&reply)?;
        }
        sequence += count;
    }
    output.flush()?;
    node::end(node)?;
    Ok(ExitCode::SUCCESS)
}

fn explain(error: LookupError, options: &Send) -> String {
    match error {
        LookupError::NoSuchNode(_) => format!(
            "no node `{}` in the cluster of {} (within {} s)",
            options.to,
            options.via,
            NODE_PATIENCE.as_secs()
        ),
        other => other.to_string(),
    }
}

/// The next lines, with their ends; long ones in pieces. None at the end of the input.
fn next_pieces(input: &mut impl BufRead, most: usize) -> std::io::Result<Vec<Vec<u8>>> {
    let mut pieces = Vec::new();
    let mut bytes = 0;
    while pieces.len() < most && bytes < WINDOW {
        let mut piece = Vec::new();
        if input.take(PIECE).read_until(b'\n', &mut piece)? == 0 {
            break;
        }
        bytes += piece.len();
        pieces.push(piece);
    }
    Ok(pieces)
}

/// Sends all pieces at once and collects the answers in order.
async fn ask_all(
    echo: ActorRef<EchoProtocol>,
    pieces: Vec<Vec<u8>>,
    first: u64,
) -> Result<Vec<Vec<u8>>, AskError> {
    let mut asks = Vec::with_capacity(pieces.len());
    for (sequence, piece) in (first..).zip(pieces) {
        let message = Echo { asker: 0, sequence, body: Body::Binary(piece) };
        asks.push(send_now(echo.ask(message).within(PATIENCE)).await);
    }
    let mut replies = Vec::with_capacity(asks.len());
    for ask in asks {
        let reply = match ask {
            Sent::Waiting(ask) => ask.await?,
            Sent::Done(outcome) => outcome?,
        };
        replies.push(match &reply.body {
            ArchivedBody::Text(text) => text.as_bytes().to_vec(),
            ArchivedBody::Binary(bytes) => bytes.to_vec(),
        });
    }
    Ok(replies)
}

/// An ask that has been sent.
enum Sent {
    Waiting(Ask<Echo>),
    Done(<Ask<Echo> as Future>::Output),
}

/// Sends an ask without waiting for its answer: that is what its first poll does.
async fn send_now(mut ask: Ask<Echo>) -> Sent {
    let first = std::future::poll_fn(|context| Poll::Ready(pin!(&mut ask).poll(context))).await;
    match first {
        Poll::Ready(outcome) => Sent::Done(outcome),
        Poll::Pending => Sent::Waiting(ask),
    }
}
