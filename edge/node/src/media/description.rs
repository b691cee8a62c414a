//! The description of media resources, for `/openapi.json`.
//!
//! Why apart from the operations: `grandstand-media` knows no utoipa, and a node describes what it offers.
//! Invariant: a path is described exactly if its resource is switched on.
//! Not here: failures, which all operations of the API have in common (`http::api::description`).

use grandstand_media::http::Media;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema, openapi};

/// An upload.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "a description")]
struct Upload {
    /// What a message carries.
    attachment: String,
    /// SHA-256 of the bytes that are served, in hex.
    id: String,
    /// Path of the picture.
    url: String,
    /// `image/gif`, `image/jpeg`, `image/png` or `image/webp`.
    r#type: String,
    /// Bytes.
    bytes: u64,
    /// Pixels.
    width: u32,
    /// Pixels.
    height: u32,
    /// Frames.
    frames: u32,
    /// A small picture of the first frame.
    thumbnail: Thumbnail,
    /// It waits for a moderator.
    held: bool,
}

/// A small picture.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "a description")]
struct Thumbnail {
    /// Its path.
    url: String,
    /// `image/jpeg` or `image/webp`.
    r#type: String,
}

/// Uploads that wait.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "a description")]
struct Held {
    /// The oldest first.
    held: Vec<Upload>,
}

/// What a page says of itself.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "a description")]
struct Preview {
    /// The URL that answered.
    url: String,
    /// Title.
    title: Option<String>,
    /// One or two sentences.
    description: Option<String>,
    /// Name of the site.
    site: Option<String>,
    /// Who made it.
    author: Option<String>,
    /// URL of an image.
    image: Option<String>,
}

/// GIFs for some words.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "a description")]
struct Found {
    /// Words that must stand beside the results.
    attribution: String,
    /// The results.
    gifs: Vec<Gif>,
}

/// A GIF.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "a description")]
struct Gif {
    /// The service's name for it.
    id: String,
    /// What it shows.
    title: String,
    /// URL.
    url: String,
    /// URL of a small form.
    preview: String,
    /// Pixels; 0: unknown.
    width: u32,
    /// Pixels; 0: unknown.
    height: u32,
}

macro_rules! operations {
    ($($name:ident ($($described:tt)*);)*) => {
        $(
            #[utoipa::path($($described)*)]
            #[allow(dead_code, reason = "a description")]
            fn $name() {}
        )*
    };
}

operations! {
    upload(post, path = "/uploads", tag = "uploads", operation_id = "upload_create",
        summary = "Upload a picture",
        request_body(content = Vec<u8>, content_type = "application/octet-stream"),
        responses((status = 201, description = "It is kept.", body = Upload),
            (status = 411, response = Problem), (status = 507, response = Problem)));
    held(get, path = "/uploads", tag = "uploads", operation_id = "uploads_held",
        summary = "List uploads that wait for a moderator",
        responses((status = 200, description = "Those that wait.", body = Held)));
    serve(get, path = "/uploads/{id}", tag = "uploads", operation_id = "upload_show",
        summary = "Get a picture", params(("id" = String, Path, description = "Its identity.")),
        responses((status = 200, description = "Its bytes.", content_type = "image/*"),
            (status = 304, description = "It did not change."), (status = 404, response = Problem)));
    thumbnail(get, path = "/uploads/{id}/thumbnail", tag = "uploads", operation_id = "upload_thumbnail",
        summary = "Get a small picture", params(("id" = String, Path, description = "Its identity.")),
        responses((status = 200, description = "Its bytes.", content_type = "image/*"),
            (status = 304, description = "It did not change."), (status = 404, response = Problem)));
    remove(delete, path = "/uploads/{id}", tag = "uploads", operation_id = "upload_remove",
        summary = "Remove a picture: one's own, or as a moderator for everybody",
        params(("id" = String, Path, description = "Its identity.")),
        responses((status = 204, description = "It is removed."), (status = 404, response = Problem)));
    approve(post, path = "/uploads/{id}/approve", tag = "uploads", operation_id = "upload_approve",
        summary = "Serve a held picture to everybody",
        params(("id" = String, Path, description = "Its identity.")),
        responses((status = 204, description = "It is served."), (status = 404, response = Problem)));
    preview(get, path = "/previews", tag = "links", operation_id = "preview_show",
        summary = "What a page says of itself",
        params(("url" = String, Query, description = "Its URL.")),
        responses((status = 200, description = "Its preview.", body = Preview),
            (status = 404, response = Problem), (status = 502, response = Problem)));
    search(get, path = "/gifs", tag = "gifs", operation_id = "gifs_search", summary = "Find GIFs",
        params(("q" = String, Query, description = "Words, at most 50 characters."),
            ("limit" = Option<u32>, Query, description = "Results, 1 to 50.")),
        responses((status = 200, description = "What was found.", body = Found),
            (status = 502, response = Problem)));
}

/// A failure, by RFC 9457.
#[derive(Serialize, ToSchema, utoipa::ToResponse)]
#[allow(dead_code, reason = "a description")]
#[response(description = "The request failed.", content_type = "application/problem+json")]
struct Problem {
    /// A word for programs.
    code: String,
    /// A sentence for people.
    detail: String,
}

#[derive(OpenApi)]
#[openapi(paths(upload, held, serve, thumbnail, remove, approve))]
struct OfUploads;

#[derive(OpenApi)]
#[openapi(paths(preview))]
struct OfLinks;

#[derive(OpenApi)]
#[openapi(paths(search))]
struct OfGifs;

/// What this node offers.
pub(super) fn of(media: &Media) -> openapi::OpenApi {
    let parts = [
        media.uploads.is_some().then(OfUploads::openapi),
        media.links.is_some().then(OfLinks::openapi),
        media.gifs.is_some().then(OfGifs::openapi),
    ];
    let mut all = openapi::OpenApi::default();
    parts.into_iter().flatten().for_each(|part| all.merge(part));
    all
}
