//! `hundi worker`: answers requests of the queue and nothing else, on any number of machines that share
//! a store, or beside a server on the same file.

use std::io::Write;

use crate::app::App;
use crate::config::Config;
use crate::entry::cli::{Failure, WorkerArgs};
use crate::entry::worker;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::serve::told_to_stop;
use super::{block_on, start_logs, this_program, told, traced};

/// Answers until it is told to stop; then those in hand are answered.
pub fn run(args: &WorkerArgs, config: &Config, out: &mut dyn Write) -> Result<(), Failure> {
    start_logs(config);
    let program = this_program()?;
    let workers = args.workers.unwrap_or(config.models.workers);
    if workers == 0 {
        let text = "requests.workers is 0: name how many with --workers";
        return Err(Failure::Usage(text.to_owned()));
    }
    block_on(traced(config, async {
        let app = App::beside(config, &program)
            .await
            .map_err(|error| told(&error))?;
        let broker = app.broker.clone();
        let (stop_duties, stop) = watch::channel(false);
        let duties = worker::duties_of_requests();
        let duties = tokio::spawn(worker::run(broker.clone(), duties, stop));
        let stop = CancellationToken::new();
        let working = {
            let (requests, stop) = (broker.requests.clone(), stop.clone());
            tokio::spawn(async move { requests.work(workers, stop).await })
        };
        writeln!(out, "working on requests, {workers} at once")?;
        out.flush()?;
        told_to_stop().await;
        tracing::info!("stopping: no new requests; finishing those in hand");
        stop.cancel();
        if let Err(error) = working.await {
            tracing::error!(%error, "the worker ended abnormally");
        }
        // Fails only if the duties have ended already.
        let _ = stop_duties.send(true);
        if let Err(error) = duties.await {
            tracing::error!(%error, "the duties ended abnormally");
        }
        app.shut_down().await;
        Ok(())
    }))
}
