//! Serving: a node makes snapshots of its copies for others, and gives them part by part.
//!
//! Invariants: one at a time. A file that nobody asked for in [`IDLE`] is removed. A request that cannot be
//! read is answered by the reason.
//! Not here: the way of the messages (the module above).

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use grandstand_cluster::id::Position;
use grandstand_cluster::record::Renewal;
use tokio::sync::mpsc::UnboundedSender;
use twox_hash::XxHash3_64;

use super::{Copies, OUT, Offer, PART_BYTES, Request, Wanted, file_of};

/// A file that nobody asks for is removed after this time.
const IDLE: Duration = Duration::from_secs(60);
/// Another node's snapshot has precedence while it asked within this time.
const BUSY: Duration = Duration::from_secs(10);

/// A snapshot that was made.
pub(super) struct Made {
    shard: u16,
    result: Result<Ready, String>,
}

#[derive(Clone, Debug)]
struct Ready {
    file: PathBuf,
    position: u64,
    head_sum: u64,
    bytes: u64,
    sum: u64,
}

enum State {
    Nothing,
    Making(u16),
    Ready { shard: u16, id: u64, ready: Ready, used: Instant },
    Failed(u16, String),
}

/// See the file's head.
pub(super) struct Offers {
    state: State,
    ids: u64,
    made: UnboundedSender<Made>,
}

impl Offers {
    pub(super) fn new(made: UnboundedSender<Made>) -> Self {
        // Another life of this node gives other numbers.
        let ids = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Offers { state: State::Nothing, ids: ids.map_or(0, |time| time.as_millis() as u64), made }
    }

    /// The answer to a request.
    pub(super) fn answer(&mut self, copies: &Arc<dyn Copies>, payload: &[u8]) -> Vec<u8> {
        let json = |offer: &Offer| serde_json::to_vec(offer).expect("plain data");
        match serde_json::from_slice(payload) {
            Ok(Request::States) => serde_json::to_vec(&copies.states()).expect("plain data"),
            Ok(Request::Snapshot { shard, first, renewed }) => {
                let renewed = renewed.map(|(position, sum, first)| Renewal {
                    position: Position(position),
                    sum,
                    first: Position(first),
                });
                json(&self.offer(copies, Wanted { shard, first, renewed }))
            }
            Ok(Request::Part { id, at }) => self.part(id, at).unwrap_or_default(),
            Err(error) => json(&Offer::No(format!("a request of another release: {error}"))),
        }
    }

    fn offer(&mut self, copies: &Arc<dyn Copies>, wanted: Wanted) -> Offer {
        match &mut self.state {
            State::Making(shard) if *shard == wanted.shard => return Offer::Making,
            State::Making(_) => return Offer::Busy,
            State::Ready { shard, id, ready, used } if *shard == wanted.shard => {
                if wanted.is_met_by(ready.position, ready.head_sum) {
                    *used = Instant::now();
                    return Offer::Ready { id: *id, bytes: ready.bytes, sum: ready.sum };
                }
            }
            State::Ready { used, .. } if used.elapsed() < BUSY => return Offer::Busy,
            State::Failed(shard, why) if *shard == wanted.shard => {
                let why = std::mem::take(why);
                self.state = State::Nothing;
                return Offer::No(why);
            }
            State::Ready { .. } | State::Failed(..) | State::Nothing => {}
        }
        let has = copies.states().into_iter().find(|state| state.shard == wanted.shard);
        let sum = |hex: &str| u64::from_str_radix(hex, 16).unwrap_or_default();
        let is_met = has.is_some_and(|has| has.is_sound && wanted.is_met_by(has.position, sum(&has.sum)));
        if !is_met {
            return Offer::No("its own copy does not reach that far, or is not sound".to_owned());
        }
        self.forget();
        self.state = State::Making(wanted.shard);
        let (copies, made, shard) = (copies.clone(), self.made.clone(), wanted.shard);
        let make = move || {
            let file = file_of(copies.folder(), OUT, shard);
            let result = copies.export(shard, &file).and_then(|(position, head_sum)| {
                let (bytes, sum) = sum_of(&file).map_err(|error| error.to_string())?;
                Ok(Ready { file, position, head_sum, bytes, sum })
            });
            // The exchange may have ended.
            let _ = made.send(Made { shard, result });
        };
        match std::thread::Builder::new().name("snapshot".to_owned()).spawn(make) {
            Ok(_) => Offer::Making,
            Err(error) => {
                self.state = State::Nothing;
                Offer::No(error.to_string())
            }
        }
    }

    /// It was made, or not.
    pub(super) fn take(&mut self, made: Made) {
        self.ids += 1;
        self.state = match made.result {
            Ok(ready) => State::Ready { shard: made.shard, id: self.ids, ready, used: Instant::now() },
            Err(why) => State::Failed(made.shard, why),
        };
    }

    fn part(&mut self, wanted: u64, at: u64) -> Option<Vec<u8>> {
        let State::Ready { id, ready, used, .. } = &mut self.state else { return None };
        if *id != wanted {
            return None;
        }
        *used = Instant::now();
        let mut file = std::fs::File::open(&ready.file).ok()?;
        file.seek(SeekFrom::Start(at)).ok()?;
        let mut bytes = Vec::new();
        file.take(PART_BYTES).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Remove what nobody asks for any more.
    pub(super) fn forget_idle(&mut self) {
        if matches!(&self.state, State::Ready { used, .. } if used.elapsed() >= IDLE) {
            self.forget();
        }
    }

    fn forget(&mut self) {
        if let State::Ready { ready, .. } = &self.state {
            let _ = std::fs::remove_file(&ready.file);
        }
        self.state = State::Nothing;
    }
}

impl Drop for Offers {
    fn drop(&mut self) {
        self.forget();
    }
}

/// The bytes of a file, and their sum.
pub(super) fn sum_of(file: &Path) -> std::io::Result<(u64, u64)> {
    let mut file = std::fs::File::open(file)?;
    let (mut sum, mut bytes) = (0, 0);
    loop {
        let mut part = Vec::new();
        let count = file.by_ref().take(PART_BYTES).read_to_end(&mut part)?;
        if count == 0 {
            return Ok((bytes, sum));
        }
        bytes += count as u64;
        sum = XxHash3_64::oneshot_with_seed(sum, &part);
    }
}
