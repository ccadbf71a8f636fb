//! Descriptions as people publish them, and as somebody hostile would.

use serde_json::json;

use super::*;

fn description(version: &str) -> Value {
    json!({
        "openapi": version,
        "paths": {
            "/orders/{id}": {
                "parameters": [{"$ref": "#/components/parameters/id"}],
                "get": {
                    "operationId": "orders/get-one", "summary": "One order",
                    "parameters": [
                        {"name": "fields", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                        {"name": "filter", "in": "query", "style": "deepObject", "schema": {"type": "object"}},
                        {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
                        {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
                        {"name": "session", "in": "cookie", "schema": {"type": "string"}},
                    ],
                },
                "delete": {"operationId": "orders/get_one"},
                "head": {},
                "patch": {"deprecated": true},
            },
            "/orders": {
                "post": {
                    "description": "Makes an order.",
                    "requestBody": {"required": true, "content": {
                        "text/plain": {},
                        "application/json": {"schema": {"$ref": "#/components/schemas/Order"}},
                    }},
                },
            },
            "/forms": {
                "post": {
                    "operationId": "form_commit",
                    "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {
                        "type": "object", "required": ["a"],
                        "properties": {"a": {"type": "string"}, "b": {"type": "object", "properties": {}}},
                    }}}},
                },
            },
            "/upload": {"post": {"requestBody": {"required": true, "content": {"multipart/form-data": {}}}}},
            "/far": {"get": {"servers": [{"url": "https://other.example"}]}},
            "/cookie": {"get": {"parameters": [{"name": "s", "in": "cookie", "required": true, "schema": {}}]}},
            "/lost": {"get": {"parameters": [{"$ref": "#/components/parameters/none"}]}},
            "/abroad": {"get": {"parameters": [{"$ref": "https://x.example/p.json"}]}},
            "/bad?x=1": {"get": {}},
        },
        "components": {
            "parameters": {"id": {"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}}},
            "schemas": {
                "Order": {
                    "type": "object", "required": ["id", "sku"],
                    "properties": {
                        "id": {"type": "string", "readOnly": true},
                        "sku": {"type": "string", "nullable": true, "pattern": "^(?=x).*$"},
                        "count": {"type": "integer", "minimum": 0, "exclusiveMinimum": true},
                        "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Order"}},
                    },
                },
            },
        },
    })
}

fn tool<'a>(imported: &'a Imported, name: &str) -> &'a Value {
    let found = imported.tools.iter().find(|tool| tool["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not among {:#?}", imported.tools))
}

fn why<'a>(imported: &'a Imported, operation: &str, part: Option<&str>) -> &'a str {
    let found = imported
        .left_out
        .iter()
        .find(|left| left.operation == operation && left.part.as_deref() == part);
    &found
        .unwrap_or_else(|| panic!("{operation} {part:?}: {:#?}", imported.left_out))
        .why
}

#[test]
fn operations_become_disabled_tools() {
    let imported = import(&description("3.0.3"), "shop", "shop_").unwrap();
    let get = tool(&imported, "shop_orders_get-one");
    assert_eq!(get["risk"], "low");
    assert_eq!(get["enabled"], false);
    assert_eq!(get["title"], "One order");
    assert_eq!(
        get["exec"],
        json!({
            "method": "GET", "path": "/orders/{id}", "path_params": {"id": "/id"},
            "query": {"fields": "/fields"}, "headers": {"X-Trace": "/X-Trace"},
        })
    );
    assert_eq!(get["input_schema"]["required"], json!(["id"]));
    assert_eq!(tool(&imported, "shop_orders_get_one")["risk"], "high");
    let post = tool(&imported, "shop_post_orders");
    let order = &post["input_schema"]["properties"]["body"];
    assert_eq!(post["exec"]["body"], json!({"$arg": "/body"}));
    assert_eq!(order["required"], json!(["sku"]));
    assert_eq!(order["properties"].get("id"), None);
    assert_eq!(
        order["properties"]["sku"],
        json!({"type": ["string", "null"]})
    );
    assert_eq!(
        order["properties"]["count"],
        json!({"type": "integer", "exclusiveMinimum": 0})
    );
    assert_eq!(order["properties"]["parts"]["items"], json!({}));
    let form = tool(&imported, "shop_form_commit_op");
    assert_eq!(form["exec"]["content_type"], "form");
    assert_eq!(
        form["input_schema"]["properties"]["body"]["properties"],
        json!({"a": {"type": "string"}})
    );
    assert_eq!(imported.tools.len(), 4);
    assert_eq!(
        import(&description("3.1.0"), "shop", "")
            .unwrap()
            .tools
            .len(),
        4
    );
}

#[test]
#[rustfmt::skip]
fn what_is_left_out_is_told_with_the_reason() {
    let imported = import(&description("3.0.3"), "shop", "").unwrap();
    for (operation, part, words) in [
        ("GET /orders/{id}",    Some("parameter filter"),  "object"),
        ("GET /orders/{id}",    Some("parameter session"), "cookie"),
        ("HEAD /orders/{id}",   None,                      "method"),
        ("PATCH /orders/{id}",  None,                      "deprecated"),
        ("POST /orders",        Some("body"),              "circles"),
        ("POST /forms",         Some("body field b"),      "parts inside"),
        ("POST /upload",        None,                      "neither JSON nor a form"),
        ("GET /far",            None,                      "server of its own"),
        ("GET /cookie",         None,                      "cookie"),
        ("GET /lost",           None,                      "leads nowhere"),
        ("GET /abroad",         None,                      "another document"),
        ("GET /bad?x=1",        None,                      "/exec/path"),
    ] {
        let told = why(&imported, operation, part);
        assert!(told.contains(words), "{operation}: {told}");
    }
    assert_eq!(imported.left_out.len(), 12, "{:#?}", imported.left_out);
}

#[test]
fn other_documents_are_refused_and_names_are_unique() {
    for bad in [
        json!({}),
        json!({"swagger": "2.0"}),
        json!({"openapi": "2.0"}),
        json!([]),
    ] {
        assert!(import(&bad, "s", "").is_err(), "{bad}");
    }
    let same = json!({"openapi": "3.1.0", "paths": {
        "/a": {"get": {"operationId": "x"}}, "/b": {"get": {"operationId": "x"}},
        "/c": {"get": {"operationId": "x".repeat(200)}}, "/d": {"get": {"operationId": "x".repeat(200)}},
        "/e": {"get": {"operationId": "ü"}},
    }});
    let imported = import(&same, "s", "").unwrap();
    let names: BTreeSet<&str> = imported
        .tools
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect();
    assert_eq!(names.len(), 5, "{names:?} {:?}", imported.left_out);
    assert!(names.contains("get_e"), "{names:?}");
}

/// A description of a few lines that would be larger than the memory if it were followed.
#[test]
fn a_description_that_explodes_is_cut() {
    let mut schemas = Map::new();
    for level in 0..30 {
        let next = json!({"$ref": format!("#/components/schemas/s{}", level + 1)});
        let names = (0..10).map(|number| (format!("p{number}"), next.clone()));
        let properties = Map::from_iter(names);
        schemas.insert(
            format!("s{level}"),
            json!({"type": "object", "properties": properties}),
        );
    }
    schemas.insert("s30".to_owned(), json!({}));
    schemas.insert(
        "loop".to_owned(),
        json!({"$ref": "#/components/schemas/loop"}),
    );
    let body = |name: &str| {
        json!({"post": {"requestBody": {"content": {"application/json": {
        "schema": {"$ref": format!("#/components/schemas/{name}")}}}}}})
    };
    let document = json!({"openapi": "3.0.0", "components": {"schemas": schemas},
        "paths": {"/a": body("s0"), "/b": body("loop")}});
    let imported = import(&document, "s", "").unwrap();
    let size: usize = imported
        .tools
        .iter()
        .map(|tool| tool.to_string().len())
        .sum();
    assert!(size < 500_000, "{size}");
    assert_eq!(
        imported.tools.len()
            + imported
                .left_out
                .iter()
                .filter(|left| left.part.is_none())
                .count(),
        2
    );
    assert!(
        imported
            .left_out
            .iter()
            .any(|left| left.why.contains("too deep")),
        "{:?}",
        imported.left_out
    );
}

/// Stripe's description gives every GET an empty form.
#[test]
fn a_get_is_not_left_out_for_a_body_that_nobody_has_to_send() {
    let get = |id: &str, required: bool, schema: Value| {
        let content = json!({"application/x-www-form-urlencoded": {"schema": schema}});
        json!({"get": {
            "operationId": id, "requestBody": {"required": required, "content": content},
        }})
    };
    let fields = json!({"type": "object", "properties": {"q": {"type": "string"}}});
    let document = json!({"openapi": "3.0.0", "paths": {
        "/empty": get("empty", false, json!({"type": "object", "properties": {}})),
        "/some": get("some", false, fields.clone()),
        "/must": get("must", true, fields),
    }});
    let imported = import(&document, "crm", "").unwrap();
    let names: Vec<_> = imported
        .tools
        .iter()
        .map(|tool| tool["name"].clone())
        .collect();
    assert_eq!(names, ["empty", "some"]);
    assert!(
        imported
            .tools
            .iter()
            .all(|tool| tool["exec"].get("body").is_none())
    );
    assert_eq!(
        why(&imported, "GET /some", Some("body")),
        "a GET has no body"
    );
    assert_eq!(why(&imported, "GET /must", None), "a GET has no body");
    assert_eq!(imported.left_out.len(), 2);
}
