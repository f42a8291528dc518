//! Memory: what is large is the kernel's, and what is small is reused by its size.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;

use crate::linux::{map, unmap};

/// The sizes are powers of two, from this one on.
const SMALLEST: usize = 32;
const SIZES: usize = 9;
/// What the kernel gives at once for small pieces.
const BLOCK: usize = 64 << 10;

struct Memory(UnsafeCell<State>);

struct State {
    /// For each size, the first free piece; each holds the address of the next.
    free: [*mut u8; SIZES],
    /// What is left of the latest block.
    rest: *mut u8,
    left: usize,
}

// SAFETY: the program has one thread.
unsafe impl Sync for Memory {}

#[global_allocator]
static MEMORY: Memory =
    Memory(UnsafeCell::new(State { free: [core::ptr::null_mut(); SIZES], rest: core::ptr::null_mut(), left: 0 }));

/// Returns the place of a size in the list, if it is small.
fn place(layout: Layout) -> Option<usize> {
    let size = layout.size().max(layout.align()).max(SMALLEST).next_power_of_two();
    let place = (size / SMALLEST).trailing_zeros() as usize;
    (place < SIZES).then_some(place)
}

// SAFETY: pieces of one size lie in blocks of pages, each at a multiple of its size as far as anything is aligned here.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(place) = place(layout) else { return map(layout.size()) };
        let size = SMALLEST << place;
        // SAFETY: one thread, and no call in between.
        let state = unsafe { &mut *self.0.get() };
        let piece = state.free[place];
        if !piece.is_null() {
            // SAFETY: a free piece holds the address of the next one.
            state.free[place] = unsafe { *piece.cast::<*mut u8>() };
            return piece;
        }
        let gap = state.rest.align_offset(size);
        if state.rest.is_null() || state.left < size + gap {
            state.rest = map(BLOCK);
            if state.rest.is_null() {
                return state.rest;
            }
            state.left = BLOCK;
        }
        let gap = state.rest.align_offset(size);
        // SAFETY: it was seen to fit.
        unsafe {
            let piece = state.rest.add(gap);
            state.rest = piece.add(size);
            state.left -= gap + size;
            piece
        }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        match place(layout) {
            // SAFETY: the caller's promise.
            None => unsafe { unmap(piece, layout.size()) },
            Some(place) => {
                // SAFETY: as in `alloc`; the piece has room for an address.
                unsafe {
                    let state = &mut *self.0.get();
                    *piece.cast::<*mut u8>() = state.free[place];
                    state.free[place] = piece;
                }
            }
        }
    }
}
