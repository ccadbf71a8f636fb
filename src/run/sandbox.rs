//! `hundi sandbox`: the bank alone, as its own process.

use std::io::Write;
use std::time::Duration;

use crate::config::Config;
use crate::entry::cli::{Failure, SandboxArgs};
use crate::sandbox::{self, SandboxOptions, Webhook};
use tokio::net::TcpListener;

use super::{block_on, start_logs};

/// Serves until it is told to stop.
pub fn run(args: &SandboxArgs, config: &Config, out: &mut dyn Write) -> Result<(), Failure> {
    start_logs(config);
    let mut options = SandboxOptions::new(&config.data_dir);
    options.public_hosts.clone_from(&config.public_hosts);
    if let Some(millis) = args.step_ms {
        options.step = Duration::from_millis(millis);
    }
    if let Some(url) = &args.webhook_url {
        let secret = config.razorpay.webhook_secrets.first().ok_or_else(|| {
            let text = "--webhook-url needs HUNDI_RAZORPAY_WEBHOOK_SECRET to sign with";
            Failure::Usage(text.to_owned())
        })?;
        let secret = secret.expose().to_owned();
        options.webhook = Some(Webhook {
            url: url.clone(),
            secret,
            events: None,
        });
    }
    block_on(async {
        let listener = TcpListener::bind(config.sandbox_listen)
            .await
            .map_err(|error| {
                Failure::of(format!(
                    "cannot listen on {}: {error}",
                    config.sandbox_listen
                ))
            })?;
        let address = listener.local_addr()?;
        writeln!(out, "sandbox bank listening on http://{address}")?;
        out.flush()?;
        sandbox::serve(listener, options, super::serve::told_to_stop())
            .await
            .map_err(Failure::of)
    })
}
