//! Capacity: how many viewers this machine can hold, by open files, memory and ports.
//!
//! Why before the run: a hundred million viewers took 13 GB before the first one connected, and a run that
//! has no ports left reports refused connections that are not the node's.
//! Invariant: nothing is opened or reserved before the bounds are checked; a bound that the system does not
//! tell does not apply.
//! Not here: bounds of single options (`numbers`).

use std::fs;

use anyhow::ensure;
use grandstand_harness::process;

/// Files that a process needs beside its viewers: standard streams, timers, libraries, publishers, UDP
/// sockets.
const FILES_BESIDE: u64 = 200;

/// WebSocket viewers of one process, whatever its limits: a loopback address has 28,000 ports.
const WS_PER_PROCESS: usize = 20_000;

/// Most processes of a run: the last byte of their loopback addresses tells them apart.
pub(crate) const PROCESSES_MAX: usize = 200;

/// Most viewers of a run, whatever the machine.
pub(crate) const VIEWERS_MAX: usize = PROCESSES_MAX * WS_PER_PROCESS;

/// Memory for a viewer: some 40 KB of `gs` itself, and the kernel's for its socket and, if the node runs
/// here too, the node's and the other socket.
const VIEWER_BYTES: u64 = 64 * 1024;

/// The resources of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    /// Open files of one process.
    files: u64,
    /// Memory that can be had without swapping.
    memory_bytes: Option<u64>,
    /// Ports for outgoing connections of one address to one other.
    ports: Option<u64>,
}

/// The needs of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) ws_viewers: usize,
    pub(crate) quic_viewers: usize,
    /// Different addresses that viewers connect to over WebSocket.
    pub(crate) ws_addresses: usize,
    /// Whether these are loopback addresses of IPv4: each process has a source address of its own there.
    pub(crate) is_loopback: bool,
    /// `--processes`.
    pub(crate) processes: Option<usize>,
    /// The most that there may be.
    pub(crate) processes_max: usize,
}

impl Machine {
    /// Raises the limit of open files as far as allowed.
    pub(crate) fn here() -> Machine {
        Machine { files: process::raise_file_limit(), memory_bytes: memory_bytes(), ports: ports() }
    }

    /// The number of processes that hold these viewers.
    ///
    /// # Errors
    /// The machine does not hold them. The text names the bound, how it comes about, and what to do.
    pub(crate) fn processes(&self, wanted: &Wanted) -> anyhow::Result<usize> {
        let Wanted { ws_viewers, quic_viewers, .. } = *wanted;
        if let Some(memory_bytes) = self.memory_bytes {
            let viewers_max = memory_bytes / VIEWER_BYTES;
            let (viewers, mib) = ((ws_viewers + quic_viewers) as u64, memory_bytes >> 20);
            ensure!(
                viewers <= viewers_max,
                "got {viewers} viewers, expected at most {viewers_max}: a viewer takes about {} KiB of memory, and \
                 {mib} MiB are available on this machine; ask for fewer, or spread the load over several machines",
                VIEWER_BYTES >> 10
            );
        }
        let each = usize::try_from(self.files.saturating_sub(FILES_BESIDE)).unwrap_or(usize::MAX);
        ensure!(
            each > 0,
            "the limit of open files is {}, and {FILES_BESIDE} are needed beside viewers: raise it with `ulimit -n`",
            self.files
        );
        let each = each.min(WS_PER_PROCESS);
        let (most, ws_max) = (wanted.processes_max, each * wanted.processes_max);
        ensure!(
            ws_viewers <= ws_max,
            "got {ws_viewers} WebSocket viewers, expected at most {ws_max}: each needs an open file and a port, a \
             process takes {each} of them with a limit of {} open files (`ulimit -n`), and there {} at most",
            self.files,
            if most == 1 { "is 1 process".to_owned() } else { format!("are {most} processes") }
        );
        let needed = ws_viewers.div_ceil(each).max(1);
        let processes = wanted.processes.unwrap_or(needed);
        ensure!(
            (needed..=most).contains(&processes),
            "got --processes {processes}, expected {needed} to {most}: a process may have {} open files, and \
             there are {ws_viewers} WebSocket viewers",
            self.files
        );
        if let Some(ports) = self.ports {
            let sources = if wanted.is_loopback { processes } else { 1 };
            let ports_max = ports as usize * sources * wanted.ws_addresses.max(1);
            ensure!(
                ws_viewers <= ports_max,
                "got {ws_viewers} WebSocket viewers, expected at most {ports_max}: each needs a port, and there are \
                 {ports} for each pair of addresses (net.ipv4.ip_local_port_range); give more --url or --processes, \
                 or use several machines"
            );
        }
        Ok(processes)
    }
}

/// Available memory, or the rest of the container's limit if that is less.
fn memory_bytes() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let available = line.split_whitespace().next()?.parse::<u64>().ok()? * 1024;
    let number =
        |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse::<u64>().ok();
    let left = number("memory.max").zip(number("memory.current")).map(|(max, used)| max.saturating_sub(used));
    Some(left.map_or(available, |left| left.min(available)))
}

fn ports() -> Option<u64> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut bounds = range.split_whitespace().map(str::parse::<u64>);
    let (low, high) = (bounds.next()?.ok()?, bounds.next()?.ok()?);
    Some((high + 1).saturating_sub(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ws(ws_viewers: usize) -> Wanted {
        Wanted {
            ws_viewers,
            quic_viewers: 0,
            ws_addresses: 1,
            is_loopback: true,
            processes: None,
            processes_max: PROCESSES_MAX,
        }
    }

    fn machine(files: u64) -> Machine {
        Machine { files, memory_bytes: None, ports: None }
    }

    #[test]
    fn processes_follow_the_limit_of_files() {
        let processes = |asked, viewers, files| {
            machine(files).processes(&Wanted { processes: asked, ..ws(viewers) }).ok()
        };
        assert_eq!(processes(None, 5_000, 20_000), Some(1));
        assert_eq!(processes(None, 15_000, 10_200), Some(2));
        assert_eq!(processes(None, 50_000, 1_000_000), Some(3));
        assert_eq!(processes(Some(4), 100, 1024), Some(4));
        assert_eq!(processes(Some(1), 5_000, 1024), None);
        assert_eq!(processes(None, 5, 100), None);
    }

    #[test]
    fn each_bound_is_named_with_its_reason() {
        let error = |machine: Machine, wanted: Wanted| machine.processes(&wanted).unwrap_err().to_string();
        let small = Machine { memory_bytes: Some(64 << 20), ..machine(20_000) };
        let told = error(small, ws(100_000_000));
        assert!(told.contains("at most 1024:") && told.contains("64 MiB are available"), "{told}");
        let told = error(machine(1_200), ws(100_000_000));
        assert!(told.contains("at most 200000:") && told.contains("`ulimit -n`"), "{told}");
        let told = error(machine(1_200), Wanted { processes_max: 1, ..ws(1_001) });
        assert!(told.contains("at most 1000:") && told.contains("is 1 process"), "{told}");
        let few = Machine { ports: Some(1_000), ..machine(20_000) };
        let told = error(few, ws(1_001));
        assert!(told.contains("at most 1000:") && told.contains("ip_local_port_range"), "{told}");
        assert!(few.processes(&Wanted { processes: Some(2), ..ws(1_001) }).is_ok());
        let elsewhere = Wanted { processes: Some(2), is_loopback: false, ..ws(1_001) };
        assert!(few.processes(&elsewhere).is_err());
        assert!(few.processes(&Wanted { ws_addresses: 2, ..elsewhere }).is_ok());
        assert!(
            few.processes(&Wanted { quic_viewers: 50_000, ..ws(10) }).is_ok(),
            "over QUIC sockets are shared"
        );
    }

    #[test]
    fn this_machine_tells_its_bounds_and_holds_a_small_audience() {
        let here = Machine::here();
        assert!(
            here.memory_bytes.is_some_and(|bytes| bytes > 1 << 20) && here.ports.is_some_and(|n| n > 100)
        );
        assert_eq!(here.processes(&ws(100)).unwrap(), 1);
    }
}
