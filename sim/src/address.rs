//! Addresses of hosts, and the paths of Unix sockets.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use annulus::transport::endpoint::Endpoint;

use crate::net::HostId;

/// The longest path of a Unix socket, with its final zero.
const MAX_UNIX_PATH: usize = 108;

/// What a stream goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Ip,
    Unix,
}

/// A host's address.
pub(crate) fn address_of(host: HostId) -> IpAddr {
    let [high, low] = u16::try_from(host + 1).unwrap_or(u16::MAX).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 0, high, low))
}

pub(crate) fn host_of(ip: IpAddr, here: HostId) -> HostId {
    match ip {
        IpAddr::V4(ip) if ip.octets()[..2] == [10, 0] => {
            usize::from(u16::from_be_bytes([ip.octets()[2], ip.octets()[3]])).wrapping_sub(1)
        }
        _ => here,
    }
}

/// Whether a host has this address.
pub(crate) fn is_of(ip: IpAddr, host: HostId) -> bool {
    ip.is_loopback() || ip.is_unspecified() || ip == address_of(host)
}

/// Where no address leads to: back to the same host.
pub(crate) fn specific(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Whether the path names a socket without a file.
pub(crate) fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_bytes().first() == Some(&0)
}

/// What kind of stream leads to an endpoint.
pub(crate) fn family_of(at: &Endpoint) -> Result<Family, i32> {
    match at {
        Endpoint::Tcp(_) => Ok(Family::Ip),
        Endpoint::Udp(_) => Err(libc::EPROTOTYPE),
        Endpoint::Unix(_) => Ok(Family::Unix),
    }
}

/// As [`family_of`], but the endpoint is one that can be bound or connected to.
pub(crate) fn checked_family(at: &Endpoint) -> Result<Family, i32> {
    if let Endpoint::Unix(path) = at {
        let bytes = path.as_os_str().as_bytes();
        if bytes.is_empty() || (!is_abstract(path) && bytes.contains(&0)) {
            return Err(libc::EINVAL);
        }
        if bytes.len() + usize::from(!is_abstract(path)) > MAX_UNIX_PATH {
            return Err(libc::ENAMETOOLONG);
        }
    }
    family_of(at)
}

/// Under which key a listener is found: hosts have one address, and know it by several names.
pub(crate) fn key(at: &Endpoint) -> Endpoint {
    match at {
        Endpoint::Tcp(at) => {
            Endpoint::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), at.port()))
        }
        other => other.clone(),
    }
}
