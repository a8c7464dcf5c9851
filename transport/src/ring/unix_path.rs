//! The path of a Unix socket, which one listener has at a time.
//!
//! bind(2) refuses a path that is there, even if the process that bound it is long dead: so a listener
//! must look whether anybody is behind the path, and remove it if not. Two that do so at the same time
//! can remove what the other has just bound. Here whoever wants a path first locks the file
//! `<path>.lock`, and holds that lock until the path is removed. The lock ends with its process, however
//! that ends.
//!
//! Programs that do not know of the lock are respected as far as the kernel lets us: a path that somebody
//! listens on is in use, and only the very socket that was found dead, or that we bound, is removed.

use std::{
    fs::{File, Metadata, OpenOptions, TryLockError},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// How often a lock may turn out to be on a file that its last owner has just removed.
const TRIES: usize = 100;

/// Tells a file from all others that exist at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Identity { device: metadata.dev(), inode: metadata.ino() }
    }

    /// The socket at a path, if there is one.
    ///
    /// # Errors
    /// As lstat(2); `ENOTSOCK` if something else is there.
    pub(super) fn of_socket(path: &Path) -> io::Result<Self> {
        let metadata = path.symlink_metadata()?;
        if !metadata.file_type().is_socket() {
            return Err(io::Error::from_raw_os_error(libc::ENOTSOCK));
        }
        Ok(Identity::of(&metadata))
    }

    /// Removes the path if it still leads to this socket.
    ///
    /// # Errors
    /// As unlink(2).
    pub(super) fn remove(self, path: &Path) -> io::Result<()> {
        match Identity::of_socket(path) {
            Ok(there) if there == self => std::fs::remove_file(path),
            _ => Ok(()),
        }
    }
}

/// The lock on a path. It is released when it is dropped.
#[derive(Debug)]
pub(super) struct PathLock {
    file: File,
    path: PathBuf,
}

impl PathLock {
    /// Locks a path.
    ///
    /// # Errors
    /// `AddrInUse` if another listener has it. Otherwise as open(2) and flock(2), naming the lock file.
    pub(super) fn acquire(of: &Path) -> io::Result<Self> {
        let mut path = of.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        for _ in 0..TRIES {
            let failed = |error| cannot_lock(&path, error);
            let file = open(&path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => break,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Its last owner may have removed the file before it let go of the lock. A lock on a file
            // that nobody else can find keeps nobody out.
            let lock = PathLock { file, path: path.clone() };
            if lock.is_in_place().map_err(failed)? {
                return Ok(lock);
            }
        }
        let text = format!("another listener has locked {}", path.display());
        Err(io::Error::new(io::ErrorKind::AddrInUse, text))
    }

    fn is_in_place(&self) -> io::Result<bool> {
        let ours = Identity::of(&self.file.metadata()?);
        Ok(self.path.symlink_metadata().is_ok_and(|there| Identity::of(&there) == ours))
    }

    /// Whether the file is one that a lock made, and not somebody's data.
    fn is_empty(&self) -> bool {
        self.file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0)
    }
}

impl Drop for PathLock {
    fn drop(&mut self) {
        // Only the owner of the lock removes the file, so nobody else's comes in between. A file that
        // stays does no harm.
        if self.is_empty() && self.is_in_place().unwrap_or(false) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

fn cannot_lock(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot lock {}: {error}", path.display()))
}

/// A path that this process has bound, and the lock on it.
#[derive(Debug)]
pub(super) struct BoundPath {
    path: PathBuf,
    socket: Identity,
    /// Released last: see [`Self::remove`].
    _lock: PathLock,
}

impl BoundPath {
    /// A path that has just been bound under this lock.
    ///
    /// # Errors
    /// As lstat(2), if it is gone already.
    pub(super) fn new(path: &Path, lock: PathLock) -> io::Result<Self> {
        let socket = Identity::of_socket(path)?;
        Ok(BoundPath { path: path.into(), socket, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the path, if it still leads to the socket that was bound, and releases the lock. For as
    /// long as that socket is open, no other one can pass for it.
    ///
    /// # Errors
    /// As unlink(2).
    pub(super) fn remove(self) -> io::Result<()> {
        self.socket.remove(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(test: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("annulus-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn r27_a_lock_on_a_file_that_was_removed_keeps_nobody_out_and_is_seen_to() {
        let dir = dir("lock");
        let first = PathLock::acquire(&dir.join("a")).unwrap();
        assert!(first.is_in_place().unwrap());
        std::fs::remove_file(&first.path).unwrap();
        assert!(!first.is_in_place().unwrap());
        let second = PathLock::acquire(&dir.join("a")).unwrap();
        drop(first);
        assert!(second.is_in_place().unwrap(), "another's lock file is not removed");
        drop(second);
        assert!(!dir.join("a.lock").exists());
        std::fs::remove_dir(dir).unwrap();
    }

    #[test]
    fn r27_a_lock_file_with_something_in_it_is_left_alone() {
        let dir = dir("data");
        let file = dir.join("a.lock");
        std::fs::File::create(&file).unwrap();
        OpenOptions::new().write(true).open(&file).unwrap().set_len(5).unwrap();
        drop(PathLock::acquire(&dir.join("a")).unwrap());
        assert_eq!(file.metadata().unwrap().len(), 5);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
