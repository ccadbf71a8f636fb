//! The keys of the machine: putting what is kept secret under a new master key.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Call, Effect, Nothing, Operation, Rest};
use crate::broker::Trouble;
use crate::domain::principal::Right;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("rotate_master_key", rotate)
            .says(
                "Put everything under the newest master key",
                "Seal every data key anew under the first of the master keys, while serving: those \
                 of sources, of model providers and of organisations. Then the keys after the first \
                 may be taken away. For admins of the default organisation.",
            )
            .needs(&[Right::Administer])
            .does(Effect::Sets)
            .rest(
                Rest::post("/v1/keyring/master/rotate")
                    .answers(200, "the key, and how much was put under it"),
            ),
    ]
}

/// What is now under the newest master key, and was not before.
#[derive(Serialize, JsonSchema)]
struct RotatedMaster {
    /// The name of the key; it follows from the key.
    master: String,
    rewrapped: Rewrapped,
}

/// How much was put.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Rewrapped {
    /// Secrets of sources.
    sources: usize,
    /// Keys of model providers.
    providers: usize,
    /// Keys of organisations.
    keys: usize,
}

async fn rotate(call: Call, _: Nothing) -> Result<RotatedMaster, Trouble> {
    let done = call.broker.rotate_master(&call.who).await?;
    Ok(RotatedMaster {
        master: done.master,
        rewrapped: Rewrapped {
            sources: done.sources,
            providers: done.providers,
            keys: done.keys,
        },
    })
}
