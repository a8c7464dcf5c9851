//! Waking a worker that is parked in its ring.

mod common;

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use annulus_transport::{
    driver::{Doorbell, Driver, Wait},
    ring::{RingConfig, RingDoorbell, RingDriver},
};
use common::*;

fn both_kinds() -> [RingConfig; 2] {
    [false, true].map(|force_eventfd| RingConfig {
        force_eventfd,
        park_fuse: Some(PATIENCE),
        ..RingConfig::default()
    })
}

/// Parks a worker on a thread of its own until its doorbell was heard `times` times. Gives its doorbell
/// to `with`, and a channel that says each time that it was heard.
fn parked(
    config: &RingConfig,
    times: u64,
    with: impl FnOnce(Arc<RingDoorbell>, mpsc::Receiver<()>),
) {
    let (bells, bell) = mpsc::channel();
    let (heard, hears) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut driver = RingDriver::new(config).unwrap();
            bells.send(driver.ring_bell()).unwrap();
            let mut before = 0;
            while before < times {
                driver.enter(Wait::Until(None), &mut Vec::new()).unwrap();
                assert_eq!(driver.counters().fuses, 0, "nobody rang");
                let now = driver.counters().doorbells_heard;
                for _ in before..now {
                    heard.send(()).unwrap();
                }
                before = now;
            }
        });
        with(bell.recv().unwrap(), hears);
    });
}

#[test]
fn r54_a_doorbell_from_another_thread_wakes_a_parked_ring() {
    for config in both_kinds() {
        parked(&config, 100, |bell, hears| {
            for _ in 0..100 {
                bell.ring();
                hears.recv_timeout(PATIENCE).unwrap();
            }
        });
    }
}

#[test]
fn r54_a_doorbell_from_another_worker_wakes_a_parked_ring() {
    for config in both_kinds() {
        parked(&config, 100, |bell, hears| {
            let mut driver = RingDriver::new(&config).unwrap();
            driver.set_peers(vec![None, Some(bell)]);
            for _ in 0..100 {
                driver.ring_doorbell(1);
                driver.enter(Wait::No, &mut Vec::new()).unwrap();
                hears.recv_timeout(PATIENCE).unwrap();
            }
            let counters = driver.counters();
            assert_eq!((counters.doorbells_rung, counters.doorbells_failed), (100, 0));
            assert_eq!(counters.strays, 0);
        });
    }
}

#[test]
fn r54_a_doorbell_rung_before_the_wait_ends_it() {
    for config in both_kinds() {
        let mut driver = RingDriver::new(&config).unwrap();
        driver.enter(Wait::No, &mut Vec::new()).unwrap();
        driver.doorbell().ring();
        let deadline = driver.now().after(PATIENCE);
        driver.enter(Wait::Until(Some(deadline)), &mut Vec::new()).unwrap();
        assert!(driver.now() < deadline);
        assert_eq!(driver.counters().doorbells_heard, 1);

        // And it does not go on: the next wait is a wait.
        let soon = driver.now().after(Duration::from_millis(20));
        driver.enter(Wait::Until(Some(soon)), &mut Vec::new()).unwrap();
        assert!(driver.now() >= soon);
        assert_eq!(driver.counters().doorbells_heard, 1);
    }
}

#[test]
fn r54_a_flood_of_doorbells_on_a_tiny_queue_is_heard() {
    let config = RingConfig { entries: 4, cq_entries: 4, ..RingConfig::default() };
    let mut one = RingDriver::new(&config).unwrap();
    let mut other = RingDriver::new(&config).unwrap();
    one.set_peers(vec![None, Some(other.ring_bell())]);
    for _ in 0..100 {
        one.ring_doorbell(1);
    }
    one.enter(Wait::No, &mut Vec::new()).unwrap();
    let deadline = other.now().after(PATIENCE);
    while other.counters().doorbells_heard < 100 {
        assert!(other.now() < deadline, "{:?}", other.counters());
        other.enter(Wait::Until(Some(deadline)), &mut Vec::new()).unwrap();
    }
    assert_eq!(one.counters().doorbells_failed, 0);
}

#[test]
fn r54_a_doorbell_of_a_ring_that_is_gone_is_counted() {
    for config in both_kinds() {
        let mut driver = RingDriver::new(&config).unwrap();
        let gone = RingDriver::new(&config).unwrap().ring_bell();
        gone.ring();
        driver.set_peers(vec![None, Some(gone)]);
        driver.ring_doorbell(1);
        driver.ring_doorbell(0);
        driver.ring_doorbell(99);
        driver.enter(Wait::No, &mut Vec::new()).unwrap();
        assert_eq!(driver.counters().doorbells_failed, 3);
    }
}

#[test]
fn r54_threads_ring_while_the_ring_goes_away() {
    for config in both_kinds() {
        for _ in 0..20 {
            let driver = RingDriver::new(&config).unwrap();
            let bell = driver.ring_bell();
            thread::scope(|scope| {
                scope.spawn(|| (0..200).for_each(|_| bell.ring()));
                drop(driver);
            });
        }
    }
}
