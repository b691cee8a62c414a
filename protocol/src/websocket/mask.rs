//! Masking: the XOR with a 4-byte key that every frame from a client carries (RFC 6455 §5.3).
//!
//! Masking and unmasking are the same operation.
//! Not here: which side must mask (`reader`); the keys, which the caller makes and which must be
//! unpredictable (§10.3).

/// XORs `bytes` with `key`. `phase` is the number of bytes of the same frame's payload before these, so a
/// payload can be unmasked piece by piece as it arrives.
pub fn unmask(bytes: &mut [u8], key: [u8; 4], phase: usize) {
    let key: [u8; 4] = std::array::from_fn(|i| key[phase.wrapping_add(i) % 4]);
    let wide = u64::from(u32::from_ne_bytes(key)) * 0x0000_0001_0000_0001;
    let (chunks, tail) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key.into_iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// §5.3: transformed-octet-i = original-octet-i XOR key[i MOD 4].
    fn unmask_by_the_book(bytes: &mut [u8], key: [u8; 4], phase: usize) {
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte ^= key[(i + phase) % 4];
        }
    }

    #[test]
    fn the_rfc_example_hello() {
        // §5.7: "Hello" masked with 37 fa 21 3d.
        let mut bytes = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        unmask(&mut bytes, [0x37, 0xfa, 0x21, 0x3d], 0);
        assert_eq!(&bytes, b"Hello");
    }

    proptest! {
        #[test]
        fn agrees_with_the_formula(mut bytes in prop::collection::vec(any::<u8>(), 0..200), key: [u8; 4], phase in 0usize..1000) {
            let mut expected = bytes.clone();
            unmask_by_the_book(&mut expected, key, phase);
            unmask(&mut bytes, key, phase);
            prop_assert_eq!(bytes, expected);
        }

        #[test]
        fn pieces_give_the_same_as_the_whole(bytes in prop::collection::vec(any::<u8>(), 0..100), key: [u8; 4], cut: prop::sample::Index) {
            let cut = cut.index(bytes.len() + 1);
            let (mut whole, mut pieces) = (bytes.clone(), bytes);
            unmask(&mut whole, key, 0);
            unmask(&mut pieces[..cut], key, 0);
            unmask(&mut pieces[cut..], key, cut);
            prop_assert_eq!(whole, pieces);
        }
    }
}
