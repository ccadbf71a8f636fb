//! What a change writes beside its documents, as statements that both databases understand. They
//! have no conditions: those of the change have been decided when they run.

use super::plan::Plan;
use super::prepared::Prepared;
use super::question::Question;
use super::search;
use super::stored::signed;
use crate::domain::requests::rows::{Beside, Entry, Line, Part};

/// The statements of the changes that survived, in order.
pub(super) fn told(batch: &[Prepared], plan: &Plan) -> Vec<Question> {
    let changes = plan.besides.iter().map(|index| &batch[*index].rows.besides);
    changes.flatten().flat_map(statements).collect()
}

fn statements(beside: &Beside) -> Vec<Question> {
    let one = match beside {
        Beside::Line(line) => of_line(line),
        Beside::Part(part) => of_part(part),
        Beside::Erase(request) => {
            Question::new("DELETE FROM request_parts").with(" WHERE request = ", request.uuid())
        }
        Beside::Entry(entry) => of_entry(entry),
        Beside::Search(row) => return search::told(row),
    };
    vec![one]
}

fn of_line(line: &Line) -> Question {
    Question::new(
        "INSERT INTO requests (id, org, owner, name, state, priority, rank, due_at, created_at, \
         ended_at) VALUES (",
    )
    .with("", line.id.uuid())
    .with(", ", line.org.as_str())
    .with(", ", line.owner.as_str())
    .with(", ", line.id.to_string())
    .with(", ", line.state)
    .with(", ", i64::from(line.priority))
    .with(", ", line.rank)
    .with(", ", line.due_at)
    .with(", ", line.created_at)
    .with(", ", line.ended_at)
    .words(
        ") ON CONFLICT (id) DO UPDATE SET state = excluded.state, due_at = excluded.due_at, \
         ended_at = excluded.ended_at",
    )
}

fn of_part(part: &Part) -> Question {
    Question::new("INSERT INTO request_parts (request, place, sealed) VALUES (")
        .with("", part.request.uuid())
        .with(", ", signed(part.place))
        .with(", ", part.sealed.as_str())
        .words(") ON CONFLICT (request, place) DO UPDATE SET sealed = excluded.sealed")
}

fn of_entry(entry: &Entry) -> Question {
    let tokens = &entry.tokens;
    Question::new(
        "INSERT INTO llm_attempts (id, request, org, agent, provider, model, task, day, at, input, \
         cached_input, cache_write, output, reasoning, nanos, settled, estimated, why, took_ms) \
         VALUES (",
    )
    .with("", entry.id.uuid())
    .with(", ", entry.request.uuid())
    .with(", ", entry.org.as_str())
    .with(", ", entry.agent.as_str())
    .with(", ", entry.provider.as_str())
    .with(", ", entry.model.as_str())
    .with(", ", entry.task.as_str())
    .with(", ", i64::from(entry.day.number()))
    .with(", ", entry.at)
    .with(", ", signed(tokens.input))
    .with(", ", signed(tokens.cached_input))
    .with(", ", signed(tokens.cache_write))
    .with(", ", signed(tokens.output))
    .with(", ", signed(tokens.reasoning))
    .with(", ", signed(entry.nanos))
    .with(", ", i64::from(entry.settled))
    .with(", ", i64::from(entry.estimated))
    .with(", ", entry.why.as_str())
    .with(", ", signed(entry.took_ms))
    .words(
        ") ON CONFLICT (id) DO UPDATE SET provider = excluded.provider, model = excluded.model, \
         at = excluded.at, input = excluded.input, cached_input = excluded.cached_input, \
         cache_write = excluded.cache_write, output = excluded.output, \
         reasoning = excluded.reasoning, nanos = excluded.nanos, settled = excluded.settled, \
         estimated = excluded.estimated, why = excluded.why, took_ms = excluded.took_ms",
    )
}
