//! Documents of `exec` as a table.

use super::*;

#[test]
#[rustfmt::skip]
fn an_exec_is_read_by_kind_and_risk() {
    use Risk::{High, Low};
    //    kind               risk  document                                       wrong at
    for (kind, risk, document, wrong) in [
        (ToolKind::Sql,     Low,  json!({"query": "select 1"}),                    None),
        (ToolKind::Sql,     Low,  json!({"statement": "select 1"}),                Some("/exec/statement")),
        (ToolKind::Sql,     Low,  json!({"query": "select 1", "max_rows": 0}),     Some("/exec/max_rows")),
        (ToolKind::Sql,     Low,  json!({"query": "x", "max_bytes": 999_999_999}), Some("/exec/max_bytes")),
        (ToolKind::Sql,     Low,  json!({"query": 5}),                             Some("/exec/query")),
        (ToolKind::Sql,     Low,  json!({}),                                       Some("/exec/query")),
        (ToolKind::Sql,     High, json!({"query": "select 1"}),                    Some("/exec/query")),
        (ToolKind::Sql,     High, json!({"statement": "x", "expect_rows": {"min": 2, "max": 1}}), Some("/exec/expect_rows/max")),
        (ToolKind::Sql,     High, json!({"statement": "x", "expect_rows": {"least": 2}}), Some("/exec/expect_rows/least")),
        (ToolKind::Rest,    Low,  json!({"method": "GET", "path": "/"}),           None),
        (ToolKind::Rest,    Low,  json!({"method": "get", "path": "/"}),           Some("/exec/method")),
        (ToolKind::Rest,    High, json!({"method": "POST", "path": "/", "body": {"a": {"$x": 1}}}), Some("/exec/body")),
        (ToolKind::Rest,    High, json!({"method": "POST", "path": "/", "query": {"a": "no"}}), Some("/exec/query/a")),
        (ToolKind::Program, High, json!({}),                                       None),
        (ToolKind::Program, High, json!({"command": "sh"}),                        Some("/exec/command")),
        (ToolKind::Mcp,     High, json!({"tool": "t"}),                            None),
        (ToolKind::Mcp,     High, json!({"tool": "t", "rule": {"rsk": 1}}),        Some("/exec/rule/rsk")),
    ] {
        let read = Exec::read(kind, risk, &document).map_err(|invalid| invalid.pointer);
        assert_eq!(read.as_ref().err().map(String::as_str), wrong, "{document}");
        if let Ok(exec) = read {
            let again = serde_json::to_value(&exec).unwrap();
            assert_eq!(Exec::read(kind, risk, &again), Ok(exec), "{again}");
        }
    }
}
