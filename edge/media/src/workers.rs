//! Workers: the threads that check images, and the line before them.
//!
//! Why threads of their own at a low priority: decoding takes a CPU for a tenth of a second, and the threads
//! that write to viewers must not wait for it. Why a bounded line: 200 people who upload at once would
//! otherwise fill the memory.
//! Invariants: an image takes a place in the line or is refused at once. A decoder that panics refuses its
//! image and nothing else. The threads end with the last handle.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::image::{Cleaned, Limits, Refused, clean};

/// How much lower than the node's other threads.
const NICE: i32 = 10;

/// See the file's head.
#[derive(Clone, Debug)]
pub struct Workers(mpsc::SyncSender<Job>);

#[derive(Debug)]
struct Job {
    bytes: Bytes,
    limits: Limits,
    reply: oneshot::Sender<Result<Cleaned, Refused>>,
}

/// The line is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Workers {
    /// Start `threads`, with a line of `waiting` images before them.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(threads: usize, waiting: usize) -> io::Result<Workers> {
        let (sender, jobs) = mpsc::sync_channel(waiting);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..threads {
            let jobs = jobs.clone();
            std::thread::Builder::new().name("grandstand-images".to_owned()).spawn(move || {
                // Where the system refuses, the thread works at the usual priority.
                let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
                work(&jobs);
            })?;
        }
        Ok(Workers(sender))
    }

    /// Check an image on one of the threads.
    ///
    /// # Errors
    /// The line is full, now.
    pub async fn clean(&self, bytes: Bytes, limits: Limits) -> Result<Result<Cleaned, Refused>, Full> {
        let (reply, answer) = oneshot::channel();
        self.0.try_send(Job { bytes, limits, reply }).map_err(|_| Full)?;
        answer.await.map_err(|_| Full)
    }
}

fn work(jobs: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        // One thread waits for the next image with the lock, and the others for the lock.
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { bytes, limits, reply }) = next else { return };
        if reply.is_closed() {
            continue;
        }
        let cleaned = catch_unwind(AssertUnwindSafe(|| clean(&bytes, &limits)))
            .unwrap_or_else(|_| Err(Refused::Damaged("its decoder failed".to_owned())));
        // Whoever asked may have gone.
        let _ = reply.send(cleaned);
    }
}
