//! Endpoints as users and other nodes write them: no panic, and what is understood prints as something
//! that means the same.
#![no_main]

use annulus_transport::endpoint::Endpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let address = text.strip_prefix("tcp://").or(text.strip_prefix("udp://"));
    if address.is_some_and(may_be_looked_up) {
        return;
    }
    let Ok(endpoint) = text.parse::<Endpoint>() else {
        return;
    };
    assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
});

/// Whether this might ask the network for the address of a name.
fn may_be_looked_up(address: &str) -> bool {
    let has_port = |(_, port): (&str, &str)| port.parse::<u16>().is_ok();
    address.parse::<std::net::SocketAddr>().is_err()
        && address.rsplit_once(':').is_some_and(has_port)
}
