//! demo
use hundi::entry::cli::Failure;
use std::io::Write;
/// x
pub fn run(out: &mut dyn Write) -> Result<(), Failure> {
    let _ = out;
    Ok(())
}
