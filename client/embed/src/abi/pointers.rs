//! Each way in which a foreign pointer is used, once: read a text, read or fill a struct, hand out a text, call back.

use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use lamplighter_client::format::root::ROOT_BYTES_MAX;

use crate::bridge::foreign;
use crate::fault::Fault;
use crate::types::*;

/// No struct will ever be larger: a `size` beyond it is memory that nobody has set.
const RECORD_BYTES_MAX: u32 = 1 << 16;

/// More arguments than any system passes on.
const TEXTS_MAX: usize = 1 << 16;

/// A struct of the interface: plain data whose first field is its size.
///
/// # Safety
/// `repr(C)`, without padding, begins with a `u32`, and every pattern of bits is a value of it.
pub(super) unsafe trait Record: Copy {
    /// What errors call it.
    const NAME: &'static str;
    /// Its size in the first interface; callers may be that old.
    const FIRST_SIZE: u32;
}

macro_rules! records {
    ($($record:ty, $name:literal, $first_size:expr;)*) => {$(
        // SAFETY: a test in `types` adds its fields up, so there is no padding; they are integers, arrays and raw pointers.
        unsafe impl Record for $record {
            const NAME: &'static str = $name;
            const FIRST_SIZE: u32 = $first_size;
        }
    )*};
}

records! {
    LamplighterError, "error", 1088;
    LamplighterOrigin, "origin", 8 + 5 * size_of::<*const c_char>() as u32 + size_of::<usize>() as u32;
    LamplighterOffer, "offer", 576;
    LamplighterReport, "report", 640;
    LamplighterVerified, "verified", 312;
    LamplighterTree, "tree", 304;
    LamplighterStart, "start", 24;
    LamplighterSetup, "setup", 32 + 5 * size_of::<*const c_char>() as u32 + size_of::<usize>() as u32;
    LamplighterLaunched, "launched", 32;
}

/// Runs a call: what it returns, and what it panics with, becomes a status, and the struct at `error`.
///
/// # Safety
/// `error` is NULL or leads to as many bytes as its first field says.
pub(super) unsafe fn guarded(error: *mut LamplighterError, call: impl FnOnce() -> Result<(), Fault>) -> i32 {
    // What a panic leaves half done is in the tree's hands, which takes it for a crash.
    let result = catch_unwind(AssertUnwindSafe(call));
    let fault = match result {
        Ok(Ok(())) => Fault { status: LAMPLIGHTER_OK, code: "", message: String::new() },
        Ok(Err(fault)) => fault,
        Err(payload) => Fault::panic("the library", payload),
    };
    // SAFETY: the caller's promise. An `error` of an impossible size is left alone: there is nowhere to say so.
    if let Ok(out) = unsafe { Out::new("error", error) } {
        out.write(fault.to_record());
    }
    fault.status
}

/// Where a struct goes; nowhere if the caller does not want it.
pub(super) struct Out<T>(Option<(*mut T, u32)>);

impl<T: Record> Out<T> {
    /// # Safety
    /// `pointer` is NULL or leads to as many bytes as its first field says, until the value is dropped.
    pub(super) unsafe fn new(name: &'static str, pointer: *mut T) -> Result<Self, Fault> {
        if pointer.is_null() {
            return Ok(Self(None));
        }
        // SAFETY: the caller's promise: at least the size is there.
        let size = unsafe { size_of_record::<T>(name, pointer)? };
        Ok(Self(Some((pointer, size))))
    }

    /// Fills what the caller has room for, and says how much that is.
    pub(super) fn write(&self, record: T) {
        let Some((pointer, size)) = self.0 else { return };
        let filled = size.min(size_of::<T>() as u32);
        // SAFETY: `new` was promised `size` bytes at `pointer`, and `filled` is no more than that, nor than the record; all
        // bytes of a `Record` are set. The record begins with its size.
        unsafe {
            ptr::copy_nonoverlapping((&raw const record).cast::<u8>(), pointer.cast::<u8>(), filled as usize);
            pointer.cast::<u32>().write_unaligned(filled);
        }
    }
}

/// Reads a struct.
///
/// # Safety
/// `pointer` is NULL or leads to as many bytes as its first field says.
pub(super) unsafe fn read<T: Record>(name: &'static str, pointer: *const T) -> Result<T, Fault> {
    if pointer.is_null() {
        return Err(Fault::usage("E_ARGUMENT", format!("{name} is NULL")));
    }
    // SAFETY: the caller's promise. Fields that an older caller does not know are zero.
    unsafe {
        let size = size_of_record::<T>(name, pointer)?;
        let mut record = std::mem::zeroed::<T>();
        let known = (size as usize).min(size_of::<T>());
        ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut record).cast::<u8>(), known);
        Ok(record)
    }
}

/// # Safety
/// `pointer` leads to at least the four bytes of its first field.
unsafe fn size_of_record<T: Record>(name: &str, pointer: *const T) -> Result<u32, Fault> {
    // SAFETY: the caller's promise.
    let size = unsafe { pointer.cast::<u32>().read_unaligned() };
    if (T::FIRST_SIZE..=RECORD_BYTES_MAX).contains(&size) {
        return Ok(size);
    }
    let message =
        format!("{name}.size is {size}; set it to the size of the struct, which is at least {}", T::FIRST_SIZE);
    Err(Fault::usage("E_ARGUMENT", message))
}

/// A text that must be there.
///
/// # Safety
/// `pointer` is NULL or leads to bytes that end with NUL and do not change as long as the text is used.
pub(super) unsafe fn text<'a>(name: &str, pointer: *const c_char) -> Result<&'a str, Fault> {
    // SAFETY: the caller's promise.
    let text = unsafe { optional_text(name, pointer)? };
    text.ok_or_else(|| Fault::usage("E_ARGUMENT", format!("{name} is NULL")))
}

/// A text that may be NULL.
///
/// # Safety
/// As for [`text`].
pub(super) unsafe fn optional_text<'a>(name: &str, pointer: *const c_char) -> Result<Option<&'a str>, Fault> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(pointer) };
    let text = text.to_str().map_err(|error| Fault::usage("E_ARGUMENT", format!("{name} is not UTF-8: {error}")))?;
    Ok(Some(text))
}

/// An array of texts that must be there, if their number is not 0.
///
/// # Safety
/// `pointer` is NULL or leads to `count` pointers as [`text`] takes them.
pub(super) unsafe fn texts(name: &str, pointer: *const *const c_char, count: usize) -> Result<Vec<String>, Fault> {
    if count > TEXTS_MAX || (pointer.is_null() && count > 0) {
        return Err(Fault::usage("E_ARGUMENT", format!("{name} is NULL, or holds more than {TEXTS_MAX} texts")));
    }
    // SAFETY: the caller's promise; a pointer in the array need not be aligned either.
    (0..count).map(|n| unsafe { Ok(text(name, pointer.add(n).read_unaligned())?.to_owned()) }).collect()
}

/// Bytes that must be there.
///
/// # Safety
/// `pointer` is NULL or leads to `length` bytes that do not change as long as they are used.
pub(super) unsafe fn bytes<'a>(name: &str, pointer: *const u8, length: usize) -> Result<&'a [u8], Fault> {
    if pointer.is_null() {
        return Err(Fault::usage("E_ARGUMENT", format!("{name} is NULL")));
    }
    if length as u64 > ROOT_BYTES_MAX {
        return Err(Fault::usage("E_ARGUMENT", format!("{name} has {length} bytes; at most {ROOT_BYTES_MAX}")));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// Where a JSON text goes; nowhere if the caller does not want it.
pub(super) struct Json(*mut *mut c_char);

impl Json {
    /// # Safety
    /// `pointer` is NULL or leads to room for a pointer, until the value is dropped.
    pub(super) unsafe fn new(pointer: *mut *mut c_char) -> Self {
        if !pointer.is_null() {
            // SAFETY: the caller's promise.
            unsafe { pointer.write_unaligned(ptr::null_mut()) };
        }
        Self(pointer)
    }

    /// Hands a text out; it comes back through `lamplighter_free_text`.
    pub(super) fn write(&self, text: &str) {
        if !self.0.is_null() {
            // SAFETY: what `new` was promised.
            unsafe { self.0.write_unaligned(foreign(text).into_raw()) };
        }
    }
}

/// A function of the host program.
pub(super) struct Callback {
    function: unsafe extern "C-unwind" fn(*const LamplighterEvent, *mut c_void) -> i32,
    user: *mut c_void,
}

impl Callback {
    /// # Safety
    /// `function` may be called with an event and `user` until the value is dropped, on this thread.
    pub(super) unsafe fn new(
        function: unsafe extern "C-unwind" fn(*const LamplighterEvent, *mut c_void) -> i32,
        user: *mut c_void,
    ) -> Self {
        Self { function, user }
    }

    pub(super) fn call(&self, event: &LamplighterEvent) -> i32 {
        // SAFETY: what `new` was promised.
        unsafe { (self.function)(event, self.user) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_library_is_a_status() {
        let mut error = Fault::usage("", "").to_record();
        error.size = size_of::<LamplighterError>() as u32;
        // SAFETY: `error` is a struct of that size.
        let status = unsafe { guarded(&raw mut error, || panic!("no way out of {}", "here")) };
        assert_eq!((status, error.status), (LAMPLIGHTER_PANIC, LAMPLIGHTER_PANIC));
        // SAFETY: the field ends with NUL.
        let message = unsafe { CStr::from_ptr(error.message.as_ptr()) };
        assert_eq!(message.to_str(), Ok("the library panicked: no way out of here"));
    }

    #[test]
    fn a_caller_older_or_newer_than_the_library_gets_what_it_has_room_for() {
        #[repr(C)]
        struct Newer {
            start: LamplighterStart,
            more: u64,
        }
        let mut newer = Newer { start: LamplighterStart { size: 32, action: 9, start: 9, starts_max: 9 }, more: 7 };
        // SAFETY: the struct has the 32 bytes it says.
        unsafe { Out::new("start", (&raw mut newer).cast::<LamplighterStart>()) }
            .expect("a legal size")
            .write(LamplighterStart { size: 0, action: 1, start: 2, starts_max: 3 });
        assert_eq!((newer.start.size, newer.start.starts_max, newer.more), (24, 3, 7));
        for size in [0, 23, RECORD_BYTES_MAX + 1, u32::MAX] {
            newer.start.size = size;
            // SAFETY: nothing but the size is read of it.
            assert!(unsafe { Out::new("start", &raw mut newer.start) }.is_err(), "{size}");
        }
    }
}
