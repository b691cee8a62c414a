//! The clock endpoint: an operator says that the machine's clock is right.
//!
//! Not here: which clock is believed otherwise (`grandstand_engine::runtime::wall`).

use axum::Json;
use grandstand_engine::runtime::wall;
use serde_json::{Value, json};

/// Believe the wall clock as it is. What is too old by it is then deleted.
pub(super) async fn accept() -> Json<Value> {
    let (_, off_us) = wall::doubt();
    wall::accept();
    Json(json!({ "unix_ms": wall::unix_ms(), "stepped_ms": off_us / 1_000 }))
}
