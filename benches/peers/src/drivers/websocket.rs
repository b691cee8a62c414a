//! A stand over WebSocket: any server, the shared crowd, and a speaker in the server's dialect.

use super::server::Server;
use super::{MESSAGE_BYTES, Site, Stand, Step};
use crate::protocol;
use crate::speaker::{Speaker, Speech};
use anyhow::{Context, Result};
use grandstand_benches::clock::now_ns;
use grandstand_benches::cpu;
use grandstand_benches::crowd::{Crowd, CrowdPlan, Transport};

/// What has not come this long after the last message was said counts as lost.
const DRAIN_MS: u64 = 3_000;

/// A server that was asked for too much may take this long to get rid of it.
const RECOVERY_MS: u64 = 8_000;

pub(super) struct WebSocketStand {
    // In the order in which they end: a server must not be told of viewers that leave one by one.
    server: Server,
    crowd: Crowd,
    speaker: Speaker,
    batch_ms: u64,
    crowd_core: Option<usize>,
}

/// Brings the viewers, and the speaker after them. `batch_ms`: what the speaker joins.
pub(super) fn open(
    server: Server,
    site: &Site,
    dialect: &'static str,
    batch_ms: u64,
) -> Result<Box<dyn Stand>> {
    let plan = CrowdPlan {
        talk: dialect.to_owned(),
        core: site.crowd_core,
        ..CrowdPlan::new(Transport::Ws, server.address, "room")
    };
    let mut crowd = Crowd::start(&plan)?;
    crowd.join_all(site.viewers)?;
    let dialect = protocol::by_name(dialect).context("no such dialect")?;
    let speaker = Speaker::connect(server.address, dialect)?;
    Ok(Box::new(WebSocketStand { server, crowd, speaker, batch_ms, crowd_core: site.crowd_core }))
}

impl Stand for WebSocketStand {
    fn step(&mut self, per_s: f64, seconds: f64) -> Result<Step> {
        self.crowd.mark()?;
        let before_ns = self.server.cpu_ns()?;
        let begin_ns = now_ns();
        let speech = Speech { per_s, seconds, bytes: MESSAGE_BYTES, batch_ms: self.batch_ms };
        let said = self.speak(speech, begin_ns);
        let window_ns = now_ns() - begin_ns;
        let spoken_ns = self.server.cpu_ns()?;
        let settled = self.crowd.settle(vec![(0, self.speaker.said())], DRAIN_MS)?;
        let seen = self.crowd.read()?;
        let (published, fault) = match said {
            Ok(published) => (published, seen.first_fault.clone()),
            Err(error) => (0, Some(format!("{error:#}"))),
        };
        Ok(Step {
            published,
            deliveries: seen.deliveries,
            lost: seen.lost + settled.lacking + seen.wrong + seen.duplicated,
            cut: seen.ended,
            refused: 0,
            p50_us: seen.latency.p50_us,
            p99_us: seen.latency.p99_us,
            seconds,
            cpu_ns: self.server.cpu_ns()? - before_ns,
            core_share: (spoken_ns - before_ns) as f64 / window_ns as f64,
            crowd_core_share: seen.cpu_share(),
            wire_bytes: Some(seen.wire_bytes),
            peak_bytes: self.server.peak_bytes(),
            fault,
        })
    }

    fn recover(&mut self) -> Result<bool> {
        let settled = self.crowd.settle(vec![(0, self.speaker.said())], RECOVERY_MS)?;
        let seen = self.crowd.read()?;
        Ok(settled.lacking == 0 && seen.ended == 0 && seen.lost == 0)
    }
}

impl WebSocketStand {
    /// Speaks in a thread on the crowd's core.
    fn speak(&mut self, speech: Speech, begin_ns: u64) -> Result<u64> {
        let (speaker, core) = (&mut self.speaker, self.crowd_core);
        std::thread::scope(|scope| {
            let speaking = scope.spawn(move || {
                core.map_or(Ok(()), cpu::pin_here)?;
                speaker.run(speech, begin_ns)
            });
            speaking.join().expect("speaking does not panic")
        })
    }
}
