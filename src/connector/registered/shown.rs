//! Previews: the call that shows what a tool would work on, and what its answer shows.

use serde_json::{Value, json};

use super::{AtSource, failed};
use crate::connector::Malformed;
use crate::connector::rest::Rest;
use crate::domain::call::{Call, Reply};
use crate::domain::tools::RestExec;
use crate::domain::tools::http::Heard;
use crate::domain::tools::work::{Registered, Task, Work};

/// What a tool would work on, as its source shows it.
#[derive(Clone, PartialEq, Debug)]
pub struct Shown {
    /// In words.
    pub summary: String,
    /// What is shown.
    pub document: Value,
    /// How many rows, where there are rows.
    pub rows: Option<u64>,
    /// What is compared later.
    pub basis: String,
    /// The version of what is shown, where the source has versions.
    pub version: Option<String>,
}

/// The call that shows what a tool would work on; `None` where it cannot tell.
pub fn preview(tool: &Registered, args: &Value) -> Option<Result<Call, Malformed>> {
    let task = match &tool.work {
        Work::Write(write) => Task::Preview {
            preview: write.preview.clone()?,
            args: args.clone(),
        },
        Work::Request(exec) => {
            exec.preview.as_ref()?;
            match Rest::again(exec).map(|rest| rest.preview(args)) {
                Err(malformed) => return Some(Err(malformed)),
                Ok(None) => return None,
                Ok(Some(Err(malformed))) => return Some(Err(malformed)),
                Ok(Some(Ok(request))) => Task::Ask { request },
            }
        }
        Work::Read(_) | Work::Run(_) | Work::Call(_) => return None,
    };
    Some(Ok(AtSource::of(tool).call(&task)))
}

/// What the answer to [`preview`] shows; else the reply, as of a tool that only reads.
pub fn shown(tool: &Registered, reply: Reply) -> Result<Shown, Reply> {
    match &tool.work {
        Work::Request(exec) => requested(exec, reply),
        Work::Write(_) | Work::Read(_) | Work::Run(_) | Work::Call(_) => rows(tool, reply),
    }
}

fn rows(tool: &Registered, reply: Reply) -> Result<Shown, Reply> {
    let Reply::Result {
        content,
        is_error: false,
    } = &reply
    else {
        return Err(reply);
    };
    let rows = content.get("rows").and_then(Value::as_array);
    let state = content.get("state").and_then(Value::as_str);
    let (Some(rows), Some(state)) = (rows, state) else {
        return Err(Reply::Lost("what it showed does not read".to_owned()));
    };
    let count = rows.len();
    let name = &tool.def.name;
    let what = if count == 1 { "row" } else { "rows" };
    Ok(Shown {
        summary: format!("{name} works on {count} {what} as they are now"),
        document: json!({"rows": rows, "row_count": count, "truncated": false}),
        rows: u64::try_from(count).ok(),
        basis: state.to_owned(),
        version: None,
    })
}

fn requested(exec: &RestExec, reply: Reply) -> Result<Shown, Reply> {
    let rest = Rest::again(exec).map_err(|malformed| Reply::Lost(malformed.to_string()))?;
    let heard = Heard::of(&reply);
    if let Heard::TooLarge { limit, .. } = heard {
        return Err(Reply::TooLarge { limit });
    }
    let shown = rest.shown(&heard).map_err(failed)?;
    let method = exec.method.as_str();
    let version = shown.etag.as_ref();
    let version = version.map(|etag| format!(", on the version {etag}"));
    Ok(Shown {
        summary: format!("{method} {}{}", exec.path, version.unwrap_or_default()),
        document: shown.before,
        rows: None,
        basis: shown.state,
        version: shown.etag,
    })
}
