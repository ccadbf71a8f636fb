//! What a SQL tool may be, as tables: one line a case.

use serde_json::json;

use super::*;

fn schema(names: &[&str]) -> Value {
    let properties: serde_json::Map<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), json!({})))
        .collect();
    json!({"type": "object", "properties": properties})
}

fn low(text: &str, dialect: Dialect) -> Result<Read, Invalid> {
    let exec = SqlLow {
        query: text.to_owned(),
        max_rows: 10,
        max_bytes: 1000,
    };
    read(&exec, &schema(&["id", "name", "n"]), dialect)
}

fn high(text: &str, preview: Option<&str>, dialect: Dialect) -> Result<Write, Invalid> {
    let exec = SqlHigh {
        statement: text.to_owned(),
        preview: preview.map(str::to_owned),
        expect_rows: None,
        marker: true,
    };
    write(&exec, &schema(&["id", "name", "n"]), dialect)
}

const BOTH: [Dialect; 2] = [Dialect::Postgres, Dialect::Sqlite];

#[test]
#[rustfmt::skip]
fn reads_are_read() {
    for text in [
        "select 1",
        "select * from invoices where id = :id",
        "SELECT a, sum(b) AS s FROM t GROUP BY a HAVING sum(b) > :n ORDER BY s DESC LIMIT 10 OFFSET 5",
        "select i.id, c.name from invoices i left join customers c on c.id = i.customer_id where lower(c.name) like :name",
        "with x as (select 1 as a union all select 2) select * from x where a in (select id from t)",
        "with recursive x(n) as (select 1 union all select n + 1 from x where n < 10) select n from x",
        "select case when a > 1 then 'x' else 'y' end, coalesce(b, 0), cast(c as integer) from t",
        "select row_number() over (partition by a order by b desc) as r from t",
        "select distinct a from t where b between :id and :n and c is not null and not exists (select 1 from u)",
        "values (1, 'a'), (2, 'b')",
        "select t.* from (select * from u) as t",
        "select count(*) filter (where a = 1) from t;",
    ] {
        for dialect in BOTH {
            let read = low(text, dialect);
            assert!(read.is_ok(), "{dialect:?} {text}: {read:?}");
        }
    }
    for text in [
        "select :id::int, now() at time zone 'utc', extract(year from d), interval '1 day' from t",
        "select distinct on (a) a, b from t order by a, b",
        "select * from generate_series(1, :n) as g(i)",
        "select j -> 'a' ->> 'b', j @> :name::jsonb, j #>> '{a,b}', j ? 'k' from t",
        "select a[1], array[1, 2], array(select 1), unnest(b) from t",
        "select * from t where id = any(:id::int[])",
        "select string_agg(a, ',' order by a) from t",
        "select * from t cross join lateral (select * from u where u.id = t.id) as v",
        "select percentile_cont(0.5) within group (order by a) from t",
        "select position('a' in b), substring(b from 1 for 2), trim(both 'x' from b), overlay(b placing 'x' from 1) from t",
        "select repeat('x', 10), lpad(a, 10, ' ') from t",
        "select a from t group by grouping sets ((a), ()) ",
        "select current_date, current_timestamp",
        "select left(a, 1), right(a, 1) from t",
        "select date '2024-01-01', timestamp '2024-01-01 00:00:00'",
        "select * from json_to_recordset('[]') as x(a int, b text)",
        "select a::numeric(10,2), b::text[] from s.t",
        "select row_number() over w from t window w as (order by a)",
        "select * from t order by a nulls last fetch first 5 rows only",
    ] {
        let read = low(text, Dialect::Postgres);
        assert!(read.is_ok(), "{text}: {read:?}");
    }
    for text in [
        "select value from json_each(:name)",
        "select strftime('%Y', d), json_extract(j, '$.a'), j ->> '$.b' from t",
        "select group_concat(a, ',') from t where b glob 'x*'",
        "select name from sqlite_schema where type = 'table'",
    ] {
        let read = low(text, Dialect::Sqlite);
        assert!(read.is_ok(), "{text}: {read:?}");
    }
}

#[test]
#[rustfmt::skip]
fn whatever_is_no_read_is_refused() {
    for text in [
        "insert into t values (1)",
        "update t set a = 1",
        "delete from t",
        "with x as (delete from t returning *) select * from x",
        "with x as (insert into t values (1) returning *) select * from x",
        "with x as (select 1) delete from t",
        "select * into u from t",
        "select * from t for update",
        "select * from t for share",
        "select (select 1 from t for update)",
        "select * from (select * from t for no key update) as x",
        "select 1; select 2",
        "select 1; drop table t",
        "table t",
        "create table t (a int)",
        "drop table t",
        "alter table t add a int",
        "truncate t",
        "copy t to stdout",
        "copy (select 1) to program 'sh'",
        "call p()",
        "do $$ begin end $$",
        "explain select 1",
        "explain analyze delete from t",
        "set role postgres",
        "reset all",
        "begin",
        "commit",
        "rollback",
        "lock table t",
        "vacuum",
        "attach database 'x' as y",
        "pragma journal_mode = delete",
        "listen x",
        "notify x",
        "prepare p as select 1",
        "execute p",
        "declare c cursor for select 1",
        "grant select on t to public",
        "merge into t using u on true when matched then delete",
        "select pg_sleep(1)",
        "select load_extension('x')",
        "select evil(1)",
        "select * from evil(1)",
        "select \"evil\"(1)",
        "select x.lower('a')",
        "select * from a.b.c",
        "select :unknown",
        "select 1 union delete from t",
        "replace into t values (1)",
        "",
        ";",
        "nonsense",
    ] {
        for dialect in BOTH {
            assert!(low(text, dialect).is_err(), "{dialect:?} {text}");
        }
    }
    for text in [
        "select * from pg_authid",
        "select repeat('x', 100000000)",
        "select repeat('x', n) from t",
        "select lpad('x', 1 + 100000000)",
        "select 1 operator(pg_catalog.+) 2",
        "select * from t tablesample system (1)",
        "select * from only t, rows from (pg_ls_dir('.')) as x",
    ] {
        assert!(low(text, Dialect::Postgres).is_err(), "{text}");
    }
    for text in ["select * from 'sqlite_dbpage'", "select * from 't'", "select * from t indexed by i"] {
        assert!(low(text, Dialect::Sqlite).is_err(), "{text}");
    }
}

#[test]
#[rustfmt::skip]
fn a_write_is_one_statement_that_writes() {
    for (text, returns) in [
        ("insert into t (a, b) values (:id, :name)",                                      false),
        ("insert into t (a) select :id where exists (select 1 from u) returning id",      true),
        ("insert into t (a) values (:id) on conflict (a) do update set b = excluded.b",   false),
        ("update t set a = a + :n where id = :id",                                        false),
        ("update t set a = (select max(b) from u) where id = :id returning *",            true),
        ("delete from t where id = :id",                                                  false),
        ("with x as (select 1 as a) update t set a = x.a from x where t.id = :id",        false),
    ] {
        for dialect in BOTH {
            let write = high(text, None, dialect);
            assert_eq!(write.as_ref().map(|write| write.returns), Ok(returns), "{dialect:?} {text}");
        }
    }
    for text in [
        "select 1",
        "with x as (delete from u returning *) insert into t select * from x",
        "with x as (delete from u returning *) update t set a = 1",
        "insert into t select * from (delete from u returning *) as x",
        "insert into hundi_effects values ('a', now())",
        "update hundi_effects set at = null",
        "delete from \"hundi_effects\"",
        "delete from s.hundi_effects",
        "update t set a = pg_read_file('x')",
        "insert into t values (1); insert into t values (2)",
        "insert or replace into t values (1)",
        "replace into t values (1)",
        "merge into t using u on true when matched then delete",
        "truncate t",
        "drop table t",
        "create table t as select 1",
        "copy t from stdin",
        "delete from pg_class",
        "update t set a = :unknown",
    ] {
        for dialect in BOTH {
            assert!(high(text, None, dialect).is_err(), "{dialect:?} {text}");
        }
    }
}

#[test]
#[rustfmt::skip]
fn a_preview_locks_what_it_can() {
    let statement = "update invoices set a = 1 where id = :id";
    let of = |alias: &str| Lock::Of(format!("\"{alias}\""));
    for (preview, lock) in [
        ("select * from invoices where id = :id",                                        Lock::All),
        ("select * from customers where id = :id limit 3",                               Lock::All),
        ("select * from Invoices I join customers c on c.id = i.c where i.id = :id",     of("i")),
        ("select * from s.invoices left join customers c on true where id = :id",        of("invoices")),
        ("select * from customers c left join invoices i on true where i.id = :id",      Lock::Nothing),
        ("select * from customers c full join invoices i on true where i.id = :id",      Lock::Nothing),
        ("select * from invoices a join invoices b on true where a.id = :id",            Lock::Nothing),
        ("select sum(a) from invoices where id = :id",                                   Lock::Nothing),
        ("select a, row_number() over () from invoices where id = :id",                  Lock::Nothing),
        ("select distinct a from invoices where id = :id",                               Lock::Nothing),
        ("select a from invoices where id = :id group by a",                             Lock::Nothing),
        ("select a from invoices where id = :id union select 1",                         Lock::Nothing),
        ("select lower(a) from invoices where id = :id",                                 Lock::All),
    ] {
        let write = high(statement, Some(preview), Dialect::Postgres).unwrap();
        assert_eq!(write.preview.map(|preview| preview.lock), Some(lock), "{preview}");
    }
    for bad in ["delete from t", "select * from t for update", "select :other"] {
        let refused = high(statement, Some(bad), Dialect::Postgres).unwrap_err();
        assert_eq!(refused.pointer, "/exec/preview", "{bad}");
    }
}

#[test]
#[rustfmt::skip]
fn a_mistake_is_told_where_it_is() {
    for (text, line, column, words) in [
        ("select *\nfrom t\nwhere pg_sleep(1)",        3,  7, "pg_sleep"),
        ("select a -- b\n  frm t where",                2,  7, "cannot be read"),
        ("select *\nfrom t where id = :nobody",        2, 19, "nobody"),
        ("select 'ö' || lower(:id),\n x from t for update", 1,  1, "FOR UPDATE"),
        ("select 1 +\n /* c */ 'x",                    2, 10, "not closed"),
    ] {
        let refused = low(text, Dialect::Postgres).unwrap_err();
        assert_eq!(refused.pointer, "/exec/query");
        assert_eq!(refused.position, Some(Position { line, column }), "{text}: {refused}");
        assert!(refused.detail.contains(words), "{refused}");
    }
}

#[test]
fn each_required_argument_changes_something() {
    let exec = SqlLow {
        query: "select :a".to_owned(),
        max_rows: 1,
        max_bytes: 1,
    };
    let mut schema = schema(&["a", "b"]);
    assert!(read(&exec, &schema, Dialect::Postgres).is_ok());
    schema["required"] = json!(["a", "b"]);
    let refused = read(&exec, &schema, Dialect::Postgres).unwrap_err();
    assert!(refused.detail.contains("`b`"), "{refused}");
}

#[test]
fn a_parameter_that_is_named_twice_has_one_number() {
    let read = low("select :n, :id, :n", Dialect::Postgres).unwrap();
    assert_eq!(read.query.text(), "select $1, $2, $1");
    assert_eq!(read.query.names, ["n", "id"]);
}

#[test]
fn a_statement_that_explodes_is_refused_in_time() {
    let nested =
        |open: &str, close: &str| format!("select * from {}t{}", open.repeat(24), close.repeat(24));
    let long = |part: &str| format!("select 1 {}", part.repeat(1_990));
    for text in [
        nested("(", ")"),
        nested("(select * from ", ") as x"),
        format!("select {}1{}", "(".repeat(24), ")".repeat(24)),
        format!("select {}1", "not ".repeat(1_900)),
        format!("select {}1", "case when 1 then ".repeat(900)),
        long("+ 1"),
        long("or 1"),
        long("union select 1 "),
    ] {
        // Whatever is said to it, it is said.
        for dialect in BOTH {
            let told = low(&text, dialect).map(|read| read.query.text().len());
            assert!(told.is_err() || told.is_ok_and(|length| length > 20));
        }
    }
}
