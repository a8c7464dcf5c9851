//! More bytes than a socket takes.

use annulus::transport::driver::{Data, Descriptor, Operation};

use crate::{
    bench::{Bench, KINDS, SOON, text},
    drivers::join,
};

scripts![
    a_large_transfer_arrives_whole,
    large_transfers_in_both_directions,
    a_large_transfer_of_leases,
    a_send_waits_for_a_slow_reader,
    a_send_times_out_if_nobody_reads,
    a_send_fails_if_the_reader_goes,
];

const LARGE: usize = 5 << 20;

fn large() -> Vec<u8> {
    (0..LARGE as u32).map(|number| (number % 251) as u8).collect()
}

async fn transfer(bench: &Bench, from: Descriptor, to: &Descriptor) -> String {
    let send = async {
        let sent = bench.send(&from, large()).await;
        bench.shut(&from).await;
        sent
    };
    let (sent, (bytes, why)) = join(send, bench.receive_bytes(to, usize::MAX)).await;
    format!("{sent}, whole: {}{why}", bytes == large())
}

async fn a_large_transfer_arrives_whole(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        bench.note("transfer", transfer(bench, client, &server).await);
    }
}

async fn large_transfers_in_both_directions(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        let there = transfer(bench, client.clone(), &server);
        let back = transfer(bench, server.clone(), &client);
        let (there, back) = join(there, back).await;
        bench.note("there", there);
        bench.note("back", back);
    }
}

async fn a_large_transfer_of_leases(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        let text = "0123456789".repeat(1000);
        let leases = bench.leases(&[text.as_str(); 6]);
        let leases = (0..20).flat_map(|_| leases.clone()).collect();
        let send = async {
            let data = Data::Leases(leases);
            bench.show("send", Operation::Send { socket: client.clone(), data }).await;
            bench.shut(&client).await;
        };
        let ((), (bytes, why)) = join(send, bench.receive_bytes(&server, usize::MAX)).await;
        bench.note("whole", (bytes == text.repeat(120).as_bytes()).to_string());
        bench.note("after it", why);
    }
    bench.note("lent", bench.pool().bytes_lent().to_string());
}

async fn a_send_waits_for_a_slow_reader(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        let send = async {
            let sent = bench.send(&client, large()).await;
            bench.shut(&client).await;
            sent
        };
        let read = async {
            let mut all = Vec::new();
            // A byte, and then more and more.
            for step in 0.. {
                let (bytes, _) = bench.receive_bytes(&server, 1 << step).await;
                if bytes.is_empty() {
                    return all;
                }
                all.extend(bytes);
            }
            unreachable!()
        };
        let (sent, all) = join(send, read).await;
        bench.note("send", sent);
        bench.note("whole", (all == large()).to_string());
    }
}

async fn a_send_times_out_if_nobody_reads(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        // Far more than the kernel takes for somebody who does not read.
        let data = Data::Bytes(large().repeat(4));
        let send = Operation::Send { socket: client.clone(), data };
        bench.note("send", text(&bench.io.run(send, SOON).await));
        drop(client);
        // What has been sent is a part from the beginning.
        let (bytes, why) = bench.receive_bytes(&server, usize::MAX).await;
        bench.note("some", (!bytes.is_empty()).to_string());
        bench.note("a part", large().repeat(4).starts_with(&bytes).to_string());
        bench.note("after it", why);
    }
}

async fn a_send_fails_if_the_reader_goes(bench: &Bench) {
    for kind in KINDS {
        let (client, server) = bench.pair(kind).await;
        let read = async {
            // Some bytes are read, others never.
            bench.receive_bytes(&server, 1000).await;
            drop(server);
        };
        let send = async {
            let data = Data::Bytes(large().repeat(4));
            text(&bench.run(Operation::Send { socket: client.clone(), data }).await)
        };
        let (sent, ()) = join(send, read).await;
        bench.note("send", sent);
        bench.note("again", bench.send(&client, "x").await);
    }
}
