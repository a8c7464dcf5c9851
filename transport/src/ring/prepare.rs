//! From an operation to the entries that ask the kernel for it.
//!
//! Entries point to the operation's buffers and to its block. Both belong to the slot, which keeps
//! them in place until the last completion is in.

use std::os::fd::AsRawFd;

use io_uring::{
    opcode,
    squeue::Entry,
    types::{Fd, FsyncFlags},
};

use super::{
    abi::{self, Kind, MAX_TRANSFER},
    address::Address,
    clock,
    slots::{Block, Memory, Slot},
    submit::Unit,
};
use crate::{
    driver::{Data, Descriptor, Detached, Fill, MAX_PIECES, Operation, OperationKey},
    endpoint::Endpoint,
};

/// The entries for the operation of a slot.
///
/// # Errors
/// With an error number, if the kernel need not even be asked.
pub(super) fn prepare(slot: &mut Slot, key: OperationKey) -> Result<Unit, i32> {
    let operation = slot.operation.as_mut().expect("a slot keeps it until the end");
    let accepts = matches!(operation, Operation::Accept { .. });
    let on_thread = runs_on_thread(operation);
    let entry = entry(operation, slot.sent, &mut slot.block)?
        .user_data(abi::user_data(Kind::Operation, key));
    let Some(deadline) = slot.deadline.filter(|_| !accepts) else {
        return Ok(Unit::single(entry));
    };
    let time = &mut slot.block.memory().deadline;
    let flags;
    (*time, flags) = clock::timeout(deadline);
    let tag = abi::user_data(Kind::Deadline, key);
    Ok(if on_thread {
        let timeout = opcode::Timeout::new(time).flags(flags).build();
        Unit::with_timeout(entry, timeout.user_data(tag))
    } else {
        let timeout = opcode::LinkTimeout::new(time).flags(flags).build();
        Unit::with_linked_timeout(entry, timeout.user_data(tag))
    })
}

/// Whether the kernel may run the operation on a thread of its own, where it blocks.
///
/// A link timeout is of no use there: kernel 6.18, for one, starts its clock only when the thread is
/// done. These operations have a timeout of their own, and are cancelled when it fires.
pub(super) fn runs_on_thread(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Open { .. }
            | Operation::Read { .. }
            | Operation::Write { .. }
            | Operation::Sync { .. }
            | Operation::Length { .. }
    )
}

fn entry(operation: &mut Operation, sent: usize, block: &mut Block) -> Result<Entry, i32> {
    let entry = match operation {
        Operation::Accept { listener } => {
            opcode::AcceptMulti::new(fd(listener)?).flags(libc::SOCK_CLOEXEC).build()
        }
        Operation::Connect { socket, to } => connect(fd(socket)?, to, block.memory())?,
        Operation::Receive { socket, into } => {
            let (start, room) = room(into)?;
            opcode::Recv::new(fd(socket)?, start, room).build()
        }
        Operation::Send { socket, data } => send(fd(socket)?, data, sent, block),
        Operation::ReceiveFrom { socket, into } => receive_from(fd(socket)?, into, block.memory())?,
        Operation::SendTo { socket, to, data } => {
            send_to(fd(socket)?, Address::of_ip(to), data, block.memory())?
        }
        Operation::Shutdown { socket } => opcode::Shutdown::new(fd(socket)?, libc::SHUT_WR).build(),
        Operation::Open { path, flags, mode } => {
            opcode::OpenAt::new(Fd(libc::AT_FDCWD), path.as_ptr())
                .flags(*flags | libc::O_CLOEXEC)
                .mode(*mode)
                .build()
        }
        Operation::Read { file, into, len, offset } => {
            // To read nothing would look like the end of the file, unless nothing was asked for.
            let (start, room) = if *len > 0 { room(into)? } else { spare(into) };
            opcode::Read::new(fd(file)?, start, room.min(transfer(*len)))
                .offset(position(*offset)?)
                .build()
        }
        Operation::Write { file, data, offset } => {
            write(fd(file)?, data, position(*offset)?, block)
        }
        Operation::Sync { file, data_only } => {
            let flags = if *data_only { FsyncFlags::DATASYNC } else { FsyncFlags::empty() };
            opcode::Fsync::new(fd(file)?).flags(flags).build()
        }
        Operation::Length { file } => length(fd(file)?, block.memory()),
    };
    Ok(entry)
}

fn fd(descriptor: &Descriptor) -> Result<Fd, i32> {
    match descriptor.inner() {
        Detached::Os(fd) => Ok(Fd(fd.as_raw_fd())),
        Detached::Simulated(_) => Err(libc::EBADF),
    }
}

/// Offsets from 2^63 on mean something else to the kernel: the position of the file, for one.
fn position(offset: u64) -> Result<u64, i32> {
    if offset > i64::MAX as u64 {
        return Err(libc::EINVAL);
    }
    Ok(offset)
}

fn transfer(len: usize) -> u32 {
    len.min(MAX_TRANSFER) as u32
}

/// The free memory behind what is filled already.
fn spare(into: &mut Fill) -> (*mut u8, u32) {
    let spare = match into {
        Fill::Chunk(chunk) => chunk.spare_mut(),
        Fill::Bytes(bytes) => bytes.spare_capacity_mut(),
    };
    (spare.as_mut_ptr().cast(), transfer(spare.len()))
}

/// As [`spare`], but there must be some: to receive nothing would look like the end of the stream.
fn room(into: &mut Fill) -> Result<(*mut u8, u32), i32> {
    match spare(into) {
        (_, 0) => Err(libc::ENOBUFS),
        spare => Ok(spare),
    }
}

/// Lists the pieces of `data` behind its first `skip` bytes, as many as there is room for, and returns
/// how many.
fn gather(data: &Data, skip: usize, pieces: &mut [libc::iovec; MAX_PIECES]) -> usize {
    let mut count = 0;
    for (to, bytes) in pieces.iter_mut().zip(data.pieces(skip)) {
        *to = piece(bytes);
        count += 1;
    }
    count
}

fn piece(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// What is left of `data` behind its first `skip` bytes, if it is in one piece.
fn single_piece(data: &Data, skip: usize) -> Option<libc::iovec> {
    let mut pieces = data.pieces(skip);
    let bytes = pieces.next().unwrap_or_default();
    pieces.next().is_none().then(|| piece(bytes))
}

fn connect(socket: Fd, to: &Endpoint, memory: &mut Memory) -> Result<Entry, i32> {
    memory.address = match to {
        Endpoint::Tcp(address) => Address::of_ip(address),
        Endpoint::Unix(path) => Address::of_unix(path)?,
        Endpoint::Udp(_) => return Err(libc::EPROTOTYPE),
    };
    let address = &memory.address;
    Ok(opcode::Connect::new(socket, address.as_ptr(), address.len()).build())
}

/// With `MSG_WAITALL` the kernel goes on by itself when a socket takes only a part.
fn send(socket: Fd, data: &Data, sent: usize, block: &mut Block) -> Entry {
    const FLAGS: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
    if let Some(piece) = single_piece(data, sent) {
        return opcode::Send::new(socket, piece.iov_base.cast(), transfer(piece.iov_len))
            .flags(FLAGS)
            .build();
    }
    let memory = block.memory();
    let count = gather(data, sent, &mut memory.pieces);
    let message = message(memory, count, false);
    opcode::SendMsg::new(socket, message).flags(FLAGS as u32).build()
}

fn send_to(socket: Fd, to: Address, data: &Data, memory: &mut Memory) -> Result<Entry, i32> {
    if matches!(data, Data::Leases(leases) if leases.len() > MAX_PIECES) {
        return Err(libc::EMSGSIZE);
    }
    memory.address = to;
    let count = gather(data, 0, &mut memory.pieces);
    let message = message(memory, count, true);
    Ok(opcode::SendMsg::new(socket, message).flags(libc::MSG_NOSIGNAL as u32).build())
}

fn receive_from(socket: Fd, into: &mut Fill, memory: &mut Memory) -> Result<Entry, i32> {
    let (start, room) = room(into)?;
    memory.pieces[0] = libc::iovec { iov_base: start.cast(), iov_len: room as usize };
    memory.address = Address::empty();
    memory.address.set_len(Address::CAPACITY);
    let message = message(memory, 1, true);
    Ok(opcode::RecvMsg::new(socket, message).build())
}

/// A header for the first `pieces` pieces, and for the address if one is wanted.
fn message(memory: &mut Memory, pieces: usize, addressed: bool) -> *mut libc::msghdr {
    let (name, name_len) = if addressed {
        (memory.address.as_mut_ptr(), memory.address.len())
    } else {
        (std::ptr::null_mut(), 0)
    };
    let message = &mut memory.message;
    message.msg_name = name.cast();
    message.msg_namelen = name_len;
    message.msg_iov = memory.pieces.as_mut_ptr();
    message.msg_iovlen = pieces;
    message.msg_flags = 0;
    message
}

fn write(file: Fd, data: &Data, offset: u64, block: &mut Block) -> Entry {
    if let Some(piece) = single_piece(data, 0) {
        return opcode::Write::new(file, piece.iov_base.cast(), transfer(piece.iov_len))
            .offset(offset)
            .build();
    }
    let pieces = &mut block.memory().pieces;
    let count = gather(data, 0, pieces);
    opcode::Writev::new(file, pieces.as_ptr(), count as u32).offset(offset).build()
}

fn length(file: Fd, memory: &mut Memory) -> Entry {
    let statx = &raw mut memory.statx;
    opcode::Statx::new(file, c"".as_ptr(), statx.cast())
        .flags(libc::AT_EMPTY_PATH)
        .mask(libc::STATX_SIZE)
        .build()
}

#[cfg(test)]
mod tests {
    use annulus_codec::chunk::ChunkPool;

    use super::*;

    fn lengths(data: &Data, skip: usize) -> Vec<usize> {
        let mut pieces = [piece(&[]); MAX_PIECES];
        let count = gather(data, skip, &mut pieces);
        pieces[..count].iter().map(|piece| piece.iov_len).collect()
    }

    fn leases(lengths: &[usize]) -> Data {
        let pool = ChunkPool::new(64 * 1024, 1, 1 << 20);
        let mut chunk = pool.acquire().unwrap();
        let lease = |len: &usize| {
            chunk.append(&vec![0; *len]);
            chunk.take_committed()
        };
        Data::Leases(lengths.iter().map(lease).collect())
    }

    #[test]
    fn r29_the_rest_of_a_short_send_is_gathered() {
        let data = leases(&[10, 20, 0, 30]);
        assert_eq!(lengths(&data, 0), [10, 20, 30]);
        assert_eq!(lengths(&data, 10), [20, 30]);
        assert_eq!(lengths(&data, 29), [1, 30]);
        assert_eq!(lengths(&data, 59), [1]);
        assert_eq!(lengths(&data, 60), []);
        assert_eq!(lengths(&Data::Bytes(vec![0; 9]), 4), [5]);
    }

    #[test]
    fn more_pieces_than_fit_are_left_for_the_next_round() {
        let data = leases(&[1; MAX_PIECES + 5]);
        assert_eq!(lengths(&data, 0).len(), MAX_PIECES);
        assert_eq!(lengths(&data, MAX_PIECES).len(), 5);
    }

    #[test]
    fn offsets_that_the_kernel_takes_for_something_else_are_refused() {
        assert_eq!(position(u64::MAX), Err(libc::EINVAL));
        assert_eq!(position(5 << 30), Ok(5 << 30));
    }
}
