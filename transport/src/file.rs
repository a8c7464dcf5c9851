//! Files, read and written at offsets.

use std::{ffi::CString, os::unix::ffi::OsStrExt, path::Path};

use crate::{
    driver::{Cause, Data, Descriptor, Fill, Operation, OperationError, OperationName, Output},
    io::{Io, mismatch},
};

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// For reading.
    pub read: bool,
    /// For writing. To append, write at the offset that [`File::length`] says.
    pub write: bool,
    /// Make it if it is not there.
    pub create: bool,
    /// Make it, and fail with `EEXIST` if it is there.
    pub create_new: bool,
    /// Cut it to length zero.
    pub truncate: bool,
    /// Permission bits of a file that this makes, less the process's umask.
    pub mode: u32,
}

impl OpenOptions {
    /// To read a file that is there.
    pub const fn reading() -> Self {
        OpenOptions {
            read: true,
            write: false,
            create: false,
            create_new: false,
            truncate: false,
            mode: 0o666,
        }
    }

    /// To read and write a file, which is made if it is not there.
    pub const fn writing() -> Self {
        OpenOptions { write: true, create: true, ..Self::reading() }
    }

    /// The `O_*` flags of open(2).
    fn flags(&self) -> i32 {
        let access = match (self.read, self.write) {
            (true, true) => libc::O_RDWR,
            (false, true) => libc::O_WRONLY,
            _ => libc::O_RDONLY,
        };
        let flag = |wanted: bool, flag| if wanted { flag } else { 0 };
        access
            | flag(self.create, libc::O_CREAT)
            | flag(self.create_new, libc::O_CREAT | libc::O_EXCL)
            | flag(self.truncate, libc::O_TRUNC)
    }
}

/// An open file. Clones share it; it is closed when the last one is dropped.
#[derive(Clone, Debug)]
pub struct File {
    io: Io,
    file: Descriptor,
}

impl File {
    /// Opens a file.
    ///
    /// # Errors
    /// As open(2); `EINVAL` if the path has a zero byte in it.
    pub async fn open(io: &Io, path: &Path, options: OpenOptions) -> Result<Self, OperationError> {
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| OperationError {
            operation: OperationName::Open,
            cause: Cause::Os(libc::EINVAL),
        })?;
        let open = Operation::Open { path, flags: options.flags(), mode: options.mode };
        match io.run(open, None).await? {
            Output::Opened(file) => Ok(File { io: io.clone(), file }),
            other => mismatch(&other),
        }
    }

    /// Reads up to `len` bytes from `offset`, as far as there is room. Gives the memory back with the
    /// number of bytes read: fewer than asked for at the end of the file, none beyond it.
    ///
    /// # Errors
    /// As pread(2); `ENOBUFS` if there is no room though `len` is not zero. The memory is lost.
    pub async fn read_at(
        &self,
        into: Fill,
        len: usize,
        offset: u64,
    ) -> Result<(Fill, usize), OperationError> {
        let read = Operation::Read { file: self.file.clone(), into, len, offset };
        match self.io.run(read, None).await? {
            Output::Read { into, bytes } => Ok((into, bytes)),
            other => mismatch(&other),
        }
    }

    /// Writes all of the data from `offset` on. Nothing is durable before [`sync`](Self::sync).
    ///
    /// # Errors
    /// As pwrite(2). Then a part may have been written.
    pub async fn write_all_at(
        &self,
        mut data: Data,
        mut offset: u64,
    ) -> Result<(), OperationError> {
        while !data.is_empty() {
            let write = Operation::Write { file: self.file.clone(), data, offset };
            let (bytes, given) = match self.io.run(write, None).await? {
                Output::Written { bytes, data } => (bytes, data),
                other => mismatch(&other),
            };
            if bytes == 0 {
                // Not even one byte, and no reason why: it would go on like this forever.
                return Err(OperationError {
                    operation: OperationName::Write,
                    cause: Cause::Os(libc::EIO),
                });
            }
            offset += bytes as u64;
            data = given.without(bytes);
        }
        Ok(())
    }

    /// Makes durable what has been written: the bytes, and with `data_only` only as much else as
    /// reading them takes.
    ///
    /// # Errors
    /// As fsync(2). What was written before may be lost then, even if a later sync succeeds.
    pub async fn sync(&self, data_only: bool) -> Result<(), OperationError> {
        let file = self.file.clone();
        self.io.run(Operation::Sync { file, data_only }, None).await?;
        Ok(())
    }

    /// How long the file is, in bytes.
    ///
    /// # Errors
    /// As statx(2).
    pub async fn length(&self) -> Result<u64, OperationError> {
        let file = self.file.clone();
        match self.io.run(Operation::Length { file }, None).await? {
            Output::Length(length) => Ok(length),
            other => mismatch(&other),
        }
    }
}

#[cfg(test)]
mod tests {
    use annulus_codec::chunk::ChunkPool;

    use super::*;

    #[test]
    fn r29_the_rest_of_a_short_write_is_what_was_not_written() {
        let pool = ChunkPool::new(64, 1, 1024);
        let mut chunk = pool.acquire().unwrap();
        let leases = ["one", "two", "three"].map(|text| {
            chunk.append(text.as_bytes());
            chunk.take_committed()
        });
        let data = Data::Leases(leases.to_vec());
        let Data::Leases(left) = data.without(4) else {
            panic!("leases stay leases");
        };
        let left: Vec<&[u8]> = left.iter().map(|lease| &**lease).collect();
        assert_eq!(left.concat(), b"wothree");
        let Data::Bytes(left) = Data::Bytes(b"abc".to_vec()).without(1) else {
            panic!("bytes stay bytes");
        };
        assert_eq!(left, b"bc");
    }

    #[test]
    fn options_become_flags() {
        assert_eq!(OpenOptions::reading().flags(), libc::O_RDONLY);
        assert_eq!(OpenOptions::writing().flags(), libc::O_RDWR | libc::O_CREAT);
    }
}
