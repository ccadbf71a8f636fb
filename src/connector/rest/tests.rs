//! REST tools as tables: what may be written, what is sent, what an answer means.

use serde_json::json;

use super::*;

fn schema() -> Value {
    json!({
        "type": "object", "required": ["id"],
        "properties": {
            "id": {}, "q": {}, "tags": {"type": "array"}, "note": {},
            "to": {"properties": {"city": {}}},
        },
    })
}

fn exec(changes: Value) -> RestExec {
    let mut document =
        json!({"method": "POST", "path": "/orders/{id}", "path_params": {"id": "/id"}});
    for (key, value) in changes.as_object().unwrap() {
        document[key] = value.clone();
    }
    serde_json::from_value(document).unwrap()
}

fn high(changes: Value) -> Result<Rest, Invalid> {
    Rest::of(&exec(changes), &schema(), Risk::High)
}

fn sent(changes: Value, args: Value) -> Result<Request, Malformed> {
    high(changes).unwrap().request(&args, "P-1", None)
}

fn answer(status: u16, body: &str) -> Heard {
    Heard::Answer(Answer {
        status,
        content_type: "application/json".to_owned(),
        etag: Some("\"v1\"".to_owned()),
        retry_after_secs: None,
        body: body.as_bytes().to_vec(),
    })
}

#[test]
#[rustfmt::skip]
fn a_tool_is_understood_or_the_place_of_a_mistake_is_named() {
    let lookup = |query: Value| json!({"lookup": {"path": "/orders", "query": query, "found": "$.items[0]"}});
    for (changes, wrong) in [
        (json!({}),                                                    None),
        (json!({"path": "orders/{id}"}),                               Some("/exec/path")),
        (json!({"path": "/orders/{id}/{no}"}),                         Some("/exec/path")),
        (json!({"path": "/orders/{id"}),                               Some("/exec/path")),
        (json!({"path": "/orders/../{id}"}),                           Some("/exec/path")),
        (json!({"path": "/orders/%2e%2e/{id}"}),                       Some("/exec/path")),
        (json!({"path": "/orders/{id}?x=1"}),                          Some("/exec/path")),
        (json!({"path": "/orders/{id}#x"}),                            Some("/exec/path")),
        (json!({"path": "/orders\\{id}"}),                             Some("/exec/path")),
        (json!({"path": "/a%2fb/{id}"}),                               Some("/exec/path")),
        (json!({"path": "/a b/{id}"}),                                 Some("/exec/path")),
        (json!({"path": "/%zz/{id}"}),                                 Some("/exec/path")),
        (json!({"path": "/orders", "path_params": {"id": "/id"}}),     Some("/exec/path_params/id")),
        (json!({"path_params": {"id": "/q"}}),                         Some("/exec/path_params/id")),
        (json!({"path_params": {"id": "/nobody"}}),                    Some("/exec/path_params/id")),
        (json!({"query": {"q": "/q", "t": "/tags"}}),                  None),
        (json!({"query": {"q": "/nobody"}}),                           Some("/exec/query/q")),
        (json!({"headers": {"X-N": "/note"}}),                         None),
        (json!({"headers": {"Authorization": "/note"}}),               Some("/exec/headers/Authorization")),
        (json!({"headers": {"Host": {"$text": "evil"}}}),              Some("/exec/headers/Host")),
        (json!({"headers": {"Connection": "/note"}}),                  Some("/exec/headers/Connection")),
        (json!({"headers": {"If-Match": "/note"}}),                    Some("/exec/headers/If-Match")),
        (json!({"headers": {"X N": "/note"}}),                         Some("/exec/headers/X N")),
        (json!({"body": {"to": {"$arg": "/to/city"}}}),                None),
        (json!({"body": {"to": {"$arg": "/to/street"}}}),              Some("/exec/body")),
        (json!({"method": "GET", "body": {}}),                         Some("/exec/body")),
        (json!({"success": ["2xx", "202"]}),                           None),
        (json!({"success": []}),                                       Some("/exec/success")),
        (json!({"success": ["4xx"]}),                                  Some("/exec/success/0")),
        (json!({"success": ["ok"]}),                                   Some("/exec/success/0")),
        (json!({"response": "$.data[0]"}),                             None),
        (json!({"response": "data"}),                                  Some("/exec/response")),
        (json!({"idempotency_header": "Idempotency-Key"}),             None),
        (json!({"idempotency_header": "Content-Length"}),              Some("/exec/idempotency_header")),
        (json!({"idempotency_header": "X-K", "headers": {"x-k": "/q"}}), Some("/exec/headers/x-k")),
        (lookup(json!({"ref": {"$proposal": "id"}})),                  None),
        (lookup(json!({"ref": "/id"})),                                Some("/exec/lookup")),
        (json!({"lookup": {"path": "/o", "query": {"r": {"$proposal": "id"}}, "found": "x"}}), Some("/exec/lookup/found")),
        (json!({"preview": {"path": "/orders/{id}", "path_params": {"id": "/id"}}}), None),
        (json!({"preview": {"path": "/orders/{id}"}}),                 Some("/exec/preview/path")),
        (json!({"preview": {"path": "/o", "query": {"a": {"$proposal": "id"}}}}), Some("/exec/preview")),
        (json!({"path": "/orders", "path_params": {}}),                Some("/exec")),
        (json!({"path": "/orders", "path_params": {}, "body": {"$arg": ""}}), None),
    ] {
        let read = high(changes.clone());
        let told = read.as_ref().err().map(|invalid| invalid.pointer.as_str());
        assert_eq!(told, wrong, "{changes} {read:?}");
    }
    for changes in [
        json!({"idempotency_header": "X-K"}),
        json!({"headers": {"X-K": {"$proposal": "id"}}}),
        json!({"preview": {"path": "/o"}}),
    ] {
        assert!(Rest::of(&exec(changes.clone()), &schema(), Risk::Low).is_err(), "{changes}");
    }
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let read = Rest::of(&exec(json!({"method": method})), &schema(), Risk::Low);
        assert_eq!(read.unwrap_err().pointer, "/risk", "{method}");
    }
}

#[test]
#[rustfmt::skip]
fn an_argument_stays_in_its_segment() {
    for (id, path) in [
        (json!("7"),                 Some("/orders/7")),
        (json!(7),                   Some("/orders/7")),
        (json!("a b"),               Some("/orders/a%20b")),
        (json!("a/b"),               Some("/orders/a%2Fb")),
        (json!("a?b=c#d"),           Some("/orders/a%3Fb%3Dc%23d")),
        (json!("@evil.example"),     Some("/orders/%40evil.example")),
        (json!("%2e%2e"),            Some("/orders/%252e%252e")),
        (json!("ä"),                 Some("/orders/%C3%A4")),
        (json!("..."),               Some("/orders/...")),
        (json!(".."),                None),
        (json!("."),                 None),
        (json!("../admin"),          None),
        (json!("a/../../admin"),     None),
        (json!("a\\..\\admin"),      None),
        (json!(".. "),               None),
        (json!(""),                  None),
        (json!("a\r\nHost: evil"),   None),
        (json!(null),                None),
        (json!([1, 2]),              None),
        (json!({"a": 1}),            None),
        (json!("x".repeat(1_025)),   None),
    ] {
        let request = sent(json!({}), json!({"id": id}));
        assert_eq!(request.ok().map(|request| request.path).as_deref(), path, "{id}");
    }
    // A hole beside plain text is no segment of its own.
    let halves = json!({"path": "/.{id}", "path_params": {"id": "/id"}});
    assert_eq!(sent(halves.clone(), json!({"id": "x"})).unwrap().path, "/.x");
    assert!(sent(halves, json!({"id": "."})).is_err());
}

#[test]
fn everything_is_spelt_for_its_slot() {
    let changes = json!({
        "query": {"q": "/q", "tag": "/tags", "state": {"$text": "a&b"}, "none": "/to/city"},
        "headers": {"X-Note": "/note", "X-Ref": {"$proposal": "id"}},
        "idempotency_header": "Idempotency-Key",
        "body": {"city": {"$arg": "/to/city"}, "ref": {"$proposal": "id"}, "list": [{"$arg": "/q"}]},
    });
    let args = json!({"id": "1", "q": "x&y=z", "tags": ["a", 2], "note": "n"});
    let rest = high(changes.clone()).unwrap();
    let request = rest.request(&args, "P-1", Some("\"v1\"")).unwrap();
    assert_eq!(request.method, Method::Post);
    assert_eq!(request.query, "q=x%26y%3Dz&state=a%26b&tag=a&tag=2");
    let headers = [
        ("x-note", "n"),
        ("x-ref", "P-1"),
        ("idempotency-key", "P-1"),
        ("if-match", "\"v1\""),
    ];
    let headers: Vec<(String, String)> = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    assert_eq!(request.headers, headers);
    let (kind, body) = request.body.unwrap();
    assert_eq!(kind, ContentType::Json);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, json!({"ref": "P-1", "list": ["x&y=z"]}));
    for note in ["a\r\nX-Evil: 1", "a\n", "\0", "ä", &"x".repeat(5_000)] {
        assert!(
            rest.request(&json!({"id": "1", "note": note}), "P", None)
                .is_err(),
            "{note:?}"
        );
    }
    let form =
        json!({"content_type": "form", "body": {"a": {"$arg": "/q"}, "b": {"$arg": "/tags"}}});
    let request = sent(form.clone(), args).unwrap();
    let (kind, body) = request.body.unwrap();
    assert_eq!(kind, ContentType::Form);
    assert_eq!(body, "a=x%26y%3Dz&b=a&b=2");
    assert!(sent(form, json!({"id": "1", "q": {"x": 1}})).is_err());
}

#[test]
#[rustfmt::skip]
fn only_a_clear_yes_and_a_clear_no_end_doubt() {
    let rest = high(json!({"success": ["200", "201"]})).unwrap();
    let told = |heard: &Heard| match rest.outcome(heard) {
        Outcome::Executed(_) => "executed".to_owned(),
        Outcome::Refused(error) => error.code,
        Outcome::NotSent(_) => "not sent".to_owned(),
        Outcome::Unknown(_) => "unknown".to_owned(),
    };
    for (heard, expected) in [
        (answer(200, "{}"),                              "executed"),
        (answer(201, ""),                                "executed"),
        (answer(201, "not json"),                        "executed"),
        (answer(202, "{}"),                              "unknown"),
        (answer(204, ""),                                "unknown"),
        (answer(301, ""),                                "unknown"),
        (answer(303, ""),                                "unknown"),
        (answer(307, ""),                                "http_307"),
        (answer(400, ""),                                "http_400"),
        (answer(401, ""),                                "http_401"),
        (answer(404, ""),                                "http_404"),
        (answer(409, ""),                                "unknown"),
        (answer(412, ""),                                "precondition_failed"),
        (answer(422, ""),                                "http_422"),
        (answer(429, ""),                                "unknown"),
        (answer(500, ""),                                "unknown"),
        (answer(503, ""),                                "unknown"),
        (Heard::NotSent("x".into()),                     "not sent"),
        (Heard::Lost("x".into()),                        "unknown"),
        (Heard::Late,                                    "unknown"),
        (Heard::TooLarge { status: 200, limit: 5 },      "executed"),
        (Heard::TooLarge { status: 500, limit: 5 },      "unknown"),
    ] {
        assert_eq!(told(&heard), expected, "{heard:?}");
    }
}

#[test]
fn data_is_the_part_that_was_asked_for() {
    let whole = r#"{"data": {"id": 9007199254740993, "items": [{"a": 1}, {"a": 2}]}}"#;
    for (response, expected) in [
        ("$.data.id", json!("9007199254740993")),
        ("$.data.items[*].a", json!([1, 2])),
        ("$.data.items[?@.a > 1]", json!([{"a": 2}])),
        ("$['data']['items'][0]", json!({"a": 1})),
        ("$.nothing", json!(null)),
        ("$.nothing[*]", json!([])),
    ] {
        let rest = high(json!({"response": response})).unwrap();
        assert_eq!(rest.data(&answer(200, whole)), Ok(expected), "{response}");
    }
    let rest = high(json!({})).unwrap();
    assert_eq!(rest.data(&answer(204, "")), Ok(json!(null)));
    let failed = |heard: &Heard| rest.data(heard).unwrap_err().code;
    assert_eq!(failed(&answer(404, "no")), "upstream_failed");
    assert_eq!(failed(&answer(200, "{")), "upstream_failed");
    assert_eq!(failed(&Heard::Lost("x".into())), "source_unavailable");
    assert_eq!(failed(&Heard::Late), "timeout");
    assert_eq!(
        failed(&Heard::TooLarge {
            status: 200,
            limit: 1
        }),
        "result_too_large"
    );
}

#[test]
fn a_look_up_proves_what_it_finds_and_nothing_else() {
    let by_query = json!({"lookup": {"path": "/orders", "query": {"ref": {"$proposal": "id"}}, "found": "$.items[*].id"}});
    let by_path = json!({"lookup": {"path": "/orders/{r}", "path_params": {"r": {"$proposal": "id"}}, "found": "$.id"}});
    let (by_query, by_path) = (high(by_query).unwrap(), high(by_path).unwrap());
    assert!(by_query.recovery().lookup);
    let asked = by_query.lookup(&json!({"id": 1}), "P-1").unwrap().unwrap();
    assert_eq!(
        (asked.method, asked.path.as_str(), asked.query.as_str()),
        (Method::Get, "/orders", "ref=P-1")
    );
    let told = |rest: &Rest, heard: &Heard| match rest.sighting(heard) {
        Sighting::Found(receipt) => receipt.result.to_string(),
        Sighting::Absent => "absent".to_owned(),
        Sighting::Refused(_) => "refused".to_owned(),
        Sighting::Unclear(_) => "unclear".to_owned(),
    };
    assert_eq!(
        told(&by_query, &answer(200, r#"{"items": [{"id": 7}]}"#)),
        "7"
    );
    assert_eq!(told(&by_query, &answer(200, r#"{"items": []}"#)), "absent");
    assert_eq!(told(&by_query, &answer(200, "<html>")), "unclear");
    assert_eq!(told(&by_query, &answer(404, "")), "unclear");
    assert_eq!(told(&by_path, &answer(404, "")), "absent");
    assert_eq!(told(&by_path, &answer(500, "")), "unclear");
    assert_eq!(told(&by_path, &Heard::Lost("x".into())), "unclear");
}

#[test]
fn a_state_is_bound_with_its_version() {
    let preview = json!({"preview": {"path": "/orders/{id}", "path_params": {"id": "/id"}}});
    let rest = high(preview).unwrap();
    let asked = rest.preview(&json!({"id": "1"})).unwrap().unwrap();
    assert_eq!(
        (asked.method, asked.path.as_str()),
        (Method::Get, "/orders/1")
    );
    let first = rest.shown(&answer(200, r#"{"a": 1, "b": 2}"#)).unwrap();
    let same = rest.shown(&answer(200, r#"{"b": 2, "a": 1}"#)).unwrap();
    let other = rest.shown(&answer(200, r#"{"a": 1, "b": 3}"#)).unwrap();
    assert_eq!(first.state, same.state);
    assert_ne!(first.state, other.state);
    assert_eq!(first.etag.as_deref(), Some("\"v1\""));
    assert!(rest.shown(&answer(404, "")).is_err());
}
