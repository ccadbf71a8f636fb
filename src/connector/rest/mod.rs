//! A request to an API as a tool: what its author wrote becomes requests, and answers become data.
//!
//! An argument never leaves its slot: in a path it is one segment or a part of one, in a query one
//! value, in a header a line without an end, in a body a value of JSON or a field of a form. Nothing
//! is glued together as text and parsed again.
//!
//! Of the answers to a request that changes something only a status that was declared as success is
//! a yes, and only one that proves that nothing was taken up is a no.

mod answers;
mod paths;
mod slots;

use serde_json::{Value, json};
use serde_json_path::JsonPath;

use super::Malformed;
use crate::domain::call::{
    Outcome, PRECONDITION, ProviderError, RecoveryContract, Sighting, turned_away,
};
use crate::domain::canonical::Canonical;
use crate::domain::tool::Risk;
use crate::domain::tools::http::{Answer, Heard, Request};
use crate::domain::tools::{
    ContentType, Invalid, Lookup, Method, RestExec, RestPreview, Slot, Template, header_name,
    pointer,
};
pub use answers::Failure;
use answers::{LATE, answered, document, failure, receipt, said};
use paths::{Path, picked};
use slots::{Filled, form, headers, query};

/// Statuses that prove that nothing was done: the request was not let in, not found or not
/// understood.
const TURNED_AWAY: [u16; 13] = [
    307, 308, 400, 401, 403, 404, 405, 411, 413, 414, 415, 422, 431,
];
/// The version that was asked for is not the one that is there.
const OUTDATED: [u16; 2] = [412, 428];
/// A REST tool that was understood.
#[derive(Clone, Debug)]
pub struct Rest {
    method: Method,
    main: Target,
    headers: Vec<(String, Slot)>,
    body: Option<Template>,
    content_type: ContentType,
    response: Option<Picked>,
    success: Vec<Pattern>,
    idempotency: Option<(String, u32)>,
    preview: Option<Target>,
    lookup: Option<(Target, Picked)>,
}

/// Where a request goes.
#[derive(Clone, Debug)]
struct Target {
    path: Path,
    query: Vec<(String, Slot)>,
}

/// A part of an answer.
#[derive(Clone, Debug)]
struct Picked {
    path: JsonPath,
    /// Names one place, so that what stands there is the result, and not a list of it.
    single: bool,
}

/// `200` or `2xx`
#[derive(Clone, Copy, Debug)]
struct Pattern(u16, u16);

/// The state before, as a preview showed it.
#[derive(Clone, PartialEq, Debug)]
pub struct Shown {
    /// What was shown.
    pub before: Value,
    /// Its version, where the API tells it: sent as `If-Match`.
    pub etag: Option<String>,
    /// What stands for both in a token.
    pub state: String,
}

impl Rest {
    /// Understands the `exec` of a tool, or says what is wrong with it.
    pub fn of(exec: &RestExec, schema: &Value, risk: Risk) -> Result<Self, Invalid> {
        if exec.method == Method::Get && exec.body.is_some() {
            return Err(Invalid::tool("/exec/body", "a GET has no body"));
        }
        if risk == Risk::Low {
            reads_only(exec)?;
        }
        let rest = Self::read(exec, Some(schema))?;
        rest.check_headers(schema)?;
        rest.check_arguments(schema)?;
        Ok(rest)
    }

    /// Understands again what was checked when it was saved.
    pub fn again(exec: &RestExec) -> Result<Self, Malformed> {
        Self::read(exec, None).map_err(|invalid| Malformed(invalid.to_string()))
    }

    fn read(exec: &RestExec, schema: Option<&Value>) -> Result<Self, Invalid> {
        Ok(Self {
            method: exec.method,
            main: Target::of(&exec.path, &exec.path_params, &exec.query, schema, "/exec")?,
            headers: exec.headers.clone().into_iter().collect(),
            body: exec.body.clone(),
            content_type: exec.content_type,
            response: exec
                .response
                .as_deref()
                .map(|path| Picked::of(path, "/exec/response"))
                .transpose()?,
            success: patterns(&exec.success)?,
            idempotency: exec
                .idempotency_header
                .as_ref()
                .map(|header| (header.name.clone(), header.window_secs)),
            preview: exec
                .preview
                .as_ref()
                .map(|preview| previewed(preview, schema))
                .transpose()?,
            lookup: exec
                .lookup
                .as_ref()
                .map(|lookup| looked(lookup, schema))
                .transpose()?,
        })
    }

    /// What may be done about an unknown outcome.
    pub fn recovery(&self) -> RecoveryContract {
        RecoveryContract {
            lookup: self.lookup.is_some(),
            replay_secs: self.idempotency.as_ref().map(|(_, secs)| i64::from(*secs)),
        }
    }

    /// The request. `version` is that of the preview that it is bound to.
    pub fn request(
        &self,
        args: &Value,
        proposal: &str,
        version: Option<&str>,
    ) -> Result<Request, Malformed> {
        let filled = Filled { args, proposal };
        let mut request = self.main.request(self.method, filled)?;
        request.headers = headers(&self.headers, filled)?;
        if let Some((name, _)) = &self.idempotency {
            let name = name.to_ascii_lowercase();
            request.headers.push((name, proposal.to_owned()));
        }
        if let Some(version) = version {
            let version = version.to_owned();
            request.headers.push(("if-match".to_owned(), version));
        }
        request.body = self.body(filled)?;
        Ok(request)
    }

    /// The request that shows the state before; `None` where the tool has none.
    pub fn preview(&self, args: &Value) -> Option<Result<Request, Malformed>> {
        let filled = Filled { args, proposal: "" };
        let target = self.preview.as_ref()?;
        Some(target.request(Method::Get, filled))
    }

    /// The request that asks whether the proposal was carried out; `None` where nobody can be
    /// asked.
    pub fn lookup(&self, args: &Value, proposal: &str) -> Option<Result<Request, Malformed>> {
        let (target, _) = self.lookup.as_ref()?;
        Some(target.request(Method::Get, Filled { args, proposal }))
    }

    /// The data of an answer to a tool that reads.
    pub fn data(&self, heard: &Heard) -> Result<Value, Failure> {
        let answer = answered(heard)?;
        match self.succeeded(answer.status) {
            true => self.result(answer),
            false => Err(Failure {
                recovery: match answer.status {
                    429 | 500.. => None,
                    status => Some(turned_away(status)),
                },
                ..failure("upstream_failed", said(answer))
            }),
        }
    }

    /// What an answer to a preview shows.
    pub fn shown(&self, heard: &Heard) -> Result<Shown, Failure> {
        let answer = answered(heard)?;
        if !(200..300).contains(&answer.status) {
            return Err(failure("upstream_failed", said(answer)));
        }
        let before = document(answer).map_err(|why| failure("upstream_failed", why))?;
        let etag = answer.etag.clone();
        let bound = Canonical::of(&json!({"before": before, "etag": etag}));
        Ok(Shown {
            before,
            etag,
            state: bound.hash().to_string(),
        })
    }

    /// What an answer proves about the request that changes something.
    pub fn outcome(&self, heard: &Heard) -> Outcome {
        let answer = match heard {
            Heard::Answer(answer) => answer,
            Heard::NotSent(why) => return Outcome::NotSent(why.clone()),
            Heard::Lost(why) => return Outcome::Unknown(why.clone()),
            Heard::Late => return Outcome::Unknown(LATE.to_owned()),
            // Its status says that it was done, whatever else it said.
            Heard::TooLarge { status, .. } if self.succeeded(*status) => {
                return Outcome::Executed(receipt(Value::Null));
            }
            Heard::TooLarge { status, limit } => {
                let words = format!("HTTP {status}, and more than {limit} bytes");
                return Outcome::Unknown(words);
            }
        };
        let status = answer.status;
        if self.succeeded(status) {
            // It was done, whatever can be read of the answer.
            let result = self.result(answer).unwrap_or(Value::Null);
            return Outcome::Executed(receipt(result));
        }
        let refused = |code: String| {
            let description = said(answer);
            Outcome::Refused(ProviderError { code, description })
        };
        match status {
            status if OUTDATED.contains(&status) => refused(PRECONDITION.to_owned()),
            status if TURNED_AWAY.contains(&status) => refused(format!("http_{status}")),
            _ => Outcome::Unknown(said(answer)),
        }
    }

    /// What an answer to the look-up proves.
    pub fn sighting(&self, heard: &Heard) -> Sighting {
        let Some((target, found)) = &self.lookup else {
            return Sighting::Unclear("nobody can be asked about it".to_owned());
        };
        let answer = match answered(heard) {
            Ok(answer) => answer,
            Err(failure) => return Sighting::Unclear(failure.detail),
        };
        match answer.status {
            // Not there, if it was asked for by our own name; else the path may be wrong.
            404 if target.path.names_proposal() => Sighting::Absent,
            200..=299 => match document(answer) {
                Ok(document) => match found.path.query(&document).first() {
                    Some(found) => Sighting::Found(receipt(found.clone())),
                    None => Sighting::Absent,
                },
                Err(why) => Sighting::Unclear(why),
            },
            _ => Sighting::Unclear(said(answer)),
        }
    }

    fn succeeded(&self, status: u16) -> bool {
        let mut patterns = self.success.iter();
        patterns.any(|Pattern(from, to)| (*from..=*to).contains(&status))
    }

    fn result(&self, answer: &Answer) -> Result<Value, Failure> {
        let document = document(answer).map_err(|why| failure("upstream_failed", why))?;
        Ok(match &self.response {
            Some(part) => picked(&part.path, part.single, &document),
            None => document,
        })
    }

    fn body(&self, filled: Filled<'_>) -> Result<Option<(ContentType, String)>, Malformed> {
        let document = self.body.as_ref();
        let document = document.and_then(|body| body.filled(filled.args, filled.proposal));
        let Some(document) = document else {
            return Ok(None);
        };
        let text = match self.content_type {
            ContentType::Json => document.to_string(),
            ContentType::Form => form(&document)?,
        };
        Ok(Some((self.content_type, text)))
    }

    fn check_headers(&self, schema: &Value) -> Result<(), Invalid> {
        for (name, slot) in &self.headers {
            let at = format!(
                "/exec/headers/{}",
                name.replace('~', "~0").replace('/', "~1")
            );
            header_name(name).map_err(|why| Invalid::tool(&at, why))?;
            slot_in_schema(slot, schema).map_err(|why| Invalid::tool(&at, why))?;
            let twice = self
                .idempotency
                .as_ref()
                .is_some_and(|(header, _)| header.eq_ignore_ascii_case(name));
            if twice {
                return Err(Invalid::tool(
                    at,
                    "is the header that carries the proposal's id",
                ));
            }
        }
        if let Some((name, window)) = &self.idempotency {
            let at = "/exec/idempotency_header";
            header_name(name).map_err(|why| Invalid::tool(at, why))?;
            if *window == 0 {
                return Err(Invalid::tool(at, "`window_secs` must be at least 1"));
            }
        }
        Ok(())
    }

    /// Each place of the body is in the schema, and each required argument is used somewhere.
    fn check_arguments(&self, schema: &Value) -> Result<(), Invalid> {
        let in_body = self.body.iter().flat_map(|body| body.pointers());
        let in_body: Vec<&str> = in_body.collect();
        for at in &in_body {
            pointer::in_schema(schema, at).map_err(|why| Invalid::tool("/exec/body", why))?;
        }
        let targets = [Some(&self.main), self.preview.as_ref()];
        let in_targets = targets.into_iter().flatten().flat_map(Target::slots);
        let slots = in_targets.chain(self.headers.iter().map(|(_, slot)| slot));
        let used: Vec<&str> = slots.filter_map(argument).chain(in_body).collect();
        if used.contains(&"") {
            return Ok(());
        }
        let roots: Vec<String> = used.into_iter().filter_map(pointer::root).collect();
        match pointer::required(schema).find(|name| !roots.iter().any(|root| root == name)) {
            Some(name) => Err(Invalid::tool(
                "/exec",
                format!("the required property `{name}` is not used anywhere"),
            )),
            None => Ok(()),
        }
    }
}

impl Target {
    fn of(
        path: &str,
        params: &std::collections::BTreeMap<String, Slot>,
        query: &std::collections::BTreeMap<String, Slot>,
        schema: Option<&Value>,
        at: &str,
    ) -> Result<Self, Invalid> {
        let path = Path::of(path, params, schema).map_err(|invalid| invalid.below(at))?;
        for (name, slot) in query {
            let at = format!("{at}/query/{}", name.replace('~', "~0").replace('/', "~1"));
            if name.is_empty() || name.len() > 200 {
                return Err(Invalid::tool(at, "must be 1 to 200 bytes long"));
            }
            if let Some(schema) = schema {
                slot_in_schema(slot, schema).map_err(|why| Invalid::tool(at, why))?;
            }
        }
        let query = query.clone().into_iter().collect();
        Ok(Self { path, query })
    }

    fn request(&self, method: Method, filled: Filled<'_>) -> Result<Request, Malformed> {
        Ok(Request {
            method,
            path: self.path.filled(filled)?,
            query: query(&self.query, filled)?,
            headers: Vec::new(),
            body: None,
        })
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.path
            .slots()
            .chain(self.query.iter().map(|(_, slot)| slot))
    }
}

impl Picked {
    fn of(text: &str, at: &str) -> Result<Self, Invalid> {
        let path = JsonPath::parse(text)
            .map_err(|error| Invalid::tool(at, format!("is no RFC 9535 path: {error}")))?;
        let single = paths::names_one_place(text);
        Ok(Self { path, single })
    }
}

/// What goes with a proposal has no place in a tool that has none.
fn reads_only(exec: &RestExec) -> Result<(), Invalid> {
    if exec.method != Method::Get {
        let method = exec.method.as_str();
        let detail = format!("a {method} may change something, so its tool is of high risk");
        return Err(Invalid::tool("/risk", detail));
    }
    let detail = "belongs to tools of high risk";
    let given = [
        ("/exec/preview", exec.preview.is_some()),
        ("/exec/lookup", exec.lookup.is_some()),
        (
            "/exec/idempotency_header",
            exec.idempotency_header.is_some(),
        ),
    ];
    if let Some((at, _)) = given.iter().find(|(_, given)| *given) {
        return Err(Invalid::tool(*at, detail));
    }
    let slots = exec.path_params.values().chain(exec.query.values());
    let mut slots = slots.chain(exec.headers.values());
    let in_body = exec.body.as_ref().is_some_and(Template::names_proposal);
    match in_body || slots.any(|slot| *slot == Slot::Proposal) {
        true => Err(Invalid::tool("/exec", "a tool of low risk has no proposal")),
        false => Ok(()),
    }
}

fn previewed(preview: &RestPreview, schema: Option<&Value>) -> Result<Target, Invalid> {
    let at = "/exec/preview";
    let target = Target::of(
        &preview.path,
        &preview.path_params,
        &preview.query,
        schema,
        at,
    )?;
    let names_proposal = target.slots().any(|slot| *slot == Slot::Proposal);
    match names_proposal {
        true => Err(Invalid::tool(at, "is shown before there is a proposal")),
        false => Ok(target),
    }
}

fn looked(lookup: &Lookup, schema: Option<&Value>) -> Result<(Target, Picked), Invalid> {
    let at = "/exec/lookup";
    let target = Target::of(&lookup.path, &lookup.path_params, &lookup.query, schema, at)?;
    // Two proposals with the same arguments must not be taken for each other.
    if !target.slots().any(|slot| *slot == Slot::Proposal) {
        let detail = "must ask by the proposal's id: {\"$proposal\": \"id\"} in the path or query";
        return Err(Invalid::tool(at, detail));
    }
    Ok((target, Picked::of(&lookup.found, "/exec/lookup/found")?))
}

fn patterns(texts: &[String]) -> Result<Vec<Pattern>, Invalid> {
    if texts.is_empty() {
        return Err(Invalid::tool("/exec/success", "names no status"));
    }
    let read = |(index, text): (usize, &String)| {
        let whole = text.parse::<u16>().ok().filter(|_| text.len() == 3);
        let class = text
            .strip_suffix("xx")
            .and_then(|class| class.parse::<u16>().ok());
        match (whole, class) {
            (Some(status @ 200..=299), _) => Ok(Pattern(status, status)),
            (_, Some(2)) => Ok(Pattern(200, 299)),
            _ => Err(Invalid::tool(
                format!("/exec/success/{index}"),
                "must be `2xx` or a status from 200 to 299",
            )),
        }
    };
    texts.iter().enumerate().map(read).collect()
}

fn slot_in_schema(slot: &Slot, schema: &Value) -> Result<(), String> {
    argument(slot).map_or(Ok(()), |at| pointer::in_schema(schema, at))
}

fn argument(slot: &Slot) -> Option<&str> {
    match slot {
        Slot::Arg(pointer) => Some(pointer),
        Slot::Proposal | Slot::Text(_) => None,
    }
}

#[cfg(test)]
mod tests;
