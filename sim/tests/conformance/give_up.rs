//! Operations that end before they are done, and sockets that change hands.

use annulus::transport::{
    driver::{Descriptor, Fill, Operation},
    stream::Stream,
};

use crate::{
    bench::{Bench, KINDS, LATE, SOON, text},
    drivers::begin,
};

scripts![
    a_receive_times_out,
    what_comes_after_a_time_out_is_not_lost,
    a_receive_that_is_given_up_takes_nothing_that_comes_later,
    an_accept_that_is_given_up_leaves_later_connections,
    an_accept_that_is_given_up_before_it_began,
    a_connect_that_is_given_up_leaves_no_connection_open,
    quiescing_cancels_what_is_in_flight,
    quiescing_cancels_an_accept,
    after_quiescing_things_go_on,
    an_outcome_outlives_quiescing,
    a_stream_moves_to_another_worker,
    a_stream_in_use_is_not_detached,
];

fn receive(socket: &Descriptor) -> Operation {
    Operation::Receive { socket: socket.clone(), into: Fill::Bytes(Vec::with_capacity(64)) }
}

async fn a_receive_times_out(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        let before = bench.io.now();
        let outcome = bench.io.run(receive(&server), SOON).await;
        bench.note("receive", text(&outcome));
        bench.note("too soon", (bench.io.now().since(before) < SOON.unwrap()).to_string());
        drop(client);
    }
}

async fn what_comes_after_a_time_out_is_not_lost(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        bench.note("receive", text(&bench.io.run(receive(&server), SOON).await));
        bench.send(&client, "still here").await;
        bench.note("receive", bench.receive_text(&server, 10).await);
    }
}

async fn a_receive_that_is_given_up_takes_nothing_that_comes_later(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        let mut given_up = Box::pin(bench.io.run(receive(&server), None));
        assert!(!begin(given_up.as_mut()));
        drop(given_up);
        bench.until(|| bench.io.in_flight() == 0).await;
        bench.send(&client, "later").await;
        bench.note("receive", bench.receive_text(&server, 5).await);
    }
}

async fn an_accept_that_is_given_up_leaves_later_connections(bench: &Bench) {
    for kind in KINDS {
        let (listener, at) = bench.listener(kind);
        let mut accepting = bench.io.accept(&listener);
        let first = bench.connect(&at, LATE).await.unwrap();
        let accepted = accepting.next().await.unwrap();
        let mut next = Box::pin(accepting.next());
        assert!(!begin(next.as_mut()));
        drop(next);
        drop(accepting);
        bench.until(|| bench.io.in_flight() == 0).await;
        let second = bench.connect(&at, LATE).await.unwrap();
        bench.send(&second, "second").await;
        let later = bench.io.accept(&listener).next().await.unwrap();
        bench.note("later", bench.receive_text(&later, 6).await);
        bench.send(&first, "first").await;
        bench.note("first", bench.receive_text(&accepted, 5).await);
    }
}

async fn an_accept_that_is_given_up_before_it_began(bench: &Bench) {
    for kind in KINDS {
        let (listener, at) = bench.listener(kind);
        drop(bench.io.accept(&listener));
        let client = bench.connect(&at, LATE).await.unwrap();
        bench.send(&client, "x").await;
        let server = bench.io.accept(&listener).next().await.unwrap();
        bench.note("receive", bench.receive_text(&server, 1).await);
    }
}

async fn a_connect_that_is_given_up_leaves_no_connection_open(bench: &Bench) {
    for kind in KINDS {
        let (listener, at) = bench.listener(kind);
        let mut given_up = Box::pin(bench.connect(&at, LATE));
        assert!(!begin(given_up.as_mut()));
        drop(given_up);
        bench.until(|| bench.io.in_flight() == 0).await;
        // Whether it was there is left open; if it was, it has ended.
        let client = bench.connect(&at, LATE).await.unwrap();
        bench.send(&client, "x").await;
        let mut accepting = bench.io.accept(&listener);
        let mut received = String::from("nothing yet");
        while received != "\"x\"" {
            let server = accepting.next().await.unwrap();
            received = bench.receive_text(&server, 1).await;
        }
        bench.note("receive", received);
    }
}

async fn quiescing_cancels_what_is_in_flight(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        let mut one = Box::pin(bench.io.run(receive(&client), None));
        let mut other = Box::pin(bench.io.run(receive(&server), LATE));
        assert!(!begin(one.as_mut()));
        assert!(!begin(other.as_mut()));
        bench.note("in flight", (bench.io.in_flight() >= 2).to_string());
        let quiesced = bench.io.quiesce(LATE.unwrap());
        bench.note("quiesce", format!("{quiesced:?}"));
        bench.note("in flight", bench.io.in_flight().to_string());
        bench.note("receive", text(&one.await));
        bench.note("receive", text(&other.await));
    }
}

async fn quiescing_cancels_an_accept(bench: &Bench) {
    for kind in KINDS {
        let (listener, at) = bench.listener(kind);
        let mut accepting = bench.io.accept(&listener);
        let mut next = Box::pin(accepting.next());
        assert!(!begin(next.as_mut()));
        bench.note("quiesce", format!("{:?}", bench.io.quiesce(LATE.unwrap())));
        bench.note("accept", format!("{:?}", next.await.unwrap_err().cause));
        // It may be tried again.
        let client = bench.connect(&at, LATE).await.unwrap();
        bench.send(&client, "x").await;
        let server = accepting.next().await.unwrap();
        bench.note("receive", bench.receive_text(&server, 1).await);
    }
}

async fn after_quiescing_things_go_on(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        bench.send(&client, "before").await;
        bench.note("quiesce", format!("{:?}", bench.io.quiesce(LATE.unwrap())));
        bench.note("receive", bench.receive_text(&server, 6).await);
        bench.note("send", bench.send(&server, "after").await);
        bench.note("receive", bench.receive_text(&client, 5).await);
    }
}

async fn an_outcome_outlives_quiescing(bench: &Bench) {
    let (client, _server) = bench.pair(KINDS[0]).await;
    let shut = bench.io.run(Operation::Shutdown { socket: client }, None);
    bench.until(|| bench.io.in_flight() == 0).await;
    bench.note("quiesce", format!("{:?}", bench.io.quiesce(LATE.unwrap())));
    bench.note("shutdown", text(&shut.await));
}

async fn a_stream_moves_to_another_worker(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        bench.send(&client, "before").await;
        let detached = server.detach().expect("nothing is in flight");
        let there = Stream::attach(bench.other(), detached);
        let mut all = Vec::new();
        while all.len() < 6 {
            let (bytes, _) = there.read_some(Vec::with_capacity(64)).await.unwrap();
            all.extend(bytes);
        }
        bench.note("there", String::from_utf8_lossy(&all));
        bench.note("send", format!("{:?}", there.send_bytes(b"from there".to_vec()).await));
        bench.note("here", bench.receive_text(&client, 10).await);
        drop(there);
        bench.note("end", bench.receive_rest(&client).await);
    }
}

async fn a_stream_in_use_is_not_detached(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        let mut waiting = Box::pin(bench.io.run(receive(&server), None));
        assert!(!begin(waiting.as_mut()));
        let server = server.detach().expect_err("an operation holds it");
        bench.send(&client, "x").await;
        bench.note("receive", text(&waiting.await));
        bench.note("detached", server.detach().is_ok().to_string());
    }
}
