//! Sockets, made by plain system calls: this happens rarely, at the start as a rule, and none of it waits
//! for others.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
};

use libc::c_int;

use super::{
    address::{Address, is_abstract},
    unix_path::{BoundPath, Identity, PathLock},
};
use crate::endpoint::Endpoint;

/// A stream socket that can be connected to `to`.
pub(super) fn stream(to: &Endpoint) -> io::Result<OwnedFd> {
    match to {
        Endpoint::Tcp(address) => {
            let socket = socket(family(address), libc::SOCK_STREAM)?;
            set(&socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
            Ok(socket)
        }
        Endpoint::Unix(_) => socket(libc::AF_UNIX, libc::SOCK_STREAM),
        Endpoint::Udp(_) => Err(no_stream()),
    }
}

/// A socket that listens.
pub(super) struct Listening {
    pub(super) socket: OwnedFd,
    /// Where it listens.
    pub(super) at: Endpoint,
    /// What it has bound in the file system.
    pub(super) path: Option<BoundPath>,
}

/// A listening stream socket.
pub(super) fn listen(at: &Endpoint, backlog: u32) -> io::Result<Listening> {
    let listening = match at {
        Endpoint::Tcp(address) => {
            // Connections inherit TCP_NODELAY from the listener.
            let socket = stream(at)?;
            set(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
            bind(&socket, &Address::of_ip(address))?;
            let at = Endpoint::Tcp(local_address(&socket)?);
            Listening { socket, at, path: None }
        }
        Endpoint::Unix(path) => {
            let (socket, path) = bound_unix(path)?;
            Listening { socket, at: at.clone(), path }
        }
        Endpoint::Udp(_) => return Err(no_stream()),
    };
    let backlog = c_int::try_from(backlog).unwrap_or(c_int::MAX);
    // SAFETY: takes no pointers.
    let listened = check(unsafe { libc::listen(listening.socket.as_raw_fd(), backlog) });
    match (listened, listening.path) {
        (Ok(_), path) => Ok(Listening { path, ..listening }),
        (Err(error), path) => {
            // The error to tell is the first one.
            let _ = path.map(BoundPath::remove);
            Err(error)
        }
    }
}

/// A bound datagram socket, and where it is bound.
pub(super) fn datagram(at: SocketAddr, buffer: usize) -> io::Result<(OwnedFd, SocketAddr)> {
    let socket = socket(family(&at), libc::SOCK_DGRAM)?;
    let buffer = c_int::try_from(buffer).unwrap_or(c_int::MAX);
    size_buffer(&socket, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, buffer)?;
    size_buffer(&socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, buffer)?;
    bind(&socket, &Address::of_ip(&at))?;
    let bound = local_address(&socket)?;
    Ok((socket, bound))
}

/// As a stream cannot be had from UDP.
fn no_stream() -> io::Error {
    io::Error::from_raw_os_error(libc::EPROTOTYPE)
}

fn bound_unix(path: &Path) -> io::Result<(OwnedFd, Option<BoundPath>)> {
    let address = Address::of_unix(path).map_err(io::Error::from_raw_os_error)?;
    let socket = socket(libc::AF_UNIX, libc::SOCK_STREAM)?;
    if is_abstract(path) {
        bind(&socket, &address)?;
        return Ok((socket, None));
    }
    let lock = PathLock::acquire(path)?;
    match bind(&socket, &address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            stale(path, &address).ok_or(error)?.remove(path)?;
            bind(&socket, &address)?;
        }
        result => result?,
    }
    let path = BoundPath::new(path, lock)?;
    Ok((socket, Some(path)))
}

/// The socket at the path, if nobody listens on it: left behind by a process that died.
fn stale(path: &Path, address: &Address) -> Option<Identity> {
    // A regular file refuses connections as well.
    let there = Identity::of_socket(path).ok()?;
    let probe = socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_NONBLOCK).ok()?;
    // SAFETY: pointer and length are those of a valid address.
    let result =
        check(unsafe { libc::connect(probe.as_raw_fd(), address.as_ptr(), address.len()) });
    let refused = matches!(result, Err(error) if error.kind() == io::ErrorKind::ConnectionRefused);
    refused.then_some(there)
}

fn family(address: &SocketAddr) -> c_int {
    match address {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    }
}

fn socket(family: c_int, kind: c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: just made, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bind(socket: &OwnedFd, address: &Address) -> io::Result<()> {
    // SAFETY: pointer and length are those of a valid address.
    check(unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr(), address.len()) })?;
    Ok(())
}

fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    name_of(socket, libc::getsockname)
}

/// Who is at the other end of a connection over IP.
pub(super) fn peer_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    name_of(socket, libc::getpeername)
}

type NameCall = unsafe extern "C" fn(c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> c_int;

fn name_of(socket: &OwnedFd, call: NameCall) -> io::Result<SocketAddr> {
    let mut address = Address::empty();
    let mut len = Address::CAPACITY;
    // SAFETY: there is room for `len` bytes at the pointer, and `len` is a valid place too.
    check(unsafe { call(socket.as_raw_fd(), address.as_mut_ptr(), &raw mut len) })?;
    address.set_len(len);
    address.to_ip().ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}

/// Going beyond the system's limit for buffers takes a capability; without it, the limit is what
/// there is.
fn size_buffer(socket: &OwnedFd, force: c_int, plain: c_int, size: c_int) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, force, size)
        .or_else(|_| set(socket, libc::SOL_SOCKET, plain, size))
}

fn set(socket: &OwnedFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: pointer and length are those of the local `value`.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<c_int>() as libc::socklen_t,
        )
    })?;
    Ok(())
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
