//! Prefetch: a hint to the CPU that a value will be used soon.
//!
//! Why: a loop over thousands of connections finds each one's state outside the cache. With a hint one visit
//! ahead, the state arrives during the system call of the visit before.
//! Invariant: a hint changes no value and reads none.

#![allow(unsafe_code)]

/// Bytes of a cache line, on every CPU that this is written for.
#[cfg(target_arch = "x86_64")]
const LINE_BYTES: usize = 64;

/// Fetch all of a value into the cache. Does nothing on other CPUs.
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
