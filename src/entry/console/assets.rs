//! The style sheet and the script, out of the binary. Their address changes with their bytes, so a
//! browser may keep them for good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::domain::ids::hex;

const STYLE: &str = include_str!("assets/console.css");
const SCRIPT: &str = include_str!("assets/console.js");
const ICON: &str = include_str!("assets/icon.svg");
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// Name, media type and text of each.
const FILES: [(&str, &str, &str); 3] = [
    ("console.css", "text/css; charset=utf-8", STYLE),
    ("console.js", "text/javascript; charset=utf-8", SCRIPT),
    ("icon.svg", "image/svg+xml", ICON),
];

/// Changes whenever one of the files does.
static EDITION: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    FILES.iter().for_each(|(_, _, text)| hash.update(text));
    hex(&hash.finalize()[..6])
});

/// Where a file is found.
pub(super) fn address(name: &str) -> String {
    format!("/console/assets/{name}?{}", EDITION.as_str())
}

/// One of the files.
pub(super) async fn serve(Path(file): Path<String>) -> Response {
    let Some((_, media, text)) = FILES.iter().find(|(name, ..)| *name == file) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(media)),
        (CACHE_CONTROL, KEPT),
    ];
    (headers, *text).into_response()
}
