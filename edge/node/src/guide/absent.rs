//! The guide of a build without one: a configuration that wants it is refused.
//!
//! Why a stand-in: the start of a node is the same with and without the feature.
//! Not here: the guide (`guide`).

use std::sync::Arc;

use grandstand_edge::clock::Clock;
use grandstand_edge::config::Config;
use grandstand_engine::Calendar;
use grandstand_engine::runtime::Desk;
use grandstand_engine::runtime::pulse::Pulses;

use crate::NodeError;

/// There is none.
pub(crate) enum NodeGuide {}

/// There is none.
pub(crate) enum Opened {}

impl Opened {
    /// The shows of rooms.
    pub(crate) fn calendar(&self) -> Calendar {
        match *self {}
    }
}

impl NodeGuide {
    /// # Errors
    /// The configuration wants a guide.
    pub(crate) fn open(config: &Config, _: Clock) -> Result<Option<Opened>, NodeError> {
        if config.guide.sources.is_empty() && !config.guide.push {
            return Ok(None);
        }
        let hint =
            "build the crate grandstand with its feature `guide`, or leave guide.sources and guide.push out";
        Err(NodeError::new("this build has no guide (guide.sources, guide.push)", hint))
    }

    /// # Errors
    /// None.
    pub(crate) fn start(
        opened: Option<Opened>,
        _: Arc<Desk>,
        _: &Pulses,
    ) -> Result<Option<NodeGuide>, NodeError> {
        match opened {
            None => Ok(None),
            Some(opened) => match opened {},
        }
    }

    /// Reads the numbers of the scrape.
    pub(crate) fn numbers(&self) -> fn() -> Vec<(&'static str, &'static str, f64)> {
        match *self {}
    }
}
