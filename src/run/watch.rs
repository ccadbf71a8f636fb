//! `hundi sidecar watch`: outlives the broker by a moment, and ends the children that it left
//! behind. The broker starts it; nobody else needs it.

use std::time::Duration;

use crate::entry::cli::Failure;
use crate::wire::group;

use super::block_on;

/// How long children may take to leave by themselves: their input ended with the broker.
const GRACE: Duration = Duration::from_secs(2);
/// How long they may take once they were asked.
const ASKED: Duration = Duration::from_millis(500);

/// Watches until standard input ends, which is when the broker is gone.
pub fn children() -> Result<(), Failure> {
    let lines = std::io::stdin().lines().map_while(Result::ok);
    let left = group::left_behind(lines);
    if left.is_empty() {
        return Ok(());
    }
    block_on(async {
        tokio::time::sleep(GRACE).await;
        group::end(&left, true);
        tokio::time::sleep(ASKED).await;
        group::end(&left, false);
        Ok(())
    })
}
