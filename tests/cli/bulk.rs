//! `hundi hash` and `hundi score`: a line in, a line out, whatever the lines hold.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Place;

#[test]
#[rustfmt::skip]
fn hash_answers_each_line_in_order() {
    let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels)).into_bytes();
    let long = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2)).into_bytes();
    let ok = |text: &str| (text.as_bytes().to_vec(), None);
    let bad = |bytes: &[u8], code: &'static str| (bytes.to_vec(), Some(code));
    let mut cases: Vec<(Vec<u8>, Option<&str>)> = vec![
        ok(r#"{"b":1,"a":[true,null,"é"]}"#),
        bad(br#"{"a":1,"a":2}"#,                "duplicate_key"),
        bad(br#"{"a":{"x":1,"\u0078":2}}"#,     "duplicate_key"),
        ok("9007199254740991"),
        bad(b"9007199254740992",                "integer_out_of_range"),
        bad(b"-9007199254740992",               "integer_out_of_range"),
        ok("-9007199254740991"),
        bad(b"1e309",                           "number_out_of_range"),
        ok("1e308"),
        bad(br#""\udc00""#,                     "lone_surrogate"),
        ok(r#""\ud83d\ude00""#),
        bad(b"\"\xc3\"",                        "invalid_utf8"),
        bad(b"\xff\xfe",                        "invalid_utf8"),
        bad(b"",                                "invalid_json"),
        bad(b"{} {}",                           "invalid_json"),
        bad(b"NaN",                             "invalid_json"),
        bad(b"\xef\xbb\xbf{}",                  "invalid_json"),
        ok("  {}\t\r"),
        bad(br#"{"$serde_json::private::Number":"1"}"#, "reserved_key"),
    ];
    cases.push((deep(100), None));
    cases.push((deep(101), Some("too_deep")));
    cases.push((deep(10_000), Some("too_deep")));
    cases.push((long(1024 * 1024), None));
    cases.push((long(1024 * 1024 + 1), Some("too_large")));
    cases.push((long(5 * 1024 * 1024), Some("too_large")));
    cases.push((b"{}".to_vec(), None));

    let input = cases.iter().map(|(line, _)| line.as_slice()).collect::<Vec<_>>().join(&b'\n');
    let told = Place::new().fed(&["hash"], &input).done().lines();
    assert_eq!(told.len(), cases.len());
    for ((line, code), told) in cases.iter().zip(told) {
        let shown = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
        match code {
            Some(code) => {
                assert_eq!(told["error"]["code"], *code, "{shown}");
                assert!(!told["error"]["detail"].as_str().unwrap().is_empty());
            }
            None => {
                let canonical = told["canonical"].as_str().unwrap_or_else(|| panic!("{shown}: {told}"));
                let digest = Sha256::digest(canonical);
                let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(told["sha256"], hex.as_str(), "{shown}");
            }
        }
    }
}

#[test]
fn hash_takes_a_file_as_one_document() {
    let place = Place::new();
    place.write("pretty.json", "{\n  \"b\": 2,\n  \"a\": 1\n}\n");
    let told = place.run(&["hash", "--file", "pretty.json"]).done().json();
    assert_eq!(told["canonical"], r#"{"a":1,"b":2}"#);
    place.write("two.json", "{}\n{}\n");
    let refused = place.run(&["hash", "--file", "two.json"]);
    assert_eq!(
        (refused.code, &refused.json()["error"]["code"]),
        (1, &json!("invalid_json"))
    );
    place.write("bytes", b"\"\xff\"");
    let refused = place.run(&["hash", "--file", "bytes"]);
    assert_eq!(
        (refused.code, &refused.json()["error"]["code"]),
        (1, &json!("invalid_utf8"))
    );
    let piped = place.fed(&["hash", "--file", "-"], b"[\n1 ]").done().json();
    assert_eq!(piped["canonical"], "[1]");
}

type Number = Option<f64>;

fn close(told: &Value, expected: Option<f64>, what: &str) {
    match expected {
        None => assert!(told.is_null(), "{what}: {told}"),
        Some(expected) => {
            let told = told.as_f64().unwrap_or_else(|| panic!("{what}: {told}"));
            assert!(
                (told - expected).abs() < 1e-9,
                "{what}: {told} is not {expected}"
            );
        }
    }
}

#[test]
#[rustfmt::skip]
fn score_weighs_what_there_is() {
    //                                                                        instability variance    drift       composite          decision
    let cases: &[(Value, Number, Number, Number, Number, &str)] = &[
        (json!({"samples": ["a b", "a b"]}),                                  Some(0.0),  None,       None,       Some(0.0),         "allow"),
        (json!({"samples": ["a b", "c d"]}),                                  Some(1.0),  None,       None,       Some(1.0),         "block"),
        (json!({"samples": ["pay 100", "pay 110"]}),                          Some(2.0/3.0), Some(0.1), None,     Some((0.5*2.0/3.0 + 0.3*0.1)/0.8), "block"),
        (json!({"samples": ["", ""]}),                                        Some(0.0),  None,       None,       Some(0.0),         "allow"),
        (json!({"samples": ["only one"]}),                                    None,       None,       None,       None,              "block"),
        (json!({"prompt": "p", "baseline_hash": "0"}),                        None,       None,       Some(1.0),  Some(1.0),         "block"),
        (json!({}),                                                           None,       None,       None,       None,              "block"),
        (json!({"signals": {"output_instability": 0.45}}),                    Some(0.45), None,       None,       Some(0.45),        "block"),
        (json!({"signals": {"output_instability": 0.4499}}),                  Some(0.4499), None,     None,       Some(0.4499),      "allow"),
        (json!({"signals": {"output_instability": 0.2, "numeric_variance": 1, "prompt_drift": 0}}), Some(0.2), Some(1.0), Some(0.0), Some(0.4), "allow"),
        (json!({"signals": {"output_instability": 0.2, "numeric_variance": 1}, "weights": {"numeric_variance": 0}}), Some(0.2), Some(1.0), None, Some(0.2), "allow"),
    ];
    let input: String = cases.iter().map(|(case, ..)| format!("{case}\n")).collect();
    let told = Place::new().fed(&["score"], input.as_bytes()).done().lines();
    assert_eq!(told.len(), cases.len());
    for ((case, instability, variance, drift, composite, decision), told) in cases.iter().zip(&told) {
        let what = case.to_string();
        close(&told["signals"]["output_instability"], *instability, &what);
        close(&told["signals"]["numeric_variance"], *variance, &what);
        close(&told["signals"]["prompt_drift"], *drift, &what);
        close(&told["composite_score"], *composite, &what);
        assert_eq!(told["decision"], *decision, "{what}");
        assert_eq!(told["prompt_hash"].is_null(), case.get("prompt").is_none(), "{what}");
    }
}

#[test]
fn score_knows_the_usual_prompt_again() {
    let place = Place::new();
    let first = place
        .fed(&["score"], b"{\"prompt\":\"Pay  100\\n to Acme \"}")
        .done()
        .json();
    let hash = first["prompt_hash"].as_str().unwrap();
    let again = json!({"prompt": "pay 100 to acme", "baseline_hash": hash}).to_string();
    let told = place.fed(&["score"], again.as_bytes()).done().json();
    close(
        &told["signals"]["prompt_drift"],
        Some(0.0),
        "the same prompt",
    );
}

#[test]
fn a_bad_case_is_answered_and_the_next_one_scored() {
    let lines = [
        "nonsense",
        r#"{"samples":[1,2]}"#,
        r#"{"weights":{"prompt_drift":-1},"samples":["a","b"]}"#,
        r#"{"sampels":["a","b"]}"#,
        r#"{"samples":["a","b"]}"#,
    ];
    let told = Place::new()
        .fed(&["score"], lines.join("\n").as_bytes())
        .done()
        .lines();
    assert_eq!(told[0]["error"]["code"], "invalid_json");
    for bad in &told[1..4] {
        assert_eq!(bad["error"]["code"], "invalid_request", "{bad}");
    }
    assert_eq!(told[4]["decision"], "block");
}
