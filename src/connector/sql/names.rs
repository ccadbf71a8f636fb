//! The wall of names: which functions and catalogues a statement may name.
//!
//! It looks at tokens, not at a parsed statement, so that what a parser overlooks or calls by
//! another name is refused all the same: whatever stands in front of a parenthesis is a function of
//! the list, a keyword, or the head of a list of columns.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::functions::{POSTGRES, SQLITE};
use super::lex::{Placed, Token};
use crate::domain::tools::statement::Dialect;

/// Where the marker rows are. Nobody's statement writes there.
pub const MARKERS: &str = "hundi_effects";

/// Keywords that can stand in front of a parenthesis.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "all", "and", "any", "array", "as", "asc", "between", "by", "case", "conflict", "cube", "desc",
    "distinct", "else", "end", "escape", "except", "exists", "filter", "following", "for", "from",
    "groups", "having", "ilike", "in", "intersect", "is", "join", "key", "lateral", "like", "limit",
    "materialized", "not", "nothing", "offset", "on", "only", "or", "over", "placing", "preceding",
    "range", "returning", "rollup", "row", "rows", "select", "set", "sets", "similar", "some",
    "then", "to", "union", "update", "using", "values", "when", "where", "with", "within", "group",
    "zone",
];
/// Catalogues of Postgres that say what tables there are, and nothing about people.
#[rustfmt::skip]
const POSTGRES_CATALOGUES: &[&str] = &[
    "pg_attrdef", "pg_attribute", "pg_catalog", "pg_class", "pg_collation", "pg_constraint",
    "pg_description", "pg_enum", "pg_index", "pg_indexes", "pg_namespace", "pg_tables", "pg_type",
    "pg_typeof",
];
/// The same of the standard's schema.
#[rustfmt::skip]
const INFORMATION_SCHEMA: &[&str] = &[
    "columns", "constraint_column_usage", "key_column_usage", "referential_constraints", "schemata",
    "table_constraints", "tables",
];
/// What of SQLite's own tables may be read.
const SQLITE_CATALOGUES: &[&str] = &["sqlite_master", "sqlite_schema"];
/// Virtual tables of SQLite that show pages, programs or settings.
const SQLITE_VIRTUAL: &[&str] = &[
    "bytecode",
    "dbstat",
    "tables_used",
    "stmt",
    "completion",
    "fsdir",
];

static POSTGRES_FUNCTIONS: LazyLock<BTreeSet<&str>> = LazyLock::new(|| words(POSTGRES));
static SQLITE_FUNCTIONS: LazyLock<BTreeSet<&str>> = LazyLock::new(|| words(SQLITE));

fn words(lists: &[&'static str]) -> BTreeSet<&'static str> {
    lists
        .iter()
        .flat_map(|list| list.split_whitespace())
        .collect()
}

/// Whether a function of this name, in lower case, may be called.
pub fn may_call(name: &str, dialect: Dialect) -> bool {
    match dialect {
        Dialect::Postgres => POSTGRES_FUNCTIONS.contains(name),
        Dialect::Sqlite => SQLITE_FUNCTIONS.contains(name),
    }
}

/// Every function that may be called, for the pages that list them.
pub fn functions(dialect: Dialect) -> impl Iterator<Item = &'static str> {
    let all = match dialect {
        Dialect::Postgres => &POSTGRES_FUNCTIONS,
        Dialect::Sqlite => &SQLITE_FUNCTIONS,
    };
    all.iter().copied()
}

/// Refuses the first name that has no place in a tool: the byte where it stands, and why.
pub fn check(tokens: &[Placed], dialect: Dialect) -> Result<(), (usize, String)> {
    for (index, Placed { token, at }) in tokens.iter().enumerate() {
        let Some(name) = named(token, dialect) else {
            continue;
        };
        let refused = |why: String| Err((*at, why));
        if let Some(why) = forbidden(&name, dialect) {
            return refused(why);
        }
        let of_standard = named_before(tokens, index, dialect);
        if of_standard.as_deref() == Some("information_schema")
            && !INFORMATION_SCHEMA.contains(&name.as_str())
        {
            return refused(format!("`information_schema.{name}` may not be read"));
        }
        if followed_by_parenthesis(tokens, index) {
            head(tokens, index, &name, dialect).map_err(|why| (*at, why))?;
        }
    }
    Ok(())
}

/// The byte where the markers are named first.
pub fn markers(tokens: &[Placed], dialect: Dialect) -> Option<usize> {
    let mut all = tokens.iter();
    let found = all.find(|placed| named(&placed.token, dialect).as_deref() == Some(MARKERS));
    found.map(|placed| placed.at)
}

/// The name that a token is, as the database compares it.
fn named(token: &Token, dialect: Dialect) -> Option<String> {
    match (token, dialect) {
        (Token::Word(name), _) => Some(compared(name, false, dialect)),
        (Token::Quoted(name), _) => Some(compared(name, true, dialect)),
        (
            Token::Text(_) | Token::Bits(_) | Token::Number(_) | Token::Param(_) | Token::Sign(_),
            _,
        ) => None,
    }
}

/// A name as the database compares it: SQLite without case, whatever the quotes.
pub fn compared(name: &str, quoted: bool, dialect: Dialect) -> String {
    match (quoted, dialect) {
        (true, Dialect::Postgres) => name.to_owned(),
        (false, Dialect::Postgres) | (_, Dialect::Sqlite) => name.to_ascii_lowercase(),
    }
}

fn forbidden(name: &str, dialect: Dialect) -> Option<String> {
    let one_of = |list: &[&str]| list.contains(&name);
    let refused = match dialect {
        Dialect::Postgres => {
            let system = name.starts_with("pg_") && !one_of(POSTGRES_CATALOGUES);
            let object_type = name.strip_prefix("reg").is_some_and(|kind| {
                matches!(
                    kind,
                    "class"
                        | "collation"
                        | "config"
                        | "dictionary"
                        | "namespace"
                        | "oper"
                        | "operator"
                        | "proc"
                        | "procedure"
                        | "role"
                        | "type"
                )
            });
            system || object_type
        }
        Dialect::Sqlite => {
            let system = name.starts_with("sqlite_") && !one_of(SQLITE_CATALOGUES);
            system || name.starts_with("pragma_") || one_of(SQLITE_VIRTUAL)
        }
    };
    refused.then(|| format!("`{name}` belongs to the database itself and may not be named"))
}

fn sign_at(tokens: &[Placed], index: Option<usize>, sign: &str) -> bool {
    let token = index.and_then(|index| tokens.get(index));
    token.is_some_and(|placed| matches!(&placed.token, Token::Sign(found) if found == sign))
}

fn followed_by_parenthesis(tokens: &[Placed], index: usize) -> bool {
    sign_at(tokens, index.checked_add(1), "(")
}

/// The schema in front of a name, if there is one.
fn named_before(tokens: &[Placed], index: usize, dialect: Dialect) -> Option<String> {
    if !sign_at(tokens, index.checked_sub(1), ".") {
        return None;
    }
    named(&tokens.get(index.checked_sub(2)?)?.token, dialect)
}

/// Checks a name in front of a parenthesis.
fn head(tokens: &[Placed], index: usize, name: &str, dialect: Dialect) -> Result<(), String> {
    let placed = tokens.get(index).map(|placed| &placed.token);
    let unquoted = matches!(placed, Some(Token::Word(_)));
    let schema = named_before(tokens, index, dialect);
    if unquoted && schema.is_none() && KEYWORDS.contains(&name) {
        return Ok(());
    }
    if heads_columns(tokens, index) {
        return Ok(());
    }
    let of_engine = schema.is_none() || schema.as_deref() == Some("pg_catalog");
    match of_engine && may_call(name, dialect) {
        true => Ok(()),
        false => Err(format!(
            "`{name}` is not on the list of functions that a tool may call; to name columns of an \
             alias, write AS in front of it"
        )),
    }
}

/// Whether the parenthesis after a name lists columns, or the size of a type: after AS, INTO or a
/// cast, and in front of AS (...) in a WITH.
fn heads_columns(tokens: &[Placed], index: usize) -> bool {
    let mut first = index;
    while sign_at(tokens, first.checked_sub(1), ".") && first >= 2 {
        first -= 2;
    }
    let before = first.checked_sub(1);
    let word_before = before.and_then(|before| word(tokens, before));
    if matches!(word_before.as_deref(), Some("as" | "into")) || sign_at(tokens, before, "::") {
        return true;
    }
    let Some(close) = closing(tokens, index + 1) else {
        return false;
    };
    let after = word(tokens, close + 1);
    let then = word(tokens, close + 2);
    let body = sign_at(tokens, Some(close + 2), "(");
    after.as_deref() == Some("as")
        && (body || matches!(then.as_deref(), Some("materialized" | "not")))
}

fn word(tokens: &[Placed], index: usize) -> Option<String> {
    match &tokens.get(index)?.token {
        Token::Word(word) => Some(word.to_ascii_lowercase()),
        Token::Quoted(_)
        | Token::Text(_)
        | Token::Bits(_)
        | Token::Number(_)
        | Token::Param(_)
        | Token::Sign(_) => None,
    }
}

/// The parenthesis that closes the one at `open`.
fn closing(tokens: &[Placed], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for index in open..tokens.len() {
        if sign_at(tokens, Some(index), "(") {
            depth += 1;
        } else if sign_at(tokens, Some(index), ")") {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(index);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::sql::lex::lex;

    fn refused(text: &str, dialect: Dialect) -> Option<String> {
        let tokens = lex(text, dialect).unwrap();
        check(&tokens, dialect).err().map(|(_, why)| why)
    }

    #[test]
    #[rustfmt::skip]
    fn functions_and_catalogues_are_those_of_the_list() {
        use Dialect::{Postgres, Sqlite};
        for (dialect, text, good) in [
            (Postgres, "select lower(a), count(*) from t",                        true),
            (Postgres, "select pg_catalog.lower(a) from t",                       true),
            (Postgres, "select public.lower(a) from t",                           false),
            (Postgres, "select \"lower\"(a) from t",                              true),
            (Postgres, "select \"LOWER\"(a) from t",                              false),
            (Postgres, "select pg_read_file('/etc/passwd')",                      false),
            (Postgres, "select \"pg_read_file\"('/etc/passwd')",                  false),
            (Postgres, "select PG_READ_FILE /* */ ('/etc/passwd')",               false),
            (Postgres, "select pg_catalog . pg_read_file('/etc/passwd')",         false),
            (Postgres, "select * from query_to_xml('select 1', true, true, '')",  false),
            (Postgres, "select * from ts_stat('select 1')",                       false),
            (Postgres, "select dblink('', '')",                                   false),
            (Postgres, "select lo_import('/etc/passwd')",                         false),
            (Postgres, "select set_config('a', 'b', false)",                      false),
            (Postgres, "select current_setting('a')",                             false),
            (Postgres, "select nextval('s')",                                     false),
            (Postgres, "select pg_sleep(10)",                                     false),
            (Postgres, "select * from pg_authid",                                 false),
            (Postgres, "select * from \"pg_shadow\"",                             false),
            (Postgres, "select * from pg_catalog.pg_user_mapping",                false),
            (Postgres, "select * from pg_stat_activity",                          false),
            (Postgres, "select * from pg_settings",                               false),
            (Postgres, "select * from pg_class",                                  true),
            (Postgres, "select * from information_schema.tables",                 true),
            (Postgres, "select * from information_schema.user_mapping_options",   false),
            (Postgres, "select * from information_schema.\"routines\"",           false),
            (Postgres, "select 'pg_authid'::regclass",                            false),
            (Postgres, "select cast(:x as regrole)",                              false),
            (Postgres, "select a::numeric(10,2), cast(b as varchar(10)) from t",  true),
            (Postgres, "with a(x) as (select 1), b(y) as materialized (select 2) select 1", true),
            (Postgres, "select * from (values (1)) as v(a)",                      true),
            (Postgres, "select * from (values (1)) v(a)",                         false),
            (Postgres, "insert into s.t (a) values (1) on conflict (a) do nothing", true),
            (Postgres, "select sum(a) filter (where b) over (partition by c) from t where a in (1) and (b or not (c))", true),
            (Sqlite,   "select lower(a), json_extract(b, '$.c') from t",          true),
            (Sqlite,   "select load_extension('x')",                              false),
            (Sqlite,   "select readfile('/etc/passwd')",                          false),
            (Sqlite,   "select * from pragma_table_info('t')",                    false),
            (Sqlite,   "select * from PRAGMA_database_list",                      false),
            (Sqlite,   "select * from [pragma_database_list]",                    false),
            (Sqlite,   "select * from sqlite_dbpage",                             false),
            (Sqlite,   "select * from sqlite_schema",                             true),
            (Sqlite,   "select * from dbstat",                                    false),
            (Sqlite,   "select randomblob(1000000000)",                           false),
            (Sqlite,   "select printf('%1000000000d', 1)",                        false),
            (Sqlite,   "select \"LOWER\"(a) from t",                              true),
        ] {
            assert_eq!(refused(text, dialect).is_none(), good, "{text}");
        }
    }
}
