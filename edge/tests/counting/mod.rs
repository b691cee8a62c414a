//! An allocator that counts for the thread that asks, and keeps traces of what one other, watched thread
//! allocates.
//!
//! Why two ways: a core runs on the test's own thread; a node's worker has a thread of its own, and what the
//! clients of the test allocate meanwhile must not count.
//! Invariant: counting allocates nothing; what keeping a trace allocates is not counted.
//! Not here: what is allowed (the tests).
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

thread_local! {
    /// Allocations of this thread.
    pub static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes that this thread allocated and that nobody gave back to it.
    pub static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
    static THREAD_ID: Cell<i32> = const { Cell::new(0) };
    static IS_TRACING: Cell<bool> = const { Cell::new(false) };
}

/// No thread has this number.
const NOBODY: i32 = -1;

static WATCHED: AtomicI32 = AtomicI32::new(NOBODY);
static KEEPS_TRACES: AtomicBool = AtomicBool::new(false);
static TRACES: Mutex<Vec<Backtrace>> = Mutex::new(Vec::new());

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(allocations: u64, bytes: i64) {
    if IS_TRACING.try_with(Cell::get).unwrap_or(true) {
        return;
    }
    // These fail only while the thread is torn down.
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + allocations));
    let _ = LIVE_BYTES.try_with(|n| n.set(n.get() + bytes));
    if allocations > 0 && KEEPS_TRACES.load(Ordering::Relaxed) {
        let watched = WATCHED.load(Ordering::Relaxed);
        if THREAD_ID.try_with(thread_id) == Ok(watched) {
            keep_trace();
        }
    }
}

/// The kernel's number of this thread.
fn thread_id(known: &Cell<i32>) -> i32 {
    if known.get() == 0 {
        known.set(rustix::thread::gettid().as_raw_nonzero().get());
    }
    known.get()
}

fn keep_trace() {
    IS_TRACING.set(true);
    TRACES.lock().expect("no panic while it is held").push(Backtrace::force_capture());
    IS_TRACING.set(false);
}

// SAFETY: every call goes to the system's allocator as it came; counting touches only atomics and
// thread-local cells without destructors, and does not allocate unless it is told to keep traces, when it
// does not enter itself again.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(1, bytes as i64 - layout.size() as i64);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(at, layout, bytes) }
    }
}

/// Watch the thread of this name, which has been started by this process. One at a time, by one test at a
/// time.
pub fn watch(name: &str) {
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
    let found = tasks.filter_map(|task| {
        let task = task.ok()?;
        let comm = std::fs::read_to_string(task.path().join("comm")).ok()?;
        (comm.trim() == name).then(|| task.file_name().to_string_lossy().parse().ok())?
    });
    let found: Vec<i32> = found.collect();
    assert_eq!(found.len(), 1, "one thread is called {name}");
    WATCHED.store(found[0], Ordering::Relaxed);
}

/// Who asks for what the watched thread allocates while `f` runs here: allocations by the crate that asked.
pub fn traced(f: impl FnOnce()) -> BTreeMap<String, u64> {
    TRACES.lock().expect("no panic").clear();
    KEEPS_TRACES.store(true, Ordering::Relaxed);
    f();
    KEEPS_TRACES.store(false, Ordering::Relaxed);
    let traces = std::mem::take(&mut *TRACES.lock().expect("no panic"));
    let mut by_asker = BTreeMap::new();
    for trace in traces {
        *by_asker.entry(asker(&trace.to_string())).or_default() += 1;
    }
    by_asker
}

/// Crates that allocate for others, by the directory that their sources are in.
const CONTAINERS: [&str; 8] = ["alloc", "core", "std", "test", "bytes", "smallvec", "slab", "hashbrown"];

/// Where the innermost line of a trace is that is neither the allocator's nor a container's: crate, file and
/// line.
fn asker(trace: &str) -> String {
    let places = trace.lines().filter_map(|line| line.trim_start().strip_prefix("at "));
    let asks =
        |place: &&str| !place.contains("tests/counting") && !CONTAINERS.contains(&crate_of(place).as_str());
    places.filter(|p| p.contains("/src/")).find(asks).map_or_else(|| format!("unknown: {trace}"), short)
}

fn short(place: &str) -> String {
    format!("{} {}", crate_of(place), place.rsplit_once("/src/").map_or(place, |(_, file)| file))
}

/// The crate whose source a place is in: the directory around `src`, without its version.
fn crate_of(place: &str) -> String {
    let directory = place.rsplit_once("/src/").map_or("", |(directory, _)| directory);
    let name = directory.rsplit('/').next().unwrap_or(directory);
    let name = if name == "." { "edge" } else { name };
    match name.rsplit_once('-') {
        Some((name, version)) if version.starts_with(|c: char| c.is_ascii_digit()) => name.to_owned(),
        _ => name.to_owned(),
    }
}
