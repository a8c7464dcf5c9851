//! How streams end.

use crate::bench::{Bench, KINDS, Kind, LATE, called};

scripts![
    the_end_of_a_stream_is_told_every_time,
    a_half_closed_stream_goes_on_the_other_way,
    a_closed_stream_ends_after_its_bytes,
    both_ends_close_at_once,
    shutdown_twice,
    shutdown_of_both_directions_and_again,
    shutdown_of_a_socket_that_is_not_connected,
    nothing_is_sent_after_shutdown,
    nothing_at_all_cannot_be_sent_after_shutdown,
    a_send_to_somebody_who_closed_fails_in_the_end,
    a_unix_socket_knows_at_once_that_the_other_side_is_closed,
    a_stream_that_ended_stays_ended_when_it_is_reset,
    a_close_with_bytes_unread_is_a_reset,
    what_was_sent_before_a_reset_comes_first,
    a_reset_stream_has_no_address,
    a_reset_is_told_once,
    connections_that_nobody_accepted_end_with_the_listener,
    a_socket_is_closed_when_its_last_operation_ends,
];

async fn the_end_of_a_stream_is_told_every_time(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        bench.send(&client, "last").await;
        drop(client);
        bench.note("receive", bench.receive_rest(&server).await);
        bench.note("receive", bench.receive_rest(&server).await);
        bench.note("receive", bench.receive_rest(&server).await);
    }
}

async fn a_half_closed_stream_goes_on_the_other_way(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        bench.note("send", bench.send(&client, "question").await);
        bench.note("shutdown", bench.shut(&client).await);
        bench.note("receive", bench.receive_rest(&server).await);
        bench.note("send", bench.send(&server, "answer").await);
        bench.note("send", bench.send(&server, ", and more").await);
        drop(server);
        bench.note("receive", bench.receive_rest(&client).await);
    }
}

async fn a_closed_stream_ends_after_its_bytes(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        bench.send(&server, "the last ").await;
        bench.send(&server, "words").await;
        drop(server);
        bench.note("receive", bench.receive_rest(&client).await);
    }
}

async fn both_ends_close_at_once(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        drop((client, server));
        let (client, server) = bench.pair(kind).await;
        bench.shut(&client).await;
        bench.shut(&server).await;
        bench.note("receive", bench.receive_rest(&client).await);
        bench.note("receive", bench.receive_rest(&server).await);
    }
}

async fn shutdown_twice(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        bench.note("shutdown", bench.shut(&client).await);
        bench.note("again", bench.shut(&client).await);
        bench.note("receive", bench.receive_rest(&server).await);
    }
}

async fn shutdown_of_both_directions_and_again(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        bench.note("shutdown", bench.shut(&client).await);
        bench.note("end", bench.receive_rest(&server).await);
        bench.note("shutdown", bench.shut(&server).await);
        bench.note("end", bench.receive_rest(&client).await);
        bench.note("again", bench.shut(&client).await);
    }
}

async fn shutdown_of_a_socket_that_is_not_connected(bench: &Bench) {
    for kind in KINDS {
        let (listener, at) = bench.listener(kind);
        bench.note("shutdown", bench.shut(&bench.socket(&at)).await);
        bench.note("of a listener", bench.shut(&listener).await);
        // It listens on.
        let connected = bench.connect(&at, LATE).await;
        bench.note("connected", connected.is_ok().to_string());
    }
}

async fn nothing_is_sent_after_shutdown(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        bench.send(&client, "before").await;
        bench.shut(&client).await;
        bench.note("send", bench.send(&client, "after").await);
        bench.note("receive", bench.receive_rest(&server).await);
    }
}

async fn nothing_at_all_cannot_be_sent_after_shutdown(bench: &Bench) {
    for kind in KINDS {
        let (client, _server) = bench.pair(kind).await;
        bench.shut(&client).await;
        bench.note("send", bench.send(&client, "").await);
    }
}

async fn a_send_to_somebody_who_closed_fails_in_the_end(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        drop(server);
        bench.note("receive", bench.receive_rest(&client).await);
        bench.note("send", bench.send_until_it_fails(&client).await);
        bench.note("send", bench.send(&client, "x").await);
    }
}

async fn a_unix_socket_knows_at_once_that_the_other_side_is_closed(bench: &Bench) {
    let (client, server) = bench.pair(Kind::Unix).await;
    drop(server);
    bench.note("send", bench.send(&client, "x").await);
    bench.note("receive", bench.receive_rest(&client).await);
}

async fn a_stream_that_ended_stays_ended_when_it_is_reset(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        bench.send(&server, "all").await;
        drop(server);
        bench.note("receive", bench.receive_rest(&client).await);
        // What is sent now is answered by a reset.
        bench.send_until_it_fails(&client).await;
        bench.note("receive", bench.receive_rest(&client).await);
    }
}

async fn a_close_with_bytes_unread_is_a_reset(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        bench.send(&client, "unread").await;
        bench.receive_bytes(&server, 1).await;
        bench.let_arrive().await;
        drop(server);
        bench.note("receive", bench.receive_rest(&client).await);
        bench.note("send", bench.send_until_it_fails(&client).await);
    }
}

async fn what_was_sent_before_a_reset_comes_first(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        bench.send(&client, "unread").await;
        bench.receive_bytes(&server, 1).await;
        bench.let_arrive().await;
        bench.send(&server, "farewell").await;
        drop(server);
        // A reset may overtake what was sent before it.
        let (bytes, why) = bench.receive_bytes(&client, usize::MAX).await;
        bench.note("a part", b"farewell".starts_with(&bytes[..]).to_string());
        bench.note("after it", why);
    }
}

async fn a_reset_stream_has_no_address(bench: &Bench) {
    let (client, server) = bench.pair(Kind::Tcp).await;
    bench.note("before", called(&bench.io.peer_address(&client)));
    bench.send(&client, "unread").await;
    bench.receive_bytes(&server, 1).await;
    bench.let_arrive().await;
    drop(server);
    bench.receive_rest(&client).await;
    bench.note("after", called(&bench.io.peer_address(&client)));
}

async fn a_reset_is_told_once(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        bench.send(&client, "unread").await;
        bench.receive_bytes(&server, 1).await;
        bench.let_arrive().await;
        drop(server);
        bench.note("receive", bench.receive_rest(&client).await);
        bench.note("receive", bench.receive_rest(&client).await);
        bench.note("send", bench.send(&client, "x").await);
        bench.note("shutdown", bench.shut(&client).await);
    }
}

async fn connections_that_nobody_accepted_end_with_the_listener(bench: &Bench) {
    for kind in KINDS {
        let (listener, at) = bench.listener(kind);
        let client = bench.connect(&at, LATE).await.unwrap();
        drop(listener);
        bench.note("receive", bench.receive_rest(&client).await);
        bench.note("receive", bench.receive_rest(&client).await);
    }
}

async fn a_socket_is_closed_when_its_last_operation_ends(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        let mut receive = Box::pin(bench.receive(&client));
        assert!(!crate::drivers::begin(receive.as_mut()));
        drop(receive);
        drop(client);
        bench.note("end", bench.receive_rest(&server).await);
    }
}
