//! Which headers sources and tools may set, and to what.

/// Headers that are never a source's or a tool's to set: they belong to the connection, to the
/// credentials or to the message itself, or turn the request into another one on its way.
const FORBIDDEN_HEADERS: [&str; 26] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "if-match",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// Why a header may not be set under this name, or `Ok`.
pub fn header_name(name: &str) -> Result<(), String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > 100 || !name.bytes().all(token) {
        return Err(format!("`{}` is no name of a header", name.escape_debug()));
    }
    let lower = name.to_ascii_lowercase();
    let ours = FORBIDDEN_HEADERS.contains(&lower.as_str()) || lower.starts_with("x-forwarded-");
    match ours {
        true => Err(format!("the header `{lower}` is not a tool's to set")),
        false => Ok(()),
    }
}

/// Whether a text can stand in a header: nothing in it ends the line.
pub fn header_value(value: &str) -> bool {
    let printable = |byte: u8| byte == b'\t' || (0x20..0x7f).contains(&byte);
    value.len() <= 4096 && value.bytes().all(printable)
}
