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

type FileId = u64;

/// Stands for a directory: one is as good as another.
const DIRECTORY: FileId = 0;

/// The longest path, and the longest name in it, in bytes.
const MAX_PATH: usize = 4095;
const MAX_NAME: usize = 255;

/// An open file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened {
    file: FileId,
    /// As given to open(2).
    flags: i32,
}

impl Opened {
    fn is_for(self, access: i32) -> bool {
        let own = self.flags & libc::O_ACCMODE;
        own == access || own == libc::O_RDWR
    }
}

/// See the [module](self). A clone is the disk as it is at that time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    names: BTreeMap<Vec<u8>, FileId>,
    files: BTreeMap<FileId, File>,
    last: FileId,
}

impl Disk {
    /// Opens a file. A directory is there as long as a file is in it; any file can be made.
    pub(crate) fn open(&mut self, path: &[u8], flags: i32) -> Result<Opened, i32> {
        self.check_path(path)?;
        if self.is_directory(path) {
            let made = libc::O_CREAT | libc::O_EXCL;
            let writes = flags & (libc::O_CREAT | libc::O_ACCMODE) != libc::O_RDONLY;
            return match flags & made == made {
                true => Err(libc::EEXIST),
                false if writes => Err(libc::EISDIR),
                false => Ok(Opened { file: DIRECTORY, flags }),
            };
        }
        let known = self.names.get(path).copied();
        if known.is_some() && flags & libc::O_CREAT != 0 && flags & libc::O_EXCL != 0 {
            return Err(libc::EEXIST);
        }
        let file = match known {
            Some(_) if flags & libc::O_DIRECTORY != 0 => return Err(libc::ENOTDIR),
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
            let file = self.files.entry(file).or_default();
            file.dirty.extend(0..sectors(file.cached.len()));
            file.cached.clear();
        }
        Ok(Opened { file, flags })
    }

    fn check_path(&self, path: &[u8]) -> Result<(), i32> {
        if path.is_empty() {
            return Err(libc::ENOENT);
        }
        let mut names = path.split(|byte| *byte == b'/');
        if path.len() > MAX_PATH || names.any(|name| name.len() > MAX_NAME) {
            return Err(libc::ENAMETOOLONG);
        }
        let mut slashes = (0..path.len()).filter(|at| path[*at] == b'/');
        if slashes.any(|at| self.names.contains_key(&path[..at])) {
            return Err(libc::ENOTDIR);
        }
        Ok(())
    }

    fn is_directory(&self, path: &[u8]) -> bool {
        let mut within = path.to_vec();
        if within.last() != Some(&b'/') {
            within.push(b'/');
        }
        let mut names = self.names.range(within.clone()..);
        names.next().is_some_and(|(name, _)| name.starts_with(&within))
    }

    fn file(&mut self, id: FileId) -> Result<&mut File, i32> {
        self.files.get_mut(&id).ok_or(libc::EBADF)
    }

    pub(crate) fn length(&mut self, opened: Opened) -> Result<u64, i32> {
        let id = opened.file;
        if id == DIRECTORY {
            return Ok(SECTOR as u64);
        }
        Ok(self.file(id)?.cached.len() as u64)
    }

    pub(crate) fn read(
        &mut self,
        scope: &mut Scope<'_>,
        opened: Opened,
        offset: u64,
        room: usize,
    ) -> Result<Vec<u8>, i32> {
        let id = opened.file;
        if !opened.is_for(libc::O_RDONLY) {
            return Err(libc::EBADF);
        }
        if id == DIRECTORY {
            return Err(libc::EISDIR);
        }
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
        opened: Opened,
        offset: u64,
        data: &Data,
    ) -> Result<usize, i32> {
        let id = opened.file;
        if !opened.is_for(libc::O_WRONLY) {
            return Err(libc::EBADF);
        }
        if data.is_empty() {
            // Not even the length changes.
            return Ok(0);
        }
        if scope.chance(|faults| faults.disk.write_error, "write failed") {
            return Err(libc::EIO);
        }
        let bytes = data.pieces(0).collect::<Vec<_>>().concat();
        let mut len = bytes.len();
        if len > 1 && scope.chance(|faults| faults.disk.short_write, "write was short") {
            len = scope.between(1, len as u64 - 1) as usize;
        }
        let mut start = usize::try_from(offset).map_err(|_| libc::EFBIG)?;
        if opened.flags & libc::O_APPEND != 0 {
            start = self.file(id)?.cached.len();
        }
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

    pub(crate) fn sync(&mut self, scope: &mut Scope<'_>, opened: Opened) -> Result<(), i32> {
        let id = opened.file;
        if id == DIRECTORY {
            return Ok(());
        }
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
