//! The description of the API (OpenAPI 3.1): its head, and what all operations have in common.
//!
//! Why added afterwards: every operation can fail for the same reasons (no key, no scope, a rate, a shard
//! that is busy), and a macro beside each would forget one.
//! Invariant: each operation names every status that it can be answered with, each failure as the one
//! response `problem`.
//! Not here: the operations, which are described where they are written.

use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{self, Components, Content, ObjectBuilder, RefOr, ResponseBuilder};
use utoipa::{OpenApi, PartialSchema};

use super::idempotency::Text;
use super::values::StateKey;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Grandstand",
        description = "Rooms, messages, viewers, sessions and keys of a Grandstand node, for applications.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    servers((url = "/")),
    security(("key" = []))
)]
struct Head;

/// Everything but the operations.
pub(super) fn head() -> openapi::OpenApi {
    Head::openapi()
}

/// Statuses of failures that any operation can have.
const ALWAYS: &[u16] = &[400, 401, 403, 405, 408, 429, 431, 500, 503, 504];

/// Statuses of failures of operations with a body.
const WITH_BODY: &[u16] = &[413, 415, 422];

/// Add what all operations have in common.
pub(super) fn finish(mut api: openapi::OpenApi) -> openapi::OpenApi {
    let components = api.components.get_or_insert_with(Components::new);
    let key =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("gsk_<env>_<random>_<checksum>");
    components.add_security_scheme("key", SecurityScheme::Http(key.build()));
    components.schemas.insert("Problem".to_owned(), problem_schema());
    // Named in parameters alone, where the macros collect nothing.
    components.schemas.insert("StateKey".to_owned(), StateKey::schema());
    components.schemas.insert("Text".to_owned(), Text::schema());
    components.responses.insert("problem".to_owned(), problem_response().into());
    for (path, item) in &mut api.paths.paths {
        let names_something = path.contains('{');
        for read in [&mut item.get, &mut item.delete].into_iter().flatten() {
            add_problems(read, names_something, false);
        }
        for change in [&mut item.put, &mut item.post, &mut item.patch].into_iter().flatten() {
            add_problems(change, true, true);
        }
    }
    api
}

fn add_problems(operation: &mut Operation, names_something: bool, is_change: bool) {
    let with_body = WITH_BODY.iter().filter(|_| operation.request_body.is_some());
    let named = [404, 410].iter().filter(|_| names_something);
    let conflicts = [409].iter().filter(|_| is_change || names_something);
    for status in ALWAYS.iter().chain(with_body).chain(named).chain(conflicts) {
        let reference = RefOr::Ref(openapi::Ref::from_response_name("problem"));
        operation.responses.responses.entry(status.to_string()).or_insert(reference);
    }
}

fn problem_response() -> openapi::Response {
    let schema = openapi::Ref::from_schema_name("Problem");
    ResponseBuilder::new()
        .description("The request failed: `code` says why, `detail` what to do (RFC 9457).")
        .content("application/problem+json", Content::new(Some(schema)))
        .build()
}

fn problem_schema() -> RefOr<openapi::Schema> {
    use openapi::schema::{ArrayBuilder, Type};
    let text = |about: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(about));
    let number = |about: &str| ObjectBuilder::new().schema_type(Type::Integer).description(Some(about));
    let fault = ObjectBuilder::new()
        .property("pointer", text("Where in the body, as a JSON pointer; empty: the whole body."))
        .property("detail", text("What is wrong there."))
        .required("pointer")
        .required("detail");
    let problem = ObjectBuilder::new()
        .property("type", text("`urn:grandstand:problem:` and the code."))
        .property("title", text("The kind of problem, in words."))
        .property("status", number("The status of the answer."))
        .property("detail", text("What is wrong with this request, and what to do."))
        .property(
            "code",
            text("The kind of problem, for programs: the name of the protocol's refusal where there is one."),
        )
        .property("instance", text("The number of the request."))
        .property("retry_after_ms", number("When the same request may succeed."))
        .property("errors", ArrayBuilder::new().items(fault));
    let required = ["type", "title", "status", "detail", "code", "instance"];
    RefOr::T(required.into_iter().fold(problem, ObjectBuilder::required).build().into())
}
