//! The disk of a host: what has been written, and what of that is durable.
//!
//! Writes go into a cache, sector by sector; a sync makes them durable. When the power is cut, each
//! sector that was not durable is there, or not, or torn. A file's length and its name become durable
//! with its first sync, as on the file systems that are in use.

use std::collections::{BTreeMap, BTreeSet};

use annulus::transport::driver::Data;

use crate::world::Scope;

const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct File {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors of the cache that are not durable.
    dirty: BTreeSet<usize>,
    /// Whether the name has been made durable.
    named: bool,
}

pub(crate) type FileId = u64;

/// See the [module](self). A clone is the disk as it is at that time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    names: BTreeMap<Vec<u8>, FileId>,
    files: BTreeMap<FileId, File>,
    last: FileId,
}

impl Disk {
    pub(crate) fn open(&mut self, path: &[u8], flags: i32) -> Result<FileId, i32> {
        let known = self.names.get(path).copied();
        if known.is_some() && flags & libc::O_CREAT != 0 && flags & libc::O_EXCL != 0 {
            return Err(libc::EEXIST);
        }
        let id = match known {
            Some(id) => id,
            None if flags & libc::O_CREAT == 0 => return Err(libc::ENOENT),
            None => {
                self.last += 1;
                self.names.insert(path.to_vec(), self.last);
                self.files.insert(self.last, File::default());
                self.last
            }
        };
        if flags & libc::O_TRUNC != 0 {
            let file = self.files.entry(id).or_default();
            file.dirty.extend(0..sectors(file.cached.len()));
            file.cached.clear();
        }
        Ok(id)
    }

    fn file(&mut self, id: FileId) -> Result<&mut File, i32> {
        self.files.get_mut(&id).ok_or(libc::EBADF)
    }

    pub(crate) fn length(&mut self, id: FileId) -> Result<u64, i32> {
        Ok(self.file(id)?.cached.len() as u64)
    }

    pub(crate) fn read(
        &mut self,
        scope: &mut Scope<'_>,
        id: FileId,
        offset: u64,
        room: usize,
    ) -> Result<Vec<u8>, i32> {
        if scope.chance(|faults| faults.disk.read_error, "read failed") {
            return Err(libc::EIO);
        }
        let rots = scope.chance(|faults| faults.disk.rot, "a bit has rotted");
        let file = self.file(id)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(file.cached.len());
        let end = start.saturating_add(room).min(file.cached.len());
        if rots && start < end {
            let at = scope.between(start as u64, end as u64 - 1) as usize;
            let bit = scope.between(0, 7);
            file.cached[at] ^= 1 << bit;
            if let Some(byte) = file.durable.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        Ok(file.cached[start..end].to_vec())
    }

    /// Returns how many bytes have been written.
    pub(crate) fn write(
        &mut self,
        scope: &mut Scope<'_>,
        id: FileId,
        offset: u64,
        data: &Data,
    ) -> Result<usize, i32> {
        if scope.chance(|faults| faults.disk.write_error, "write failed") {
            return Err(libc::EIO);
        }
        let bytes: Vec<u8> = data.pieces(0).flatten().copied().collect();
        let mut len = bytes.len();
        if len > 1 && scope.chance(|faults| faults.disk.short_write, "write was short") {
            len = scope.between(1, len as u64 - 1) as usize;
        }
        let mut start = usize::try_from(offset).map_err(|_| libc::EFBIG)?;
        if scope.chance(|faults| faults.disk.misdirected, "write was misdirected") {
            start = scope.between(0, self.file(id)?.cached.len() as u64) as usize;
        }
        let used: usize = self.files.values().map(|file| file.cached.len()).sum();
        let grows = (start + len).saturating_sub(self.file(id)?.cached.len());
        if used as u64 + grows as u64 > scope.faults().disk.capacity {
            scope.mark("disk was full");
            return Err(libc::ENOSPC);
        }
        let file = self.file(id)?;
        if file.cached.len() < start + len {
            let before = file.cached.len();
            file.cached.resize(start + len, 0);
            file.dirty.extend(before / SECTOR..sectors(start + len));
        }
        file.cached[start..start + len].copy_from_slice(&bytes[..len]);
        file.dirty.extend(start / SECTOR..sectors(start + len));
        Ok(len)
    }

    pub(crate) fn sync(&mut self, scope: &mut Scope<'_>, id: FileId) -> Result<(), i32> {
        let fails = scope.chance(|faults| faults.disk.sync_error, "sync failed");
        let lies = scope.chance(|faults| faults.disk.lying_sync, "sync lied");
        let file = self.file(id)?;
        if fails {
            // As Linux does: the sectors count as clean, and are not written again.
            file.dirty.clear();
            return Err(libc::EIO);
        }
        if !lies {
            file.durable.clone_from(&file.cached);
            file.named = true;
        }
        file.dirty.clear();
        Ok(())
    }

    /// The power is cut: what is not durable is there, or not, or torn.
    pub(crate) fn lose_power(&mut self, scope: &mut Scope<'_>) {
        let unnamed: Vec<FileId> = self
            .files
            .iter()
            .filter(|(_, file)| !file.named)
            .map(|(id, _)| *id)
            .filter(|_| scope.between(0, 1) == 0)
            .collect();
        self.names.retain(|_, id| !unnamed.contains(id));
        for id in unnamed {
            scope.mark("file was lost with the power");
            self.files.remove(&id);
        }
        for file in self.files.values_mut() {
            file.lose_power(scope);
        }
    }
}

impl File {
    fn lose_power(&mut self, scope: &mut Scope<'_>) {
        let mut after = self.durable.clone();
        for sector in std::mem::take(&mut self.dirty) {
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(self.cached.len());
            let kept = match scope.between(0, 2) {
                0 => continue,
                1 => end,
                _ => {
                    scope.mark("write was torn");
                    scope.between(start as u64, end.max(start) as u64) as usize
                }
            };
            if kept <= start {
                continue;
            }
            if after.len() < kept {
                after.resize(kept, 0);
            }
            after[start..kept].copy_from_slice(&self.cached[start..kept]);
        }
        self.cached.clone_from(&after);
        self.durable = after;
        self.named = true;
    }
}

fn sectors(len: usize) -> usize {
    len.div_ceil(SECTOR)
}
