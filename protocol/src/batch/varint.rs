//! LEB128 varints of up to 64 bits, in their shortest form only.
//!
//! Why the shortest form only: with two encodings of one number, equal batches could differ in their bytes.

/// Append `n`.
pub fn write(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Read a varint from `bytes` at `*pos`, and move `*pos` after it. `None` if it is cut off, over 64 bits or
/// longer than needed.
pub fn read(bytes: &[u8], pos: &mut usize) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*pos)?;
        *pos += 1;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        n |= part << shift;
        if byte & 0x80 == 0 {
            return (byte != 0 || shift == 0).then_some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_survives() {
        for n in (0..64).flat_map(|s| [1u64 << s, (1 << s) - 1]).chain([u64::MAX]) {
            let mut out = Vec::new();
            write(n, &mut out);
            let mut pos = 0;
            assert_eq!(read(&out, &mut pos), Some(n));
            assert_eq!(pos, out.len());
        }
    }

    #[test]
    fn long_and_cut_forms_are_refused() {
        for bytes in [
            &[0x80, 0][..],
            &[0x80],
            &[],
            &[0xff; 10],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        ] {
            assert_eq!(read(bytes, &mut 0), None, "{bytes:?}");
        }
    }
}
