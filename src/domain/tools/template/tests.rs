//! Templates as tables.

use serde_json::json;

use super::*;

#[test]
fn a_template_is_filled_and_what_is_absent_is_left_out() {
    let template: Template = serde_json::from_value(json!({
        "to": {"$arg": "/to"}, "note": {"$arg": "/note"}, "ref": {"$proposal": "id"},
        "lines": [{"sku": {"$arg": "/sku"}}, {"$arg": "/more"}], "kind": "x",
    }))
    .unwrap();
    let args = json!({"to": {"$arg": "/sku"}, "sku": 7});
    assert_eq!(
        template.filled(&args, "P"),
        // What an argument says is not read as a template again.
        Some(json!({"to": {"$arg": "/sku"}, "ref": "P", "lines": [{"sku": 7}], "kind": "x"}))
    );
    assert_eq!(template.pointers(), ["/sku", "/more", "/note", "/to"]);
}

#[test]
#[rustfmt::skip]
fn what_a_template_does_not_know_is_refused() {
    for bad in [
        json!({"$arg": "id"}),
        json!({"$arg": 1}),
        json!({"$args": "/id"}),
        json!({"$proposal": "token"}),
        json!({"$arg": "/id", "x": 1}),
        json!([{"a": {"$env": "HOME"}}]),
    ] {
        assert!(serde_json::from_value::<Template>(bad.clone()).is_err(), "{bad}");
    }
}
