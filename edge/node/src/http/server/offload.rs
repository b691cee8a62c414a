//! Offloading: resources that may wait or compute are answered on a second thread.
//!
//! Why: health, readiness and metrics share a port with everything else that operators ask for. A handler
//! that hangs must not hang them; with a thread of its own it is one more thread that health can name.
//! Invariants: at most [`REQUESTS_MAX`] requests are under way; a further one is refused at once. A request's
//! place is free when its connection ends. Not here: which resources are offloaded (the port).

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use grandstand_engine::runtime::pulse::Pulse;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tower_service::Service;

use super::connections::Slot;
use super::{stopped, turns};
use crate::http::response::Failure;

/// Requests under way: operators and their programs send a few.
pub(crate) const REQUESTS_MAX: usize = 64;

/// A router on a thread of its own.
#[derive(Clone, Debug)]
pub(crate) struct Offloaded {
    router: Router,
    runtime: Handle,
    places: Arc<Semaphore>,
}

/// Start a thread with this name for `router`. It ends when `stop` becomes true or its sender is dropped.
///
/// # Errors
/// The system gives no thread.
pub(crate) fn offload(
    name: &str,
    router: Router,
    stop: watch::Receiver<bool>,
    pulse: Pulse,
) -> io::Result<Offloaded> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                () = async { stopped(stop).await; tokio::time::sleep(super::STOP_GRACE).await } => {}
                () = turns(&pulse) => unreachable!("it turns for ever"),
            }
        });
        pulse.end();
        runtime.shutdown_background();
    })?;
    Ok(Offloaded { router, runtime: handle, places: Arc::new(Semaphore::new(REQUESTS_MAX)) })
}

impl Offloaded {
    /// The handler that passes requests on.
    pub(crate) async fn answer(State(this): State<Offloaded>, request: Request) -> Response {
        let Ok(place) = this.places.clone().try_acquire_owned() else {
            let error = "the admin port answers as many requests as it can";
            return Failure::new(StatusCode::SERVICE_UNAVAILABLE, error, "ask again in a second")
                .into_response();
        };
        if let Some(slot) = request.extensions().get::<Arc<Slot>>() {
            slot.hold(place);
        }
        let mut router = this.router;
        match this.runtime.spawn(async move { router.call(request).await }).await {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => {
                let error = "the request failed inside the node";
                Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error, "its log has the cause")
                    .into_response()
            }
        }
    }
}
