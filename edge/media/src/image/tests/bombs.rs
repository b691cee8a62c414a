//! Bombs: small files that ask for much memory or time.
//!
//! Why by name: each is refused for a reason of its own, and the reason is what its sender is told.

use crate::image::{Limits, Refused, clean};
use crate::trial::bombs;

#[test]
fn each_bomb_is_refused_with_its_reason_before_it_takes_anything() {
    let bombs = bombs();
    assert!(bombs.len() >= 12);
    for (name, bytes, what) in bombs {
        assert!(bytes.len() <= 8 << 20, "{name}: {} bytes", bytes.len());
        match clean(&bytes, &Limits::default()) {
            Err(Refused::TooMuch { what: got, .. }) => assert_eq!(got, what, "{name}"),
            Err(Refused::Damaged(how)) => assert_eq!("damaged", what, "{name}: {how}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}
