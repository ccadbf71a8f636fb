//! Spellings as tables: what is respelt, and what is refused.

use super::*;
use crate::domain::tools::statement::Statement;

fn respelt(text: &str, dialect: Dialect) -> Result<String, String> {
    let tokens = lex(text, dialect).map_err(|flaw| flaw.to_string())?;
    let mut count = 0;
    let parts = spell(&tokens, |_| {
        count += 1;
        count
    });
    let names = Vec::new();
    Ok(Statement {
        dialect,
        parts,
        names,
    }
    .text())
}

#[test]
#[rustfmt::skip]
fn parameters_are_found_where_they_are_parameters() {
    use Dialect::{Postgres, Sqlite};
    for (dialect, text, expected) in [
        (Postgres, "select * from t where id = :id",         "select * from t where id = $1"),
        (Sqlite,   "select * from t where id = :id",         "select * from t where id = ?1"),
        (Postgres, "select :a::int, ':b', \":c\" -- :d\n",   "select $1::int, ':b', \":c\""),
        (Postgres, "select /* :a */ 1;",                     "select 1"),
        (Postgres, "select $$:a 'x'$$, $t$:b$$t$",           "select ':a ''x''', ':b$'"),
        (Postgres, "select 'it''s :a'",                      "select 'it''s :a'"),
        (Postgres, "select a[1:2], x'0F', b'01', 1.5e-3, .5", "select a[1 : 2], x'0F', b'01', 1.5e-3, .5"),
        (Postgres, "select t.a,t.\"B\"\"c\" from s.t",       "select t.a, t.\"B\"\"c\" from s.t"),
        (Postgres, "select j->>'a', j @> :b, j ? 'k'",       "select j ->> 'a', j @> $1, j ? 'k'"),
        (Sqlite,   "select [a b], `c`, \"d\", x'00'",        "select \"a b\", \"c\", \"d\", x'00'"),
        (Postgres, "select 1- -1, 2*-:a, count(*)",          "select 1 - - 1, 2 *- $1, count(*)"),
        (Postgres, "select 'ä', \"ö\"",                      "select 'ä', \"ö\""),
    ] {
        assert_eq!(respelt(text, dialect).as_deref(), Ok(expected), "{text}");
        // What was respelt is its own spelling.
        if !expected.contains(['$', '?']) {
            assert_eq!(respelt(expected, dialect).as_deref(), Ok(expected));
        }
    }
}

#[test]
#[rustfmt::skip]
fn what_could_be_read_in_two_ways_is_refused_and_its_place_named() {
    use Dialect::{Postgres, Sqlite};
    for (dialect, text, place) in [
        (Postgres, "select 1; select 2",           "line 1, column 11"),
        (Postgres, "select 1;;",                   "line 1, column 10"),
        (Postgres, "select E'\\' ; drop table t'", "line 1, column 8"),
        (Postgres, "select U&'\\0041'",            "line 1, column 8"),
        (Postgres, "select N'x'",                  "line 1, column 8"),
        (Postgres, "select 'a'\n'b'",              "line 2, column 1"),
        (Postgres, "select 'a",                    "line 1, column 8"),
        (Postgres, "select \"a",                   "line 1, column 8"),
        (Postgres, "select $1",                    "line 1, column 8"),
        (Postgres, "select $a$ :b",                "line 1, column 8"),
        (Sqlite,   "select ?",                     "line 1, column 8"),
        (Sqlite,   "select ?1",                    "line 1, column 8"),
        (Sqlite,   "select @a",                    "line 1, column 8"),
        (Sqlite,   "select $a",                    "line 1, column 8"),
        (Postgres, "select /* /* */ 1",            "line 1, column 11"),
        (Postgres, "select /* 1",                  "line 1, column 8"),
        (Postgres, "select\u{a0}1",                "line 1, column 7"),
        (Postgres, "select ä",                     "line 1, column 8"),
        (Postgres, "select \0",                    "line 1, column 8"),
        (Postgres, "select 'a\0'",                 "line 1, column 8"),
        (Postgres, "select 1\u{b}",                "line 1, column 9"),
        (Postgres, "select \\a",                   "line 1, column 8"),
        (Postgres, "select (1",                    "line 1, column 10"),
        (Postgres, "select 1)",                    "line 1, column 9"),
        (Postgres, "select (1]",                   "line 1, column 10"),
        (Postgres, "select 0x1F",                  "line 1, column 8"),
        (Postgres, "select 1_000",                 "line 1, column 8"),
        (Postgres, "  -- nothing",                 "line 1, column 1"),
        (Sqlite,   "select b'01'",                 "line 1, column 8"),
        (Postgres, "select x'0g'",                 "line 1, column 8"),
    ] {
        let told = respelt(text, dialect).unwrap_err();
        assert!(told.ends_with(place), "{text:?}: {told}");
    }
    let deep = format!("select {}1{}", "(".repeat(25), ")".repeat(25));
    assert!(respelt(&deep, Postgres).is_err());
    assert!(respelt(&"1 ".repeat(8_191), Postgres).is_err());
}
