//! Bytes that go through streams.

use annulus::transport::driver::{Data, Fill, Operation};

use crate::{
    bench::{Bench, KINDS, LATE, text},
    drivers::join,
};

scripts![
    ping_and_pong,
    both_ends_send_at_the_same_time,
    leases_are_gathered,
    more_leases_than_one_entry_takes,
    leases_of_nothing_are_nothing,
    sends_in_a_row_stay_in_order,
    to_send_nothing_is_no_end,
    receives_fill_what_is_free_in_a_vector,
    receives_fill_what_is_free_in_a_chunk,
    a_receive_takes_no_more_than_there_is_room_for,
    a_receive_needs_room,
    a_receive_that_waits_gets_what_comes,
    a_receive_in_time_has_no_deadline,
    a_socket_can_be_used_by_both_ends_of_a_clone,
];

async fn ping_and_pong(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        for round in 0..5 {
            bench.note("send", bench.send(&client, format!("ping{round}")).await);
            bench.note("receive", bench.receive_text(&server, 5).await);
            bench.note("send", bench.send(&server, format!("pong{round}")).await);
            bench.note("receive", bench.receive_text(&client, 5).await);
        }
    }
}

async fn both_ends_send_at_the_same_time(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        let sends =
            join(bench.send(&client, "to the server"), bench.send(&server, "to the client"));
        let receives = join(bench.receive_text(&server, 13), bench.receive_text(&client, 13));
        let ((one, other), (there, here)) = join(sends, receives).await;
        bench.note("sent", one);
        bench.note("sent", other);
        bench.note("server", there);
        bench.note("client", here);
    }
}

async fn leases_are_gathered(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        let data = Data::Leases(bench.leases(&["one ", "two ", "three"]));
        bench.show("send", Operation::Send { socket: client, data }).await;
        bench.note("receive", bench.receive_rest(&server).await);
    }
}

async fn more_leases_than_one_entry_takes(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        let data = Data::Leases(bench.leases(&["word "; 150]));
        bench.show("send", Operation::Send { socket: client, data }).await;
        let (bytes, why) = bench.receive_bytes(&server, usize::MAX).await;
        bench.note("whole", (bytes == b"word ".repeat(150)).to_string());
        bench.note("after it", why);
    }
}

async fn leases_of_nothing_are_nothing(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        let data = Data::Leases(bench.leases(&["", "some", "", "thing", ""]));
        bench.show("send", Operation::Send { socket: client.clone(), data }).await;
        let data = Data::Leases(Vec::new());
        bench.show("no leases", Operation::Send { socket: client, data }).await;
        bench.note("receive", bench.receive_rest(&server).await);
    }
}

async fn sends_in_a_row_stay_in_order(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        let mut expected = Vec::new();
        for number in 0..50u32 {
            let bytes = number.to_be_bytes().repeat(7);
            expected.extend_from_slice(&bytes);
            bench.send(&client, bytes).await;
        }
        drop(client);
        let (bytes, why) = bench.receive_bytes(&server, usize::MAX).await;
        bench.note("in order", (bytes == expected).to_string());
        bench.note("after it", why);
    }
}

async fn to_send_nothing_is_no_end(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        bench.note("send", bench.send(&client, "").await);
        bench.note("send", bench.send(&client, "x").await);
        bench.note("receive", bench.receive_text(&server, 1).await);
    }
}

async fn receives_fill_what_is_free_in_a_vector(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        bench.send(&client, "x").await;
        let mut vector = Vec::with_capacity(8);
        vector.extend_from_slice(b"kept ");
        let into = Fill::Bytes(vector);
        bench.show("receive", Operation::Receive { socket: server, into }).await;
    }
}

async fn receives_fill_what_is_free_in_a_chunk(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        bench.send(&client, "x").await;
        let mut chunk = bench.pool().acquire().unwrap();
        chunk.append(b"kept ");
        let into = Fill::Chunk(chunk);
        bench.show("receive", Operation::Receive { socket: server, into }).await;
        drop(client);
    }
    bench.note("lent", bench.pool().bytes_lent().to_string());
}

async fn a_receive_takes_no_more_than_there_is_room_for(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        bench.send(&client, "abc").await;
        for _ in 0..3 {
            let into = Fill::Bytes(Vec::with_capacity(1));
            let receive = Operation::Receive { socket: server.clone(), into };
            bench.show("receive", receive).await;
        }
    }
}

async fn a_receive_needs_room(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        bench.send(&client, "x").await;
        let none = Fill::Bytes(Vec::new());
        bench.show("vector", Operation::Receive { socket: server.clone(), into: none }).await;
        let mut chunk = bench.pool().acquire().unwrap();
        chunk.append(&vec![0; chunk.spare()]);
        let none = Fill::Chunk(chunk);
        bench.show("chunk", Operation::Receive { socket: server.clone(), into: none }).await;
        bench.note("receive", bench.receive_text(&server, 1).await);
    }
}

async fn a_receive_that_waits_gets_what_comes(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        let (received, sent) =
            join(bench.receive_text(&server, 4), bench.send(&client, "late")).await;
        bench.note("receive", received);
        bench.note("send", sent);
    }
}

async fn a_receive_in_time_has_no_deadline(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        let into = Fill::Bytes(Vec::with_capacity(1));
        let receive = bench.io.run(Operation::Receive { socket: server.clone(), into }, LATE);
        let data = Data::Bytes(b"x".to_vec());
        let send = bench.io.run(Operation::Send { socket: client, data }, LATE);
        let (received, sent) = join(receive, send).await;
        bench.note("receive", text(&received));
        bench.note("send", text(&sent));
        let shut = bench.io.run(Operation::Shutdown { socket: server }, LATE).await;
        bench.note("shutdown", text(&shut));
    }
}

async fn a_socket_can_be_used_by_both_ends_of_a_clone(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        let clone = client.clone();
        drop(client);
        bench.note("send", bench.send(&server, "to a clone").await);
        bench.note("receive", bench.receive_text(&clone, 10).await);
        drop(clone);
        bench.note("end", bench.receive_rest(&server).await);
    }
}
