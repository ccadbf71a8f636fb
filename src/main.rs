//! The `hundi` program. Everything is in the library, so that it is compiled once.

use std::process::ExitCode;

/// See `Cargo.toml`: measured to be worth it, and nothing depends on it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hundi::run::program()
}
