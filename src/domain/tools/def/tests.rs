//! Documents of tools as a table: what is taken, and where a mistake is.

use super::*;
use crate::domain::money::Currency;

fn tool(changes: Value) -> Value {
    let mut document = json!({
        "name": "invoice_by_id", "kind": "sql", "source": "erp", "description": "One invoice.",
        "risk": "low", "exec": {"query": "select * from invoices where id = :id"},
        "input_schema": {"type": "object", "properties": {"id": {"type": "integer"}},
                         "required": ["id"]},
    });
    for (key, value) in changes.as_object().unwrap() {
        document[key] = value.clone();
    }
    document
}

fn refund(changes: Value) -> Value {
    let mut document = tool(json!({
        "risk": "high", "exec": {"statement": "update x set y = :amount where id = :id"},
        "money": {"amount": "/amount", "currency": "INR"},
        "input_schema": {"type": "object", "properties": {
            "id": {"type": "integer"}, "amount": {"type": "integer"}},
            "required": ["amount"]},
    }));
    for (key, value) in changes.as_object().unwrap() {
        document[key] = value.clone();
    }
    document
}

/// With more than one argument that looks like money, and a list of some.
fn split(required: Value, money: Value) -> Value {
    refund(json!({
        "money": money,
        "input_schema": {"type": "object", "required": required, "properties": {
            "amount": {"type": "integer"}, "fee": {"type": "integer"}, "currency": {"type": "string"},
            "lines": {"items": {"required": ["sum"], "properties": {"sum": {"type": "integer"}}}}}},
    }))
}

fn pays_to(required: Value, payee: Value) -> Value {
    refund(json!({
        "payee": payee,
        "input_schema": {"type": "object", "required": required, "properties": {
            "amount": {"type": "integer"}, "to": {"type": "string"}}},
    }))
}

#[test]
#[rustfmt::skip]
fn each_argument_that_looks_like_money_is_limited_or_denied() {
    let all = json!(["amount", "fee", "currency", "lines"]);
    let named = json!(["/amount", "fee", "lines[].sum"]);
    let free = |enabled: bool, risk: &str, exec: Value| tool(json!({
        "risk": risk, "enabled": enabled, "kind": "rest", "exec": exec,
        "input_schema": {"properties": {"amount": {"type": "integer"}}},
    }));
    let get = json!({"method": "GET", "path": "/pay"});
    for (document, wrong) in [
        (split(all.clone(), json!({"amounts": named, "currency": "/currency"})),              None),
        (split(json!(["amount", "fee", "currency"]), json!({"amounts": named, "currency": "/currency"})), Some("/money/amounts/2")),
        (split(json!(["amount", "fee", "lines"]), json!({"amounts": named, "currency": "/currency"})), Some("/money/currency")),
        (split(all.clone(), json!({"amounts": named, "currency": "INR"})),                    Some("/money")),
        (split(all.clone(), json!({"amount": "/amount", "currency": "/currency"})),           Some("/money")),
        (split(all.clone(), json!({"amount": "/amount", "currency": "/currency", "none": ["fee"]})), Some("/money")),
        (split(all.clone(), json!({"amount": "/amount", "currency": "/currency", "none": ["fee", "/lines"]})), None),
        (split(all.clone(), json!({"amount": "/amount", "amounts": named, "currency": "/currency"})), Some("/money")),
        (split(all.clone(), json!({"amounts": [], "currency": "/currency"})),                 Some("/money")),
        (split(all.clone(), json!({"amounts": ["lines[]"], "currency": "/currency"})),        Some("/money/amounts/0")),
        (split(all, json!({"amounts": ["amuont"], "currency": "/currency"})),                 Some("/money/amounts/0")),
        // Whoever is paid is named, too, or there is but one that it can be.
        (pays_to(json!(["amount", "to"]), json!(null)),                                       None),
        (pays_to(json!(["amount", "to"]), json!({"account": "/to"})),                         None),
        (pays_to(json!(["amount", "to"]), json!({"account": "to"})),                          None),
        (pays_to(json!(["amount"]), json!({"account": "/to"})),                               Some("/payee/account")),
        (pays_to(json!(["amount", "to"]), json!({"account": "/too"})),                        Some("/payee/account")),
        (pays_to(json!(["amount", "to"]), json!({"name": "/amount"})),                        Some("/payee")),
        (pays_to(json!(["amount", "to"]), json!({"none": ["to"]})),                           Some("/payee")),
        (pays_to(json!(["amount", "to"]), json!("none")),                                     None),
        // Asked of every risk, when it may be called.
        (free(true, "low", get.clone()),                                                      Some("/money")),
        (free(false, "low", get.clone()),                                                     None),
        (free(true, "high", get.clone()),                                                     Some("/money")),
        (free(false, "high", get),                                                            None),
    ] {
        let read = ToolDef::read(&document);
        let told = read.as_ref().err().map(|invalid| invalid.pointer.as_str());
        assert_eq!(told, wrong, "{document} {read:?}");
        if let Ok(tool) = read {
            assert_eq!(ToolDef::read(&tool.document()), Ok(tool));
        }
    }
}

#[test]
#[rustfmt::skip]
fn a_tool_is_read_strictly_and_the_place_of_a_mistake_is_named() {
    for (document, wrong) in [
        (tool(json!({})),                                                       None),
        (tool(json!({"name": "x_propose"})),                                    Some("/name")),
        (tool(json!({"name": "x_commit"})),                                     Some("/name")),
        (tool(json!({"name": "x".repeat(57)})),                                 Some("/name")),
        (tool(json!({"name": "x".repeat(56)})),                                 None),
        (tool(json!({"name": "a.b"})),                                          Some("/name")),
        (tool(json!({"name": ""})),                                             Some("/name")),
        (tool(json!({"source": "a/b"})),                                        Some("/source")),
        (tool(json!({"kind": "shell"})),                                        Some("/kind")),
        (tool(json!({"risk": "medium"})),                                       Some("/risk")),
        (tool(json!({"description": " "})),                                     Some("/description")),
        (tool(json!({"title": ""})),                                            Some("/title")),
        (tool(json!({"titel": "x"})),                                           Some("/titel")),
        (tool(json!({"enabled": "yes"})),                                       Some("/enabled")),
        (tool(json!({"timeout_ms": 0})),                                        Some("/timeout_ms")),
        (tool(json!({"rate_limit": {"per_min": 60, "by": "caller"}})),          None),
        (tool(json!({"rate_limit": {"per_min": 0, "by": "caller"}})),           Some("/rate_limit")),
        (tool(json!({"rate_limit": {"per_min": 60, "by": "planet"}})),          Some("/rate_limit/by")),
        (tool(json!({"masks": [{"path": "$.rows[*].email", "do": "last4"}]})),  None),
        (tool(json!({"masks": [{"path": "rows.email", "do": "last4"}]})),       Some("/masks/0/path")),
        (tool(json!({"masks": [{"path": "$.a", "do": "blur"}]})),               Some("/masks/0/do")),
        (tool(json!({"annotations": {"readOnlyHint": true}})),                  None),
        (tool(json!({"annotations": {"safe": true}})),                          Some("/annotations/safe")),
        (tool(json!({"input_schema": {"type": "array"}})),                      Some("/input_schema/type")),
        (tool(json!({"input_schema": {"properties": {}, "required": ["id"]}})), Some("/input_schema/required")),
        (tool(json!({"input_schema": {"properties": {"a": {"$ref": "https://x.example/s"}}}})), Some("/input_schema")),
        (tool(json!({"output_schema": {"$ref": "#/x"}})),                       Some("/output_schema")),
        (tool(json!({"output_schema": {"type": "zz"}})),                        Some("/output_schema")),
        (tool(json!({"output_schema": {"$ref": "https://x.example/s"}})),       Some("/output_schema")),
        (tool(json!({"output_schema": {"type": "array"}})),                     None),
        (refund(json!({})),                                                     None),
        (refund(json!({"money": "none"})),                                      None),
        (refund(json!({"money": {"amount": "/amount", "currency": "XXZ"}})),    Some("/money/currency")),
        (refund(json!({"money": null})),                                        Some("/money")),
        (refund(json!({"money": null, "enabled": false})),                      None),
        (refund(json!({"input_schema": {"properties": {"amount": {"type": "integer"}}}})), Some("/money/amount")),
        (refund(json!({"money": {"amount": "/sum", "currency": "INR"}})),       Some("/money/amount")),
        (refund(json!({"money": {"amount": "/amount", "currency": "rupees"}})), Some("/money/currency")),
        (refund(json!({"money": {"amount": "/amount"}})),                       Some("/money/currency")),
        (tool(json!({"money": {"amount": "/id", "currency": "INR"}})),          Some("/money")),
    ] {
        let read = ToolDef::read(&document);
        if let Err(invalid) = &read {
            assert_eq!(invalid.code, "invalid_tool");
        }
        let told = read.as_ref().err().map(|invalid| invalid.pointer.as_str());
        assert_eq!(told, wrong, "{document} {read:?}");
        if let Ok(tool) = read {
            assert_eq!(ToolDef::read(&tool.document()), Ok(tool));
        }
    }
}

#[test]
fn the_amount_of_a_tool_is_read_as_that_of_an_upstream_tool() {
    let sum = json!({"properties": {"sum": {"type": "integer"}}, "required": ["sum"]});
    let def = ToolDef::read(&refund(json!({
        "money": {"amount": "/to/sum", "currency": "/currency"},
        "input_schema": {
            "properties": {"to": sum, "currency": {"type": "string"}},
            "required": ["to", "currency"],
        },
    })))
    .unwrap();
    let rule = def.money_rule();
    assert_eq!(rule.amounts, ["to.sum"]);
    assert_eq!(rule.currency.as_deref(), Some("currency"));
    let def = ToolDef::read(&refund(json!({}))).unwrap();
    assert_eq!(def.money_rule().default_currency, Currency::parse("INR"));
}
