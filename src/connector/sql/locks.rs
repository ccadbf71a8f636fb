//! Which rows of a preview can be locked while the statement that it was shown for is carried out.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, GroupByExpr, JoinOperator, Query, SelectItem, SetExpr, TableFactor, TableWithJoins,
    Visit, Visitor,
};

use super::functions::AGGREGATES;
use super::lex::quoted;
use super::shape::{folded, folded_ident};
use crate::domain::tools::statement::{Dialect, Lock};

/// What of a preview can be locked while the statement that it was shown for changes `target`.
pub fn lock(query: &Query, target: &[String], dialect: Dialect) -> Lock {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return Lock::Nothing;
    };
    let ungrouped = matches!(&select.group_by, GroupByExpr::Expressions(by, more) if by.is_empty() && more.is_empty());
    let plain = ungrouped
        && select.distinct.is_none()
        && select.having.is_none()
        && select.named_window.is_empty()
        && !select.projection.iter().any(|item| combines(item, dialect));
    let [from] = select.from.as_slice() else {
        return Lock::Nothing;
    };
    if !plain {
        return Lock::Nothing;
    }
    match (from.joins.is_empty(), table(&from.relation, dialect)) {
        (true, Some(_)) => Lock::All,
        _ => joined(from, target, dialect).map_or(Lock::Nothing, Lock::Of),
    }
}

/// The name by which `target` takes part in a join where its rows are always there.
fn joined(from: &TableWithJoins, target: &[String], dialect: Dialect) -> Option<String> {
    let outer_right = from.joins.iter().any(|join| {
        matches!(
            join.join_operator,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)
        )
    });
    let inner = from.joins.iter().filter(|join| {
        matches!(
            join.join_operator,
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_)
        )
    });
    let factors = std::iter::once(&from.relation).chain(inner.map(|join| &join.relation));
    let mut found = factors
        .filter_map(|factor| table(factor, dialect))
        .filter(|(name, _)| {
            name.last() == target.last() && (name.len() != target.len() || name == target)
        });
    match (outer_right, found.next(), found.next()) {
        (false, Some((_, alias)), None) => Some(alias),
        _ => None,
    }
}

/// The name of a plain table, and what the rest of the query calls it.
fn table(factor: &TableFactor, dialect: Dialect) -> Option<(Vec<String>, String)> {
    let TableFactor::Table {
        name,
        args: None,
        alias,
        ..
    } = factor
    else {
        return None;
    };
    let parts = folded(name, dialect);
    let called = match alias {
        Some(alias) => folded_ident(&alias.name, dialect),
        None => parts.last()?.clone(),
    };
    Some((parts, quoted(&called)))
}

/// Whether a column is made of several rows, or several rows of one.
fn combines(item: &SelectItem, dialect: Dialect) -> bool {
    struct Calls(Dialect);
    impl Visitor for Calls {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let Expr::Function(function) = expr else {
                return ControlFlow::Continue(());
            };
            let name = folded(&function.name, self.0).pop().unwrap_or_default();
            let combines = AGGREGATES.split_whitespace().any(|known| known == name);
            match combines || function.over.is_some() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
    item.visit(&mut Calls(dialect)).is_break()
}
