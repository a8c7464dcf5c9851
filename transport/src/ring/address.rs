//! Addresses in the kernel's layout.

use std::{
    mem::{MaybeUninit, offset_of},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::unix::ffi::OsStrExt,
    path::Path,
};

/// Room for any address, and how much of it is in use.
#[repr(C)]
pub(super) struct Address {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl Address {
    /// Nothing yet.
    pub(super) fn empty() -> Self {
        // SAFETY: a `sockaddr_storage` is plain bytes; zeros make an address of no family.
        let storage = unsafe { MaybeUninit::zeroed().assume_init() };
        Address { storage, len: 0 }
    }

    /// The address of an IP socket.
    pub(super) fn of_ip(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => Address::of_v4(address),
            SocketAddr::V6(address) => Address::of_v6(address),
        }
    }

    fn of_v4(address: &SocketAddrV4) -> Self {
        Address::holding(libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: address.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
            sin_zero: [0; 8],
        })
    }

    fn of_v6(address: &SocketAddrV6) -> Self {
        Address::holding(libc::sockaddr_in6 {
            sin6_family: libc::AF_INET6 as libc::sa_family_t,
            sin6_port: address.port().to_be(),
            sin6_flowinfo: address.flowinfo(),
            sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
            sin6_scope_id: address.scope_id(),
        })
    }

    /// The address of a Unix socket. A path that starts with a zero byte is an abstract name.
    ///
    /// # Errors
    /// With `ENAMETOOLONG` if it does not fit, `EINVAL` if it is empty or has a zero byte inside.
    pub(super) fn of_unix(path: &Path) -> Result<Self, i32> {
        let bytes = path.as_os_str().as_bytes();
        let is_abstract = is_abstract(path);
        if bytes.is_empty() || (!is_abstract && bytes.contains(&0)) {
            return Err(libc::EINVAL);
        }
        let mut name = libc::sockaddr_un {
            sun_family: libc::AF_UNIX as libc::sa_family_t,
            sun_path: [0; 108],
        };
        // A path keeps its final zero; an abstract name has none and may use all of the room.
        let terminator = usize::from(!is_abstract);
        if bytes.len() + terminator > name.sun_path.len() {
            return Err(libc::ENAMETOOLONG);
        }
        for (to, from) in name.sun_path.iter_mut().zip(bytes) {
            *to = *from as libc::c_char;
        }
        let mut address = Address::holding(name);
        let len = offset_of!(libc::sockaddr_un, sun_path) + bytes.len() + terminator;
        address.len = len as libc::socklen_t;
        Ok(address)
    }

    /// `T` is one of the kernel's address structs.
    fn holding<T: Copy>(value: T) -> Self {
        const { assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>()) };
        const { assert!(align_of::<T>() <= align_of::<libc::sockaddr_storage>()) };
        let mut address = Address::empty();
        // SAFETY: the storage is large enough and aligned, as was just checked.
        unsafe { (&raw mut address.storage).cast::<T>().write(value) };
        address.len = size_of::<T>() as libc::socklen_t;
        address
    }

    /// Back to an address of the standard library; `None` if it is not an IP address.
    pub(super) fn to_ip(&self) -> Option<SocketAddr> {
        let len = self.len as usize;
        match libc::c_int::from(self.storage.ss_family) {
            libc::AF_INET if len >= size_of::<libc::sockaddr_in>() => {
                // SAFETY: the family says which struct the storage holds; every byte pattern is one.
                let name = unsafe { (&raw const self.storage).cast::<libc::sockaddr_in>().read() };
                let ip = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
            }
            libc::AF_INET6 if len >= size_of::<libc::sockaddr_in6>() => {
                // SAFETY: as above.
                let name = unsafe { (&raw const self.storage).cast::<libc::sockaddr_in6>().read() };
                let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
                let port = u16::from_be(name.sin6_port);
                Some(SocketAddrV6::new(ip, port, name.sin6_flowinfo, name.sin6_scope_id).into())
            }
            _ => None,
        }
    }

    /// Where the kernel reads or writes the address.
    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        (&raw mut self.storage).cast()
    }

    /// Where the kernel reads the address.
    pub(super) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    /// Bytes in use.
    pub(super) fn len(&self) -> libc::socklen_t {
        self.len
    }

    /// Says how many bytes the kernel wrote.
    pub(super) fn set_len(&mut self, len: libc::socklen_t) {
        self.len = len.min(Self::CAPACITY);
    }

    /// Bytes that there is room for.
    pub(super) const CAPACITY: libc::socklen_t =
        size_of::<libc::sockaddr_storage>() as libc::socklen_t;
}

/// Whether the path names a socket without a file.
pub(super) fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_bytes().first() == Some(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r32_ip_addresses_come_back_as_they_went() {
        for text in ["127.0.0.1:80", "255.1.2.3:65535", "[::1]:1", "[fe80::1%3]:9"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Address::of_ip(&address).to_ip(), Some(address));
        }
    }

    #[test]
    fn r27_unix_paths_are_checked() {
        let long = |len: usize| "x".repeat(len);
        assert!(Address::of_unix(Path::new(&long(107))).is_ok());
        let error = |path: &str| Address::of_unix(Path::new(path)).err();
        assert_eq!(error(&long(108)), Some(libc::ENAMETOOLONG));
        assert_eq!(error(""), Some(libc::EINVAL));
        assert_eq!(error("a\0b"), Some(libc::EINVAL));
        assert_eq!(error("\0abstract"), None);
    }

    #[test]
    fn an_empty_address_is_none() {
        assert_eq!(Address::empty().to_ip(), None);
    }
}
