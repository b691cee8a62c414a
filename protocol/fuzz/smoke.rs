//! The smoke of fuzz targets: seeds, mutations of them and noise, the same in every run.
//!
//! Why: the guided search (`cargo xtask fuzz`) is run by hand and for long; this one says within seconds that
//! no target has rotted. `GRANDSTAND_FUZZ_SEED` and `GRANDSTAND_FUZZ_ROUNDS` choose other inputs, or more.
//! Not here: the targets' bodies, their seeds.

/// Xorshift64* (Vigna 2016): seeded, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `n`.
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Bytes that lengths, offsets and bit fields are decided by.
const EDGES: [u8; 12] = [0, 1, 2, 4, 0x10, 0x20, 0x7e, 0x7f, 0x80, 0x82, 0xfe, 0xff];

fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], dice: &mut Dice) {
    let at = dice.below(bytes.len());
    match dice.below(8) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
        1 if !bytes.is_empty() => bytes[at] = EDGES[dice.below(EDGES.len())],
        2 if !bytes.is_empty() => bytes[at] = bytes[at].wrapping_add(1),
        3 => bytes.truncate(at),
        4 => bytes.insert(at.min(bytes.len()), dice.next() as u8),
        5 if !bytes.is_empty() => drop(bytes.remove(at)),
        6 => {
            let other = &others[dice.below(others.len())];
            bytes.truncate(at);
            bytes.extend_from_slice(&other[dice.below(other.len())..]);
        }
        _ => bytes.extend((0..dice.below(9)).map(|_| dice.next() as u8)),
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

/// Feed a target this many times; the input that it fails on is printed as hex.
pub(crate) fn smoke(body: fn(&[u8]), seeds: &[Vec<u8>], rounds: u64) {
    let mut dice = Dice(number("GRANDSTAND_FUZZ_SEED", 0x9e37_79b9_7f4a_7c15).max(1));
    seeds.iter().for_each(|seed| run(body, seed));
    for round in 0..number("GRANDSTAND_FUZZ_ROUNDS", rounds) {
        let mut bytes = match round % 8 {
            0 => (0..dice.below(64)).map(|_| dice.next() as u8).collect(),
            _ => seeds[dice.below(seeds.len())].clone(),
        };
        bytes.truncate(2048);
        for _ in 0..=dice.below(4) {
            mutate(&mut bytes, seeds, &mut dice);
        }
        run(body, &bytes);
    }
}

fn run(body: fn(&[u8]), bytes: &[u8]) {
    let outcome = std::panic::catch_unwind(|| body(bytes));
    if let Err(panic) = outcome {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("failed on {hex}");
        std::panic::resume_unwind(panic);
    }
}
