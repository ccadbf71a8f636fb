//! Values of PostgreSQL, in and out.

use super::*;

#[tokio::test]
async fn values_of_postgres_have_one_spelling_each() {
    let Some(bench) = Bench::postgres().await else {
        return;
    };
    bench.change("create type mood as enum ('sad', 'ok')").await;
    bench
        .change("create domain cents as bigint check (value >= 0)")
        .await;
    #[rustfmt::skip]
    let cases = [
        ("true",                                     json!(true)),
        ("1::int2",                                  json!(1)),
        ("-1::int8",                                 json!(-1)),
        ("9007199254740993::int8",                   json!("9007199254740993")),
        ("0.1::float4",                              json!(0.1)),
        ("0.1::float8",                              json!(0.1)),
        ("'NaN'::float8",                            json!("NaN")),
        ("123456789012345678.90::numeric",           json!("123456789012345678.90")),
        ("'12.50'::money",                           json!("12.50")),
        ("5::cents",                                 json!(5)),
        ("'ok'::mood",                               json!("ok")),
        ("'a'::varchar(3)",                          json!("a")),
        ("'a'::char(3)",                             json!("a  ")),
        ("'2024-02-29'::date",                       json!("2024-02-29")),
        ("'10:11:12.5'::time",                       json!("10:11:12.5")),
        ("'2024-02-29 10:11:12'::timestamp",         json!("2024-02-29T10:11:12")),
        ("'2024-02-29 10:11:12+02'::timestamptz",    json!("2024-02-29T08:11:12Z")),
        ("'1 day 2 hours'::interval",                json!("P1DT2H")),
        ("'\\x00ff'::bytea",                         json!("AP8=")),
        ("'{\"a\": [1, 9007199254740993]}'::jsonb",  json!({"a": [1, "9007199254740993"]})),
        ("'[1]'::json",                              json!([1])),
        ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", json!("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
        ("array[1, null, 3]",                        json!([1, null, 3])),
        ("array[[1, 2], [3, 4]]",                    json!([[1, 2], [3, 4]])),
        ("array[1.10::numeric]",                     json!(["1.10"])),
        ("array['a\"b', 'c']::text[]",               json!(["a\"b", "c"])),
        ("array['ok']::mood[]",                      json!(["ok"])),
        ("array[true]",                              json!([true])),
        ("array['2024-02-29 10:11:12+00'::timestamptz]", json!(["2024-02-29T10:11:12Z"])),
        ("null::int",                                json!(null)),
        ("null::int[]",                              json!(null)),
        ("'10.0.0.1'::inet",                         json!("10.0.0.1/32")),
        ("int4range(1, 3)",                          json!("[1,3)")),
        ("row(1, 'a')",                              json!("(1,a)")),
    ];
    for (text, expected) in cases {
        let rows = bench.read(&format!("select {text} as v"), json!({})).await;
        assert_eq!(
            rows.map(|rows| rows.rows[0]["v"].clone()),
            Ok(expected),
            "{text}"
        );
    }
}

#[tokio::test]
async fn arguments_have_the_type_that_the_parameter_has_there() {
    let Some(bench) = Bench::postgres().await else {
        return;
    };
    bench.change("create type mood as enum ('sad', 'ok')").await;
    #[rustfmt::skip]
    let cases = [
        ("@a::int + 1",                   json!(41),                 json!(42)),
        ("@a::int8",                      json!("9007199254740993"), json!("9007199254740993")),
        ("@a::bpchar || '.'",             json!("abc"),              json!("abc.")),
        ("(select 'abc'::char(5) = @a)",  json!("abc"),              json!(true)),
        ("(select b'101' = @a)",          json!("101"),              json!(true)),
        ("@a::numeric * 2",               json!("0.10"),             json!("0.20")),
        ("@a::mood",                      json!("sad"),              json!("sad")),
        ("@a::date + 1",                  json!("2024-02-28"),       json!("2024-02-29")),
        ("@a::jsonb -> 'x'",              json!({"x": [1]}),         json!([1])),
        ("2 = any(@a::int[])",            json!([1, 2]),             json!(true)),
        ("@a::text",                      json!("'; drop table invoices; --"), json!("'; drop table invoices; --")),
        ("coalesce(@a::text, 'none')",    json!(null),               json!("none")),
        ("(select count(*) from invoices where id = @a)", json!(1),  json!(1)),
        ("(select customer from invoices where cents > @a order by id limit 1)", json!(600), json!("bob")),
    ];
    for (text, a, expected) in cases {
        let rows = bench
            .read(&format!("select {text} as v"), json!({"a": a}))
            .await;
        assert_eq!(
            rows.map(|rows| rows.rows[0]["v"].clone()),
            Ok(expected),
            "{text}"
        );
    }
    let told = bench.read("select @a::int as v", json!({"a": "x"})).await;
    assert!(matches!(told, Err(Trouble::Refused(_))), "{told:?}");
    let told = bench
        .read("select @a::mood as v", json!({"a": "glad"}))
        .await;
    assert!(matches!(told, Err(Trouble::Refused(_))), "{told:?}");
}

#[tokio::test]
async fn a_table_that_changes_is_described_anew() {
    let Some(bench) = Bench::postgres().await else {
        return;
    };
    let text = "select * from invoices where id = @id";
    assert_eq!(
        bench.read(text, json!({"id": 1})).await.unwrap().rows.len(),
        1
    );
    bench
        .change("alter table invoices alter column id type bigint")
        .await;
    bench
        .change("alter table invoices add column extra int default 3")
        .await;
    let rows = bench.read(text, json!({"id": 1})).await.unwrap();
    assert_eq!(rows.rows[0]["extra"], json!(3));
}
