//! A hint to the CPU that something will be used soon.
//!
//! Why: a loop over thousands of connections finds each one's state out of the cache. Asked for one visit
//! ahead, it arrives while the visit before is in its system call.
//! Invariant: a hint changes no value, and none is read.

#![allow(unsafe_code)]

/// Bytes that come into the cache at once, on every CPU that this is written for.
#[cfg(target_arch = "x86_64")]
const LINE_BYTES: usize = 64;

/// Ask for all of a value to come into the cache. Does nothing on a CPU for which it is not written.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        let start = std::ptr::from_ref(value).cast::<i8>();
        for line in 0..size_of::<T>().div_ceil(LINE_BYTES) {
            // SAFETY: a prefetch of any address is sound: it reads no value and does not fault.
            // `wrapping_add`, since the last line may begin where the value, unaligned to lines, has ended.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(start.wrapping_add(line * LINE_BYTES)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_hint_of_any_size_is_taken() {
        super::prefetch(&());
        super::prefetch(&7u8);
        super::prefetch(&[0u64; 1000]);
    }
}
