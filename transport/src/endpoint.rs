//! Addresses of sockets, as users write them and as the kernel takes them.

use std::{
    fmt,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    str::FromStr,
};

/// Where a socket listens or connects to.
///
/// Written as `tcp://host:port`, `udp://host:port` or `unix:///path/to/socket`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// A stream over TCP.
    Tcp(SocketAddr),
    /// Datagrams over UDP.
    Udp(SocketAddr),
    /// A stream over a Unix socket with this path.
    Unix(PathBuf),
}

/// Why a text is not an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointError {
    /// It starts with none of `tcp://`, `udp://` and `unix://`.
    UnknownScheme(String),
    /// The part behind the scheme is no `host:port`, or the host is not known.
    Unresolvable {
        /// The text as given.
        text: String,
        /// What the resolver said.
        reason: String,
    },
    /// The path is empty, or longer than the 107 bytes that the kernel takes.
    BadPath(String),
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointError::UnknownScheme(text) => {
                write!(f, "`{text}`: write tcp://host:port, udp://host:port or unix:///path")
            }
            EndpointError::Unresolvable { text, reason } => write!(f, "`{text}`: {reason}"),
            EndpointError::BadPath(text) => {
                write!(f, "`{text}`: the path of a Unix socket has 1 to 107 bytes")
            }
        }
    }
}

impl std::error::Error for EndpointError {}

impl Endpoint {
    /// Reads an endpoint whose host is an address, not a name: this never asks a resolver. For what
    /// another node says.
    pub fn parse_numeric(text: &str) -> Option<Endpoint> {
        if let Some(address) = text.strip_prefix("tcp://") {
            return address.parse().ok().map(Endpoint::Tcp);
        }
        if let Some(address) = text.strip_prefix("udp://") {
            return address.parse().ok().map(Endpoint::Udp);
        }
        // A path asks nobody.
        text.strip_prefix("unix://")?;
        text.parse().ok()
    }
}

/// The longest path of a Unix socket, in bytes: `sun_path` less its final zero.
const MAX_PATH: usize = 107;

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Some(path) = text.strip_prefix("unix://") {
            if path.is_empty() || path.len() > MAX_PATH || path.contains('\0') {
                return Err(EndpointError::BadPath(text.into()));
            }
            return Ok(Endpoint::Unix(path.into()));
        }
        if let Some(address) = text.strip_prefix("tcp://") {
            return resolve(text, address).map(Endpoint::Tcp);
        }
        if let Some(address) = text.strip_prefix("udp://") {
            return resolve(text, address).map(Endpoint::Udp);
        }
        Err(EndpointError::UnknownScheme(text.into()))
    }
}

fn resolve(text: &str, address: &str) -> Result<SocketAddr, EndpointError> {
    let unresolvable = |reason: String| EndpointError::Unresolvable { text: text.into(), reason };
    address
        .to_socket_addrs()
        .map_err(|error| unresolvable(error.to_string()))?
        .next()
        .ok_or_else(|| unresolvable("the host has no address".into()))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => write!(f, "tcp://{address}"),
            Endpoint::Udp(address) => write!(f, "udp://{address}"),
            Endpoint::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_print_as_they_are_written() {
        for text in ["tcp://127.0.0.1:7001", "udp://[::1]:9", "unix:///tmp/a.sock"] {
            assert_eq!(
                text.parse::<Endpoint>().map(|endpoint| endpoint.to_string()),
                Ok(text.into())
            );
        }
    }

    #[test]
    fn what_is_no_endpoint_says_why() {
        assert!(matches!("host:1".parse::<Endpoint>(), Err(EndpointError::UnknownScheme(_))));
        assert!(matches!(
            "tcp://host".parse::<Endpoint>(),
            Err(EndpointError::Unresolvable { .. })
        ));
        assert!(matches!("unix://".parse::<Endpoint>(), Err(EndpointError::BadPath(_))));
    }
}
