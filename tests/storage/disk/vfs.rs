//! The disk under SQLite: a VFS over the one of the system. Files below the
//! folder of a disk go through that disk; locks, shared memory and all else
//! are the system's.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use rusqlite::ffi;

use super::{Change, SimDisk, State};

/// The name that connections ask for.
pub(super) const NAME: &str = "quern-sim";

/// The disks, by their folders.
static MOUNTED: Mutex<BTreeMap<PathBuf, Weak<Mutex<State>>>> = Mutex::new(BTreeMap::new());

/// The VFS of the system, and ours over it.
struct Registered {
    system: *mut ffi::sqlite3_vfs,
}

// SAFETY: the pointer is to a static of SQLite that is never written again.
unsafe impl Send for Registered {}
// SAFETY: as above.
unsafe impl Sync for Registered {}

static REGISTERED: OnceLock<Registered> = OnceLock::new();

/// Lets files below `root` go through `disk`, as long as it lives.
pub(super) fn mount(root: &Path, disk: &SimDisk) {
    REGISTERED.get_or_init(register);
    let mut mounted = MOUNTED.lock().unwrap();
    mounted.retain(|_, state| state.strong_count() > 0);
    mounted.insert(root.to_owned(), Arc::downgrade(&disk.0));
}

fn register() -> Registered {
    // SAFETY: the system's VFS exists from the first use of SQLite to the end of
    // the process; ours and its name are leaked, so they do too.
    unsafe {
        ffi::sqlite3_initialize();
        let system = ffi::sqlite3_vfs_find(std::ptr::null());
        assert!(!system.is_null());
        let mut ours = std::ptr::read(system);
        ours.zName = c"quern-sim".as_ptr();
        ours.pNext = std::ptr::null_mut();
        ours.szOsFile += real_at() as c_int;
        ours.xOpen = Some(open);
        ours.xDelete = Some(delete);
        assert_eq!(ffi::sqlite3_vfs_register(Box::leak(Box::new(ours)), 0), ffi::SQLITE_OK);
        Registered { system }
    }
}

/// A file of ours; that of the system lies behind it.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    /// None for temporary files.
    tracked: Option<Box<Tracked>>,
}

/// A file that goes through a disk.
struct Tracked {
    disk: Arc<Mutex<State>>,
    path: PathBuf,
    inode: usize,
    kind: &'static str,
    /// A journal: SQLite's system VFS syncs its folder with its first sync.
    folder_unsynced: bool,
}

/// Where in a file of ours that of the system begins.
const fn real_at() -> usize {
    size_of::<File>().next_multiple_of(16)
}

/// The system's file inside of ours, with its methods.
unsafe fn real(file: *mut ffi::sqlite3_file) -> (*mut ffi::sqlite3_file, &'static ffi::sqlite3_io_methods) {
    // SAFETY: SQLite gave us `szOsFile` bytes; the system's file is open, so it has methods.
    unsafe {
        let real = file.cast::<u8>().add(real_at()).cast::<ffi::sqlite3_file>();
        (real, &*(*real).pMethods)
    }
}

/// What we know of an open file.
unsafe fn tracked<'a>(file: *mut ffi::sqlite3_file) -> Option<&'a mut Tracked> {
    // SAFETY: `open` has written a `File` there.
    unsafe { (*file.cast::<File>()).tracked.as_deref_mut() }
}

fn disk_of(path: &Path) -> Option<Arc<Mutex<State>>> {
    let mounted = MOUNTED.lock().unwrap();
    // The longest folder comes last.
    mounted.iter().rev().find(|(root, _)| path.starts_with(root)).and_then(|(_, state)| state.upgrade())
}

unsafe fn path_of(name: *const c_char) -> Option<PathBuf> {
    // SAFETY: SQLite gives names that end in a zero, or none.
    (!name.is_null()).then(|| Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes())).to_owned())
}

fn code(error: &io::Error, otherwise: c_int) -> c_int {
    if error.kind() == io::ErrorKind::StorageFull { ffi::SQLITE_FULL } else { otherwise }
}

fn kind(path: &Path) -> &'static str {
    let name = path.to_string_lossy();
    match name.rsplit('-').next() {
        Some("wal") => super::WAL,
        Some("journal") => "catalog's journal",
        _ if name.ends_with(".part") => "backup",
        _ => "catalog",
    }
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: the arguments are SQLite's; `file` has room for both files.
    unsafe {
        (*file).pMethods = std::ptr::null();
        let path = path_of(name);
        let disk = path.as_deref().and_then(disk_of);
        let creates = flags & ffi::SQLITE_OPEN_CREATE != 0 && path.as_deref().is_some_and(|path| !path.exists());
        if let (Some(disk), Some(path), true) = (&disk, &path, creates)
            && let Err(error) = disk.lock().unwrap().check("create", path)
        {
            return code(&error, ffi::SQLITE_CANTOPEN);
        }
        let system = REGISTERED.get_or_init(register).system;
        let real = file.cast::<u8>().add(real_at()).cast::<ffi::sqlite3_file>();
        let answer = (*system).xOpen.unwrap()(system, name, real, flags, out);
        if answer != ffi::SQLITE_OK {
            return answer;
        }
        let tracked = disk.zip(path).map(|(disk, path)| {
            let inode = {
                let mut state = disk.lock().unwrap();
                match state.names.get(&path) {
                    Some(super::Entry::File(inode)) => *inode,
                    _ => state.created(&path),
                }
            };
            let journals = ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL;
            let folder_unsynced = flags & ffi::SQLITE_OPEN_CREATE != 0 && flags & journals != 0;
            Box::new(Tracked { kind: kind(&path), disk, path, inode, folder_unsynced })
        });
        std::ptr::write(file.cast::<File>(), File { base: ffi::sqlite3_file { pMethods: &METHODS }, tracked });
        answer
    }
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: the arguments are SQLite's.
    unsafe {
        let system = REGISTERED.get_or_init(register).system;
        let path = path_of(name);
        let Some((disk, path)) = path.and_then(|path| Some((disk_of(&path)?, path))) else {
            return (*system).xDelete.unwrap()(system, name, sync);
        };
        let mut state = disk.lock().unwrap();
        if let Err(error) = state.check("remove", &path) {
            return code(&error, ffi::SQLITE_IOERR_DELETE);
        }
        let answer = (*system).xDelete.unwrap()(system, name, 0);
        if answer == ffi::SQLITE_OK {
            state.names.remove(&path);
            if let Some(folder) = path.parent().filter(|_| sync != 0) {
                state.sync_folder_by_sqlite(folder, kind(&path));
            }
        }
        answer
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the file is open; it is not used after this.
    unsafe {
        let (inner, methods) = real(file);
        let answer = methods.xClose.unwrap()(inner);
        std::ptr::drop_in_place(&raw mut (*file.cast::<File>()).tracked);
        answer
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, bytes: *const c_void, n: c_int, at: i64) -> c_int {
    // SAFETY: the file is open, and there are `n` bytes.
    unsafe {
        let (inner, methods) = real(file);
        let put = |n: c_int| methods.xWrite.unwrap()(inner, bytes, n, at);
        let Some(tracked) = tracked(file) else { return put(n) };
        let data = std::slice::from_raw_parts(bytes.cast::<u8>(), n as usize);
        let mut state = tracked.disk.lock().unwrap();
        let (done, outcome) = state.check_write(&tracked.path, data.len());
        if done > 0 {
            let answer = put(done as c_int);
            if answer != ffi::SQLITE_OK {
                return answer;
            }
            state.changed(tracked.inode, Change::Write(at as u64, data[..done].to_vec()));
        }
        outcome.map_or_else(|error| code(&error, ffi::SQLITE_IOERR_WRITE), |()| ffi::SQLITE_OK)
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        let (inner, methods) = real(file);
        if let Some(tracked) = tracked(file) {
            let mut state = tracked.disk.lock().unwrap();
            if let Err(error) = state.check("truncate", &tracked.path) {
                return code(&error, ffi::SQLITE_IOERR_TRUNCATE);
            }
            state.changed(tracked.inode, Change::Truncate(length as u64));
        }
        methods.xTruncate.unwrap()(inner, length)
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        let (inner, methods) = real(file);
        let Some(tracked) = tracked(file) else { return methods.xSync.unwrap()(inner, flags) };
        let mut state = tracked.disk.lock().unwrap();
        if let Err(error) = state.check("sync", &tracked.path) {
            return code(&error, ffi::SQLITE_IOERR_FSYNC);
        }
        state.sync_file(tracked.inode, tracked.kind);
        if std::mem::take(&mut tracked.folder_unsynced)
            && let Some(folder) = tracked.path.parent()
        {
            state.sync_folder_by_sqlite(folder, tracked.kind);
        }
        ffi::SQLITE_OK
    }
}

/// A method that is the system's.
macro_rules! system {
    ($name:ident, $method:ident, $answer:ty $(, $argument:ident: $type:ty)*) => {
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $type)*) -> $answer {
            // SAFETY: the file is open; the arguments are SQLite's.
            unsafe {
                let (inner, methods) = real(file);
                methods.$method.unwrap()(inner $(, $argument)*)
            }
        }
    };
}

system!(read, xRead, c_int, bytes: *mut c_void, n: c_int, at: i64);
system!(file_size, xFileSize, c_int, size: *mut i64);
system!(lock, xLock, c_int, level: c_int);
system!(unlock, xUnlock, c_int, level: c_int);
system!(check_reserved_lock, xCheckReservedLock, c_int, out: *mut c_int);
system!(file_control, xFileControl, c_int, op: c_int, argument: *mut c_void);
system!(sector_size, xSectorSize, c_int);
system!(characteristics, xDeviceCharacteristics, c_int);
system!(shm_map, xShmMap, c_int, page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void);
system!(shm_lock, xShmLock, c_int, offset: c_int, n: c_int, flags: c_int);
system!(shm_barrier, xShmBarrier, ());
system!(shm_unmap, xShmUnmap, c_int, delete: c_int);

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
