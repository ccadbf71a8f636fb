//! The wall of shapes: what a parsed statement may be made of.
//!
//! Every part that a parser can produce is refused unless it is listed here, so that a new kind of
//! clause is a refusal and not a hole. Names are the other wall's business.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever is not listed is refused"
)]

use std::ops::ControlFlow;

use sqlparser::ast::{
    Delete, Expr, FromTable, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    Insert, ObjectName, ObjectNamePart, OnInsert, Query, Select, SelectFlavor, SetExpr, Spanned,
    Statement, TableFactor, TableObject, TableWithJoins, Update, Value, ValueWithSpan, Visit,
    Visitor,
};
use sqlparser::tokenizer::{Location, Span};

use super::names;
use crate::domain::tools::statement::Dialect;

/// Longest text that one call of `repeat` and its like may make.
const MAX_PADDING: u64 = 10_000;

/// A part that has no place, and where it is in the respelt text.
pub type Refused = (Location, String);

/// What a statement that writes is.
pub struct Writes {
    /// The table that it changes, as its name is written.
    pub target: Vec<String>,
    /// Whether it gives rows back.
    pub returns: bool,
}

/// Checks that `statement` only reads.
pub fn read(statement: &Statement, dialect: Dialect) -> Result<&Query, Refused> {
    let Statement::Query(query) = statement else {
        let why = "a tool of low risk is exactly one SELECT";
        return Err((statement.span().start, why.to_owned()));
    };
    let mut walls = Walls::new(dialect);
    match query.visit(&mut walls) {
        ControlFlow::Break(refused) => Err(*refused),
        ControlFlow::Continue(()) => Ok(query),
    }
}

/// Checks that `statement` is one INSERT, UPDATE or DELETE.
pub fn write(statement: &Statement, dialect: Dialect) -> Result<Writes, Refused> {
    let mut walls = Walls::new(dialect);
    // `WITH ... UPDATE` is parsed as a query whose body writes.
    let written = match statement {
        Statement::Query(query) => match query.body.as_ref() {
            SetExpr::Insert(inner) | SetExpr::Update(inner) | SetExpr::Delete(inner)
                if is_bare(query) =>
            {
                walls.body_writes = true;
                inner
            }
            _ => statement,
        },
        other => other,
    };
    let writes = match written {
        Statement::Insert(insert) => inserts(insert, dialect),
        Statement::Update(update) => updates(update, dialect),
        Statement::Delete(delete) => deletes(delete, dialect),
        _ => Err("a SQL tool of high risk is exactly one INSERT, UPDATE or DELETE".to_owned()),
    };
    let writes = writes.map_err(|why| (written.span().start, why))?;
    match statement.visit(&mut walls) {
        ControlFlow::Break(refused) => Err(*refused),
        ControlFlow::Continue(()) => Ok(writes),
    }
}

fn inserts(insert: &Insert, dialect: Dialect) -> Result<Writes, String> {
    let odd = !insert.optimizer_hints.is_empty()
        || insert.or.is_some()
        || insert.ignore
        || insert.by_name
        || insert.overwrite
        || !insert.assignments.is_empty()
        || insert.partitioned.is_some()
        || !insert.after_columns.is_empty()
        || insert.has_table_keyword
        || insert.output.is_some()
        || insert.replace_into
        || insert.priority.is_some()
        || insert.insert_alias.is_some()
        || insert.settings.is_some()
        || insert.format_clause.is_some()
        || insert.multi_table_insert_type.is_some();
    let on_conflict = matches!(insert.on, None | Some(OnInsert::OnConflict(_)));
    if odd || !on_conflict {
        return Err(
            "write it as INSERT INTO table (...) VALUES or SELECT, with ON CONFLICT and \
                    RETURNING where needed"
                .to_owned(),
        );
    }
    match &insert.table {
        TableObject::TableName(name) => writes(name, insert.returning.is_some(), dialect),
        TableObject::TableFunction(_) | TableObject::TableQuery(_) => {
            Err("it must insert into a table".to_owned())
        }
    }
}

fn updates(update: &Update, dialect: Dialect) -> Result<Writes, String> {
    let odd = !update.optimizer_hints.is_empty()
        || update.on_cluster.is_some()
        || update.output.is_some()
        || update.or.is_some()
        || !update.order_by.is_empty()
        || update.limit.is_some()
        || update.settings.is_some()
        || !update.table.joins.is_empty();
    match &update.table.relation {
        TableFactor::Table {
            name, args: None, ..
        } if !odd => writes(name, update.returning.is_some(), dialect),
        _ => Err(
            "write it as UPDATE table SET ... WHERE, with FROM and RETURNING where needed"
                .to_owned(),
        ),
    }
}

fn deletes(delete: &Delete, dialect: Dialect) -> Result<Writes, String> {
    let odd = !delete.optimizer_hints.is_empty()
        || !delete.tables.is_empty()
        || delete.on_cluster.is_some()
        || delete.output.is_some()
        || !delete.order_by.is_empty()
        || delete.limit.is_some()
        || delete.settings.is_some();
    let from = match &delete.from {
        FromTable::WithFromKeyword(from) => from.as_slice(),
        FromTable::WithoutKeyword(_) => &[],
    };
    match from {
        [
            TableWithJoins {
                relation:
                    TableFactor::Table {
                        name, args: None, ..
                    },
                joins,
            },
        ] if !odd && joins.is_empty() => writes(name, delete.returning.is_some(), dialect),
        _ => Err(
            "write it as DELETE FROM table WHERE, with USING and RETURNING where needed".to_owned(),
        ),
    }
}

fn writes(table: &ObjectName, returns: bool, dialect: Dialect) -> Result<Writes, String> {
    let target = folded(table, dialect);
    let last = target.last().map(String::as_str).unwrap_or_default();
    match last == names::MARKERS || last.starts_with("sqlite_") || last.starts_with("pg_") {
        true => Err(format!("`{last}` is not a tool's to change")),
        false => Ok(Writes { target, returns }),
    }
}

/// The parts of a name as the database compares them.
pub(super) fn folded(name: &ObjectName, dialect: Dialect) -> Vec<String> {
    let parts = name.0.iter().filter_map(ObjectNamePart::as_ident);
    parts.map(|ident| folded_ident(ident, dialect)).collect()
}

pub(super) fn folded_ident(ident: &Ident, dialect: Dialect) -> String {
    names::compared(&ident.value, ident.quote_style.is_some(), dialect)
}

struct Walls {
    dialect: Dialect,
    /// The body of the outermost query is the one statement that may write.
    body_writes: bool,
    queries: usize,
}

impl Walls {
    fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            body_writes: false,
            queries: 0,
        }
    }

    fn body(&self, body: &SetExpr) -> Result<(), &'static str> {
        match body {
            SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => Ok(()),
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left)?;
                self.body(right)
            }
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_)
                if self.body_writes && self.queries == 1 =>
            {
                Ok(())
            }
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                Err("a query inside another must not write")
            }
            SetExpr::Table(_) => Err("write SELECT * FROM instead of TABLE"),
        }
    }
}

type Broken = Box<Refused>;

fn refuse(at: Span, why: impl Into<String>) -> ControlFlow<Broken> {
    ControlFlow::Break(Box::new((at.start, why.into())))
}

/// No clause of a query but those that every database knows.
fn is_bare(query: &Query) -> bool {
    query.locks.is_empty()
        && query.for_clause.is_none()
        && query.settings.is_none()
        && query.format_clause.is_none()
        && query.pipe_operators.is_empty()
}

fn is_plain(select: &Select) -> bool {
    select.optimizer_hints.is_empty()
        && select.select_modifiers.is_none()
        && select.top.is_none()
        && select.exclude.is_none()
        && select.into.is_none()
        && select.lateral_views.is_empty()
        && select.prewhere.is_none()
        && select.connect_by.is_empty()
        && select.cluster_by.is_empty()
        && select.distribute_by.is_empty()
        && select.sort_by.is_empty()
        && select.qualify.is_none()
        && select.value_table_mode.is_none()
        && matches!(select.flavor, SelectFlavor::Standard)
}

impl Visitor for Walls {
    type Break = Broken;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Broken> {
        self.queries += 1;
        if !query.locks.is_empty() {
            return refuse(
                query.span(),
                "FOR UPDATE and FOR SHARE lock, which is the broker's to do",
            );
        }
        if !is_bare(query) {
            return refuse(query.span(), "a clause that is not on the list");
        }
        match self.body(&query.body) {
            Ok(()) => ControlFlow::Continue(()),
            Err(why) => refuse(query.span(), why),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Broken> {
        if select.into.is_some() {
            return refuse(select.span(), "SELECT INTO makes a table");
        }
        match is_plain(select) {
            true => ControlFlow::Continue(()),
            false => refuse(select.span(), "a clause of SELECT that is not on the list"),
        }
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Broken> {
        let in_texts = |part: &ObjectNamePart| {
            part.as_ident()
                .is_none_or(|ident| ident.quote_style == Some('\''))
        };
        match relation.0.len() > 2 || relation.0.iter().any(in_texts) {
            true => refuse(relation.span(), "name a table as `table` or `schema.table`"),
            false => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Broken> {
        let known = match factor {
            TableFactor::Table {
                name,
                args,
                with_hints,
                version: None,
                partitions,
                json_path: None,
                sample: None,
                index_directives,
                ..
            } => {
                if args.is_some() && !self.may_call(name) {
                    return refuse(
                        name.span(),
                        format!("the function `{name}` is not on the list"),
                    );
                }
                with_hints.is_empty() && partitions.is_empty() && index_directives.is_empty()
            }
            TableFactor::Function { name, .. } => self.may_call(name),
            TableFactor::Derived { sample: None, .. }
            | TableFactor::NestedJoin { .. }
            | TableFactor::UNNEST { .. } => true,
            _ => false,
        };
        match known {
            true => ControlFlow::Continue(()),
            false => refuse(factor.span(), "a part of FROM that is not on the list"),
        }
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<Broken> {
        match statement {
            Statement::Query(_)
            | Statement::Insert(_)
            | Statement::Update(_)
            | Statement::Delete(_) => ControlFlow::Continue(()),
            other => refuse(other.span(), "a statement that is not on the list"),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Broken> {
        match expr {
            Expr::Function(function) => self.call(function),
            Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::CompoundFieldAccess { .. }
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotUnknown(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
            | Expr::IsJson { .. }
            | Expr::In { .. }
            | Expr::Between { .. }
            | Expr::BinaryOp { .. }
            | Expr::Like { .. }
            | Expr::ILike { .. }
            | Expr::SimilarTo { .. }
            | Expr::AnyOp { .. }
            | Expr::AllOp { .. }
            | Expr::UnaryOp { .. }
            | Expr::Cast { .. }
            | Expr::AtTimeZone { .. }
            | Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::Overlay { .. }
            | Expr::Collate { .. }
            | Expr::Nested(_)
            | Expr::Value(_)
            | Expr::TypedString(_)
            | Expr::Case { .. }
            | Expr::Exists { .. }
            | Expr::Subquery(_)
            | Expr::GroupingSets(_)
            | Expr::Cube(_)
            | Expr::Rollup(_)
            | Expr::Tuple(_)
            | Expr::Array(_)
            | Expr::Interval(_)
            | Expr::Wildcard(_)
            | Expr::QualifiedWildcard(..) => ControlFlow::Continue(()),
            other => refuse(other.span(), "an expression that is not on the list"),
        }
    }
}

impl Walls {
    fn may_call(&self, name: &ObjectName) -> bool {
        let parts = folded(name, self.dialect);
        match parts.as_slice() {
            [only] => names::may_call(only, self.dialect),
            [schema, function] => schema == "pg_catalog" && names::may_call(function, self.dialect),
            _ => false,
        }
    }

    fn call(&self, function: &Function) -> ControlFlow<Broken> {
        if !self.may_call(&function.name) {
            let why = format!("the function `{}` is not on the list", function.name);
            return refuse(function.name.span(), why);
        }
        if function.uses_odbc_syntax {
            return refuse(function.name.span(), "call a function by its name alone");
        }
        match unbounded(function, self.dialect) {
            true => {
                let why = format!("its length must be a number of at most {MAX_PADDING}");
                refuse(function.name.span(), why)
            }
            false => ControlFlow::Continue(()),
        }
    }
}

/// Whether a call makes a text of any length out of nothing.
fn unbounded(function: &Function, dialect: Dialect) -> bool {
    let name = folded(&function.name, dialect).pop().unwrap_or_default();
    if !["repeat", "lpad", "rpad"].contains(&name.as_str()) {
        return false;
    }
    let FunctionArguments::List(list) = &function.args else {
        return true;
    };
    let length = match list.args.get(1) {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(ValueWithSpan {
            value: Value::Number(digits, _),
            ..
        })))) => digits.parse::<u64>().ok(),
        _ => None,
    };
    length.is_none_or(|length| length > MAX_PADDING)
}
