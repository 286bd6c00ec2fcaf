//! An allocator that puts every allocation against an inaccessible page.
//!
//! An allocation is a mapping of its own: a page without access, the pages of the data, another page without access. The data
//! begins at the first byte of its pages or ends at the last one, as [`against`] says, so that one byte further ends the program.
//! An alignment that is no divisor of the size leaves up to that many bytes between the end and the page.

#![allow(unsafe_code, reason = "an allocator")]

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::{null_mut, with_exposed_provenance_mut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Which end of an allocation lies against a page without access; the other end's page begins where the data's last page ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The first byte.
    First,
    /// The last byte.
    Last,
}

static FIRST: AtomicBool = AtomicBool::new(false);

/// Allocations from now on, on all threads, lie with this end against a page.
pub fn against(end: End) {
    FIRST.store(end == End::First, Ordering::SeqCst);
}

/// Runs `check` with each end of what it allocates against a page. One at a time: the end is the whole program's.
pub fn at_both_ends(check: impl Fn()) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    for end in [End::Last, End::First] {
        against(end);
        check();
    }
}

/// Bytes of a page. Where a system has larger ones, as some for ARM do, no guard can be set, and the program ends at once for want of
/// memory.
pub const PAGE: usize = 4096;

/// The allocator: the `#[global_allocator]` of a test.
#[derive(Debug)]
pub struct Guarded;

/// Mappings with one page of data that are free. Each holds the address of the next one, so the list takes no memory.
///
/// The references of the suite make millions of short vectors; to map and unmap each would take minutes.
static FREE: Mutex<Option<usize>> = Mutex::new(None);

/// Bytes of the pages that hold `size` bytes; `None` where a mapping of them with its guards is longer than memory.
fn data_bytes(size: usize) -> Option<usize> {
    let bytes = size.checked_next_multiple_of(PAGE)?;
    bytes.checked_add(2 * PAGE)?;
    Some(bytes)
}

/// The data of a mapping of which no one knows: `bytes` bytes, whole pages, between two pages without access. Null where there
/// is none to be had.
fn map(bytes: usize) -> *mut u8 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new anonymous mapping touches no memory that is in use.
    let mapping = unsafe { libc::mmap(null_mut(), bytes + 2 * PAGE, libc::PROT_NONE, flags, -1, 0) };
    if mapping == libc::MAP_FAILED {
        return null_mut();
    }
    let data = mapping.cast::<u8>().wrapping_add(PAGE);
    // SAFETY: these pages lie in the mapping that was made above, and no one knows of them yet.
    if unsafe { libc::mprotect(data.cast(), bytes, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
        unmap(data, bytes);
        return null_mut();
    }
    data
}

/// Gives back what [`map`] gave.
fn unmap(data: *mut u8, bytes: usize) {
    // SAFETY: exactly the mapping that `map` made; who calls this has no more use for it.
    unsafe { libc::munmap(data.wrapping_sub(PAGE).cast(), bytes + 2 * PAGE) };
}

/// One page of data from the list, or a new one.
fn take_page() -> *mut u8 {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(address) = *free else {
        drop(free);
        return map(PAGE);
    };
    let page = with_exposed_provenance_mut::<u8>(address);
    // SAFETY: pages on the list are mapped, aligned, belong to no one else, and begin with what `give_page` wrote.
    *free = unsafe { page.cast::<Option<usize>>().read() };
    page
}

fn give_page(page: *mut u8) {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the caller gives up a whole page, which is aligned and longer than this.
    unsafe { page.cast::<Option<usize>>().write(*free) };
    *free = Some(page.expose_provenance());
}

// SAFETY: `alloc` gives pages that no one else has, readable and writable over the whole of `layout.size()` bytes and aligned (a
// mapping to a page, and alignments above that are refused); `dealloc` gives up exactly those. Nothing here allocates or
// unwinds: the lock is a futex, and what it guards cannot panic.
unsafe impl GlobalAlloc for Guarded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        let Some(bytes) = data_bytes(size).filter(|_| align <= PAGE) else { return null_mut() };
        let data = if bytes == PAGE { take_page() } else { map(bytes) };
        if data.is_null() {
            return data;
        }
        // The last place that is aligned and leaves room for the size; in the first page, as less than a page is left over.
        let offset = if FIRST.load(Ordering::SeqCst) { 0 } else { (bytes - size) / align * align };
        data.wrapping_add(offset)
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        let Some(bytes) = data_bytes(layout.size()) else { return };
        // `alloc` put `ptr` into the first of the data's pages.
        let data = ptr.wrapping_sub(ptr.addr() % PAGE);
        if bytes == PAGE { give_page(data) } else { unmap(data, bytes) }
    }
}
