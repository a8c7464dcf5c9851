//! Both drivers are asked for the same, and answer the same.
//!
//! A script works on an `Io` and notes what comes of it. It runs on io_uring, on the kernel of this
//! machine, and in simulated worlds of many seeds; the notes are compared line by line. A script leaves
//! out of its notes what the contract of the driver leaves free: how bytes are cut into receives, which
//! ports are chosen, and what comes first of things that run at the same time.
#![allow(missing_docs, reason = "tests are named after what they show")]

/// Makes tests of scripts, and the list of them.
macro_rules! scripts {
    ($($script:ident,)*) => {
        pub(crate) const SCRIPTS: &[&str] = &[$(stringify!($script)),*];

        mod on_both {
            $(
                #[test]
                fn $script() {
                    crate::drivers::compare(|bench| Box::pin(super::$script(bench)));
                }
            )*
        }
    };
}

mod bench;
mod datagrams;
mod doorbells;
mod drivers;
mod ends;
mod files;
mod flow;
mod give_up;
#[path = "../../../transport/tests/common/join.rs"]
mod join;
mod kinds;
mod open;
mod streams;

#[test]
fn there_are_enough_scripts() {
    let all = [
        datagrams::SCRIPTS,
        doorbells::SCRIPTS,
        ends::SCRIPTS,
        files::SCRIPTS,
        flow::SCRIPTS,
        give_up::SCRIPTS,
        kinds::SCRIPTS,
        open::SCRIPTS,
        streams::SCRIPTS,
    ]
    .concat();
    let names: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(names.len(), all.len(), "each has a name of its own");
    assert!(all.len() >= 60, "{} scripts", all.len());
}
