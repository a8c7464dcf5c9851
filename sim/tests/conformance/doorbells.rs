//! Doorbells.

use crate::bench::Bench;

scripts![
    a_worker_hears_its_own_doorbell,
    a_worker_rings_another,
    a_doorbell_of_nobody_is_counted,
    doorbells_ring_both_ways,
];

async fn a_worker_hears_its_own_doorbell(bench: &Bench) {
    bench.io.doorbell().ring();
    bench.until(|| bench.io.counters().doorbells_heard == 1).await;
    bench.note("strays", bench.io.counters().strays.to_string());
}

async fn a_worker_rings_another(bench: &Bench) {
    let other = bench.other();
    for round in 1..=10 {
        bench.io.ring_doorbell(1);
        bench.until(|| other.counters().doorbells_heard == round).await;
    }
    let (here, there) = (bench.io.counters(), other.counters());
    bench.note("rung", format!("{} {}", here.doorbells_rung, there.doorbells_rung));
    bench.note("failed", format!("{} {}", here.doorbells_failed, there.doorbells_failed));
    bench.note("heard", format!("{} {}", here.doorbells_heard, there.doorbells_heard));
}

async fn a_doorbell_of_nobody_is_counted(bench: &Bench) {
    // Itself, and somebody who is not there.
    for worker in [0, 2, 99] {
        bench.io.ring_doorbell(worker);
    }
    let counters = bench.io.counters();
    bench.note("rung", counters.doorbells_rung.to_string());
    bench.note("failed", counters.doorbells_failed.to_string());
    bench.note("heard", counters.doorbells_heard.to_string());
}

async fn doorbells_ring_both_ways(bench: &Bench) {
    let other = bench.other();
    bench.io.ring_doorbell(1);
    other.ring_doorbell(0);
    let heard = || (bench.io.counters().doorbells_heard, other.counters().doorbells_heard);
    bench.until(|| heard() == (1, 1)).await;
    // One from another thread comes on top.
    other.doorbell().ring();
    bench.until(|| heard() == (1, 2)).await;
    bench.note("heard", format!("{:?}", heard()));
}
