//! Documents of sources as a table: what is taken, and where a mistake is.

use super::*;

fn refused(document: &Value) -> Option<String> {
    Source::read(document).err().map(|invalid| {
        assert_eq!(invalid.code, "invalid_source");
        invalid.pointer
    })
}

#[test]
#[rustfmt::skip]
fn a_source_is_read_strictly_and_the_place_of_a_mistake_is_named() {
    let pg = |config: Value| json!({"name": "erp", "kind": "postgres", "config": config});
    let rest = |config: Value| json!({"name": "crm", "kind": "rest", "config": config});
    let base = "https://api.example.com/v1";
    for (document, wrong) in [
        (pg(json!({"host": "db", "database": "erp", "user": "ro"})),             None),
        (pg(json!({})),                                                          None),
        (pg(json!({"host": "db", "user": "ro"})),                                Some("/config/database")),
        (pg(json!({"port": 5432})),                                              Some("/config/host")),
        (pg(json!({"host": "/var/run", "database": "erp", "user": "ro"})),       Some("/config/host")),
        (pg(json!({"host": "db", "database": "erp", "user": "ro", "password": "x"})), Some("/config/password")),
        (pg(json!({"max_connections": 0})),                                      Some("/config/max_connections")),
        (pg(json!({"statement_timeout_ms": 0})),                                 Some("/config/statement_timeout_ms")),
        (pg(json!({"tls": "none"})),                                             Some("/config/tls")),
        (json!({"name": "a", "kind": "sqlite", "config": {"path": "/data/a.db"}}), None),
        (json!({"name": "a", "kind": "sqlite", "config": {"path": "a.db"}}),     Some("/config/path")),
        (json!({"name": "a", "kind": "sqlite", "config": {"path": "/d/../a.db"}}), Some("/config/path")),
        (json!({"name": "a", "kind": "sqlite", "config": {}}),                   Some("/config/path")),
        (json!({"name": "a b", "kind": "sqlite", "config": {"path": "/a"}}),     Some("/name")),
        (json!({"name": "a", "kind": "oracle", "config": {}}),                   Some("/kind")),
        (json!({"name": "a", "kind": "program", "config": {"program": "tax"}}),  None),
        (json!({"name": "a", "kind": "program", "config": {"program": "/bin/sh"}}), Some("/config/program")),
        (json!({"name": "a", "kind": "program", "config": {"program": "t", "command": "sh"}}), Some("/config/command")),
        (json!({"name": "a", "kind": "program", "config": {"program": "t"}, "limits": {"max_bytes": 0}}), Some("/limits/max_bytes")),
        (json!({"name": "a", "kind": "program", "config": {"program": "t"}, "limit": {}}), Some("/limit")),
        (rest(json!({"base_url": base})),                                        None),
        (rest(json!({"base_url": "file:///etc/passwd"})),                        Some("/config/base_url")),
        (rest(json!({"base_url": "https://u:p@api.example.com"})),               Some("/config/base_url")),
        (rest(json!({"base_url": "https://api.example.com?x=1"})),               Some("/config/base_url")),
        (rest(json!({"base_url": base, "auth": "header"})),                      Some("/config/header")),
        (rest(json!({"base_url": base, "auth": "header", "header": "X-Key"})),   None),
        (rest(json!({"base_url": base, "auth": "header", "header": "Host"})),    Some("/config/header")),
        (rest(json!({"base_url": base, "header": "X-Key"})),                     Some("/config/header")),
        (rest(json!({"base_url": base, "auth": "client_credentials"})),          Some("/config/token_url")),
        (rest(json!({"base_url": base, "auth": "client_credentials", "token_url": "ftp://x"})), Some("/config/token_url")),
        (rest(json!({"base_url": base, "scopes": ["a"]})),                       Some("/config/scopes")),
        (rest(json!({"base_url": base, "headers": {"X-A": "a\r\nHost: b"}})),    Some("/config/headers/X-A")),
        (rest(json!({"base_url": base, "headers": {"Transfer-Encoding": "x"}})), Some("/config/headers/Transfer-Encoding")),
        (json!({"name": "m", "kind": "mcp", "config": {"url": "https://mcp.example.com/mcp"}}), None),
        (json!({"name": "m", "kind": "mcp", "config": {"url": "stdio:sh"}}),     Some("/config/url")),
    ] {
        assert_eq!(refused(&document).as_deref(), wrong, "{document}");
        if wrong.is_none() {
            let source = Source::read(&document).unwrap();
            assert_eq!(Source::read(&source.document()), Ok(source));
        }
    }
}

#[test]
#[rustfmt::skip]
fn secrets_are_those_that_the_source_takes() {
    let rest = |auth: &str| json!({"name": "a", "kind": "rest", "config": {"base_url": "https://a.example", "auth": auth}});
    let url = json!({"name": "a", "kind": "postgres", "config": {}});
    let host = json!({"name": "a", "kind": "postgres", "config": {"host": "h", "database": "d", "user": "u"}});
    for (document, secrets, wrong) in [
        (url.clone(),    vec!["url"],                  None),
        (url.clone(),    vec![],                       Some("/secrets/url")),
        (url,            vec!["url", "password"],      Some("/secrets/password")),
        (host.clone(),   vec!["password"],             None),
        (host.clone(),   vec![],                       None),
        (host,           vec!["url"],                  Some("/secrets/url")),
        (rest("bearer"), vec!["token"],                None),
        (rest("basic"),  vec!["username"],             Some("/secrets/password")),
        (rest("none"),   vec!["token"],                Some("/secrets/token")),
    ] {
        let source = Source::read(&document).unwrap();
        let given = secrets.iter().map(|name| ((*name).to_owned(), Secret::new("postgres://u:p@h/d"))).collect();
        let told = source.check_secrets(&given).err().map(|invalid| invalid.pointer);
        assert_eq!(told.as_deref(), wrong, "{document} {secrets:?}");
    }
}
