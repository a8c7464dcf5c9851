//! Signals that come all the time do not disturb a worker. Alone in its process, as the handler is
//! everybody's.

mod common;

use std::{sync::mpsc, thread, time::Duration};

use annulus_transport::driver::Wait;
use common::*;

extern "C" fn ignore(_signal: libc::c_int) {}

/// Lets SIGUSR1 do nothing but end system calls with EINTR.
fn handle_signals() {
    let handler = ignore as extern "C" fn(libc::c_int);
    // SAFETY: a valid action without SA_RESTART. The handler does nothing, so it may run at any point.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        let result = libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut());
        assert_eq!(result, 0);
    }
}

#[test]
fn r07_a_signal_ends_no_wait_and_loses_nothing() {
    handle_signals();
    // SAFETY: takes nothing.
    let worker = unsafe { libc::pthread_self() };
    let (stop, stopped) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut sent = 0;
            while stopped.recv_timeout(Duration::from_micros(200))
                == Err(mpsc::RecvTimeoutError::Timeout)
            {
                // SAFETY: the worker's thread is alive: it waits for this one.
                unsafe { libc::pthread_kill(worker, libc::SIGUSR1) };
                sent += 1;
            }
            assert!(sent > 100, "{sent} signals");
        });
        let io = io();
        let (one, other) = pair(&io);
        let enters = io.counters().enters;
        let waited = io.now().after(Duration::from_millis(200));
        io.enter(Wait::Until(Some(waited)), &mut Vec::new()).unwrap();
        assert!(io.now() >= waited, "a signal does not end the wait");
        assert!(io.counters().enters - enters > 50, "it was interrupted");
        block_on(&io, async {
            for round in 0..2000u32 {
                one.send_bytes(round.to_le_bytes().to_vec()).await.unwrap();
                let (bytes, _) = other.read_some(Vec::with_capacity(4)).await.unwrap();
                assert_eq!(bytes, round.to_le_bytes());
            }
        });
        stop.send(()).unwrap();
    });
}
