//! A bare relay to a provider of models: what `hundi bench --door chat --floor` is compared with. It
//! passes a body on and the answer back, and does nothing else, with the same parts as the real door.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use tokio::net::TcpListener;

/// Where it passes bodies on to.
struct Relay {
    client: reqwest::Client,
    url: String,
}

/// Starts one to the provider at `base`, on a thread of its own, and says where it is. It lives as long
/// as the process.
pub fn start(base: &str) -> Result<String, String> {
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build();
    let relay = Arc::new(Relay {
        client: client.map_err(|error| error.to_string())?,
        url: format!("{}/chat/completions", base.trim_end_matches('/')),
    });
    let listener = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)));
    let listener = listener.map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let nonblocking = listener.set_nonblocking(true);
    nonblocking.map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let routes = Router::new()
                .route("/chat/completions", post(pass))
                .with_state(relay);
            if let Ok(listener) = TcpListener::from_std(listener) {
                // It ends with the process, or whoever asks is told.
                let _ = axum::serve(listener, routes).await;
            }
        });
    });
    Ok(format!("http://{address}"))
}

async fn pass(State(relay): State<Arc<Relay>>, body: Bytes) -> Response {
    let sent = relay.client.post(&relay.url);
    let sent = sent.header(header::CONTENT_TYPE, "application/json");
    let answered = async {
        let answer = sent.body(body).send().await?;
        let status = answer.status();
        Ok::<_, reqwest::Error>((status, answer.bytes().await?))
    };
    let (status, body) = match answered.await {
        Ok((status, body)) => (status, Body::from(body)),
        Err(error) => (StatusCode::BAD_GATEWAY, Body::from(error.to_string())),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
